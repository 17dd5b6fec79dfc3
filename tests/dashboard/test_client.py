"""One client's story: why it was refused, where it goes, how it is let in."""

import pytest

from spectrum.store.objects import file_id
from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE, SCANNER
from tests.engine.harness import eventually


@pytest.fixture
def refused(site):
    """A scanner that the app `guarded` refused twice, and that `echo` served."""

    def outcomes():
        """What came of each session; of refusals, a row may stand for several."""
        rows = site.ask("GET", f"/accounts/{site.account}/story?subject={SCANNER}")["rows"]
        return [row["outcome"] for row in rows for _ in range(max(1, row["weight"] or 1))]

    if not outcomes():
        for _ in range(2):
            assert site.visit(site.guarded, source=SCANNER) == b""
        assert site.visit(site.good, source=SCANNER) == b"hello"
    eventually(lambda: outcomes().count("refused") == 2 and set(outcomes()) != {"refused"}, explain=outcomes)


@looks("phone light", more=("desktop dark", "desktop light"))
def test_a_refused_client_is_told_why(look, site, screen, accessible, refused, size, theme):
    page = look("/clients", size, theme)
    page.fill("[data-filter]", SCANNER)
    page.press("[data-filter]", "Enter")
    page.wait_for_selector(".story li")
    page.wait_for_selector("text=Let this address in")
    assert page.inner_text("h1").startswith("Refused at guarded since ")
    assert page.inner_text("h1").endswith(", welcome elsewhere")
    lede = page.inner_text(".lede")
    assert "Rule scanners names its prefix 127.0.0.9/32" in lede
    assert "scanners.txt:2" in lede, "the list's file and line"
    story = page.inner_text(".story")
    assert "Refused at guarded by rule scanners." in story
    assert page.inner_text(".sec .quiet").startswith("three events in two lines"), "two refusals, and a session"
    assert "Session on echo to main/up." in story
    steps = page.inner_text(".steps >> nth=0") + page.inner_text(".steps >> nth=1")
    assert "access rule scanners blocks it" in steps
    assert page.locator("h2 a", has_text="guarded").get_attribute("href") == f"#/apps/{file_id('apps', 'guarded')}"
    assert (
        page.locator(".lede a", has_text="scanners").get_attribute("href")
        == f"#/access/{file_id('access_rules', 'scanners')}"
    )
    screen(page, f"client-{size}-{theme}")
    accessible(page)


def test_an_app_that_is_gone(look, site, refused):
    """It was served then; where a client would go now cannot be told, which is no fault."""
    page = look("/settings")
    gone = {"success": False, "errors": [{"code": 1, "message": 'app: this account has no app "guarded"'}]}
    page.route("**/explain?**", lambda route: route.fulfill(status=400, json=gone))
    page.goto(f"/#/clients/{SCANNER}")
    page.wait_for_selector("text=It is not served any more.")
    assert page.locator(".banner.failed").count() == 0


def test_it_is_let_in(look, site, refused):
    page = look(f"/clients/{SCANNER}")
    page.click("text=Let this address in")
    assert "is more specific than scanners" in page.inner_text(".confirm") or SCANNER in page.inner_text(".confirm")
    page.click(".confirm .primary")
    page.wait_for_selector(f"text={SCANNER} is let in")
    rules = f"/accounts/{site.account}/firewall/access_rules/rules"
    (rule,) = [one for one in site.ask("GET", rules) if one["mode"] == "whitelist"]
    assert site.visit(site.guarded, source=SCANNER) == b"hello"
    site.ask("DELETE", f"{rules}/{rule['id']}")


def test_invalid_addresses(look, accessible, screen):
    page = look("/clients")
    page.fill("[data-filter]", HOSTILE)
    page.press("[data-filter]", "Enter")
    assert HOSTILE in page.inner_text("[role=alert]")
    assert page.locator("main img").count() == 0
    screen(page, "client-no-address")
    accessible(page)


def test_nothing_is_known(look, screen):
    page = look("/clients/198.51.100.1")
    assert page.inner_text("h1") == "Nothing is known of 198.51.100.1"
    assert "No record names it" in page.inner_text("main")
    screen(page, "client-unknown")
