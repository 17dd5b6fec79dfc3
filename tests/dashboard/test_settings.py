"""Settings of the browser, and what the machine lacks."""

from tests.dashboard.conftest import looks


@looks("desktop light", more=("phone dark",))
def test_settings(look, site, screen, accessible, size, theme):
    page = look("/settings", size, theme)
    page.wait_for_selector("text=Nothing is missing")
    assert site.daemon.status()["version"] in page.inner_text("main")
    screen(page, f"settings-{size}-{theme}")
    accessible(page)


def test_what_is_chosen_stays(look):
    page = look("/settings")
    page.click("[aria-label=Theme] >> text=Dark")
    page.click("[aria-label=Times] >> text=Local")
    page.click("[aria-label='Single keys'] >> text=Off")
    page.keyboard.press("?")
    assert page.locator("dialog").count() == 0
    page.reload()
    page.wait_for_selector("main h1")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.get_attribute("[aria-label=Times] >> text=Local", "aria-pressed") == "true"
    assert page.get_attribute("[aria-label='Single keys'] >> text=Off", "aria-pressed") == "true"
    page.click("[aria-label=Theme] >> text=System")
    assert page.evaluate("document.documentElement.dataset.theme") is None
