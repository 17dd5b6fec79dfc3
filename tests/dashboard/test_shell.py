"""The frame of every page, and the way in."""

import pytest


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_opens(look, screen, accessible, size, theme):
    page = look("/", size, theme)
    screen(page, f"overview-{size}-{theme}")
    accessible(page)
    assert page.title().endswith("Spectrum")


def test_who_has_no_token_is_asked_for_one(look, site, screen, accessible):
    page = look("/", token="", settled=False)
    page.wait_for_selector("#token")
    screen(page, "gate")
    accessible(page)
    page.fill("#token", "nonsense")
    page.press("#token", "Enter")
    page.wait_for_selector("[role=alert]")
    assert "does not know" in page.inner_text("[role=alert]")
    page.fill("#token", site.token)
    page.press("#token", "Enter")
    page.wait_for_selector(".shell main h1")
    assert page.evaluate("Object.keys(localStorage).length") == 0, "it is kept in this tab alone"
    page.reload()
    page.wait_for_selector(".shell main h1")
    assert site.token not in page.url
