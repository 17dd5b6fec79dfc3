"""The report as a page and on paper; its words are made in Python, here of a week with an outage."""

import json
import re
import time
from dataclasses import replace

import pytest

from spectrum.core.analytics.report import Volume, report
from tests.core.analytics.test_report import LOST, SINCE
from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE
from tests.engine.harness import eventually

DAYS = [Volume(start=SINCE + i * 86400, sessions=10, bytes_out=(11 + i) * 10**12) for i in range(7)]
BEFORE = [Volume(start=SINCE + (i - 7) * 86400, bytes_out=(11 + i % 2) * 10**12) for i in range(7)]
APPS = [
    Volume("game-eu", sessions=17_200_000, failed=900, bytes_out=41 * 10**12, connect_ms=38.0),
    Volume(HOSTILE, sessions=5, bytes_in=10**6),
]
BUSY = {"game-eu": Volume("game-eu", bytes_out=39 * 10**12)}
FACTS = replace(LOST, days=DAYS, days_before=BEFORE, apps=APPS, apps_before=BUSY)


@pytest.fixture
def shown(look):
    """A function that opens the report of that week."""

    def open_page(size="desktop", theme="light"):
        page = look("/report", size, theme)
        answer = {"success": True, "errors": [], "messages": [], "result": report(FACTS)}
        page.route("**/report?*", lambda one: one.fulfill(body=json.dumps(answer), content_type="application/json"))
        page.reload()
        page.wait_for_selector(".days rect")
        return page

    return open_page


@looks("desktop light", more=("phone dark",))
def test_a_week_with_an_outage(shown, screen, accessible, size, theme):
    page = shown(size, theme)
    assert "one origin lost" in page.inner_text("h1")
    assert "Origin pg-2 of db has been down since Wednesday 14:02" in page.inner_text(".quote")
    assert HOSTILE in page.inner_text(".paper")
    assert page.locator("main img").count() == 0
    assert "Repair pg-2" in page.inner_text(".steps")
    screen(page, f"report-{size}-{theme}")
    accessible(page)


def test_on_paper(shown, screen):
    page = shown(theme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".report-tools, .rail, .top").filter(visible=True).count()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    rows = page.locator(".paper tbody tr")
    assert rows.count() > 5 and rows.filter(visible=True).count() == rows.count()
    page.set_viewport_size({"width": 680, "height": 900})
    screen(page, "report-print")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_where_nothing_is_kept(look, screen):
    page = look("/")
    error = {"code": 10404, "message": "Analytics is off"}
    answer = {"success": False, "errors": [error], "messages": [], "result": None}
    page.route(
        "**/report?*",
        lambda one: one.fulfill(status=404, body=json.dumps(answer), content_type="application/json"),
    )
    page.goto("/#/report")
    page.wait_for_selector("text=analytics: true")
    screen(page, "report-none")


def test_the_outage_of_this_day(look, site, accessible):
    assert site.visit(site.good) == b"hello"
    midnight = int(time.time()) // 86400 * 86400
    times = "&".join(f"{name}={at}.0" for name, at in (("since", midnight), ("until", midnight + 86400)))
    path = f"/accounts/{site.account}/report?{times}"
    # Other tests of the same daemon may have lost origins, too.
    eventually(lambda: re.search("origins? lost", (made := site.ask("GET", path))["headline"]) and made["figures"], 30)
    page = look(f"/report?{times}")
    page.wait_for_selector(".paper section")
    assert "Origin down of main has been down since" in page.inner_text(".quote")
    accessible(page)
    with page.expect_download() as download:
        page.click("text=PDF")
    assert download.value.path().read_bytes().startswith(b"%PDF")
