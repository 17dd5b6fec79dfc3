"""Who changed what: before and after, and what was refused."""

import pytest

from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE


@pytest.fixture(scope="module")
def changed(site):
    """A monitor that was made and changed, by a token with an odd name."""
    path = f"/accounts/{site.account}/load_balancers/monitors"
    made = site.ask("POST", path, {"type": "tcp", "port": 22, "description": HOSTILE})
    site.ask("PATCH", f"{path}/{made['id']}", {"port": 23})
    return made


@looks("desktop light", more=("phone dark",))
def test_a_change_is_shown_with_what_was_before(look, screen, accessible, changed, size, theme):
    page = look("/audit", size, theme)
    page.wait_for_selector("tbody tr")
    assert " was changed " in page.inner_text("h1")
    page.locator("tbody tr").first.click()
    page.wait_for_selector(".diff .add")
    assert ("port: 22" in page.inner_text(".diff .del"), "port: 23" in page.inner_text(".diff .add")) == (True, True)
    assert "PATCH /client/v4/accounts/" in page.inner_text(".audit-one")
    screen(page, f"audit-{size}-{theme}")
    accessible(page)


def test_what_others_wrote_is_text(look, changed):
    page = look("/audit")
    page.locator("tbody tr", has_text="added").filter(has_text="monitor").first.click()
    page.wait_for_selector(".diff")
    assert HOSTILE in page.inner_text(".diff").replace("\\", "")
    assert page.locator("main img").count() == 0


def test_it_is_saved_as_csv(look, changed):
    page = look("/audit")
    with page.expect_download() as download:
        page.click("text=CSV")
    assert download.value.suggested_filename.startswith("audit-")
    assert b"monitors" in download.value.path().read_bytes()


def test_one_object(look, changed):
    page = look(f"/audit?resource={changed['id']}")
    page.wait_for_selector("tbody tr")
    assert page.locator("tbody tr").count() == 2
    assert "Of one object" in page.inner_text(".lede")
