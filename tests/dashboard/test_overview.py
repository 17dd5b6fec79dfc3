"""The page that says what is wrong first."""

import json

import pytest

from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE
from tests.engine.harness import eventually

KINDS = {
    "origin_down": {"origin": HOSTILE, "address": HOSTILE, "port": 1, "why": HOSTILE, "up": 1, "of": 2, "minimum": 1},
    "origin_ejected": {"origin": HOSTILE, "why": HOSTILE, "up": 0, "of": 2, "minimum": 1},
    "pool_down": {"up": 0, "of": 1, "minimum": 1, "origins": [{"name": HOSTILE, "why": HOSTILE}]},
    "on_fallback": {"pool": HOSTILE, "serves": False, "pools": [HOSTILE]},
    "app_failing": {"failed": 9, "began": 10, "why": HOSTILE},
    "attack": {
        "attack": "5f0c",
        "target": HOSTILE,
        "state": "left_alone",
        "vectors": [HOSTILE, HOSTILE],
        "packets_per_second": 9,
        "bits_per_second": 9,
        "dropped": 0,
        "why": HOSTILE,
    },
    "attacks_ended": {
        "attack": "5f0c",
        "target": HOSTILE,
        "count": 2,
        "vectors": [HOSTILE],
        "bits_per_second": 9,
        "dropped": 1,
    },
    "ddos": {"why": HOSTILE},
    "certificate_ends": {"ends_at": 2e9},
    "certificate_not_ordered": {"failures": 2, "why": HOSTILE, "try_at": 2e9},
    "limit_near": {"limit": "sessions", "of": HOSTILE, "used": 95, "maximum": 100, "setting": HOSTILE},
    "name_unresolved": {"name": HOSTILE, "why": HOSTILE, "addresses": [HOSTILE]},
    "worker_replaced": {"count": 2, "killed": 0, "lost": 3, "why": HOSTILE},
    "worker_missing": {"worker": 1, "why": HOSTILE, "starts_in_s": 3.0},
    "worker_stalled": {"worker": 1, "sessions": 3},
    "worker_deaf": {"worker": 1, "listeners": 2},
    "records_lost": {"part": "sink", "name": HOSTILE, "lost": 5, "behind": 3, "why": HOSTILE},
    "records_wait": {"part": "sink", "name": HOSTILE, "lost": 0, "behind": 3, "why": HOSTILE},
    "analytics_behind": {"lag_s": 90, "records": 1000, "why": HOSTILE},
    "set_aside": {"why": HOSTILE},
    "reload_refused": {"why": HOSTILE},
    "restart_needed": {"settings": [HOSTILE]},
    "of_a_later_version": {"what": HOSTILE},
}


def hostile(kinds=KINDS, **more):
    """Return an event in which each name is markup."""
    findings = [
        {
            "kind": kind,
            "severity": "failed",
            "section": "pools",
            "name": HOSTILE,
            "id": "0" * 32,
            "since": 1.8e9,
            "facts": facts,
            "apps": [{"id": "1" * 32, "name": HOSTILE}],
            "app_count": 7,
        }
        for kind, facts in kinds.items()
    ]
    totals = {"open": 3, "new": 1.5, "refused": 0, "failed": 0, "in": 1200, "out": 0, "dropped": 0}
    app = {
        "id": "1" * 32,
        "name": HOSTILE,
        "zone": "",
        "protocol": HOSTILE,
        "severity": "failed",
        "why": "pool_down",
        "facts": {},
    }
    return {
        "at": 1.8e9,
        "node": HOSTILE,
        "version": HOSTILE,
        "revision": 7,
        "workers": {"wanted": 2, "serving": 1},
        "totals": totals,
        "app_count": 12,
        "apps": [{**app, **totals}] if kinds else [],
        "trouble": {"pools": {"failed": len(findings), "degraded": 0}} if kinds else {},
        "findings": findings,
        "finding_count": len(findings),
        **more,
    }


@pytest.fixture
def look_at(look):
    """A function that opens Overview with an event in place of the daemon's."""

    def open_page(event, **options):
        body = f"data: {json.dumps(event)}\n\n"
        answer = {"status": 200, "content_type": "text/event-stream", "body": body}
        page = look(before=lambda page: page.route("**/live", lambda route: route.fulfill(**answer)), **options)
        page.wait_for_function("() => document.querySelector('.rail .foot').textContent.includes('Revision')")
        return page

    return open_page


@looks("desktop light", "phone dark", more=("desktop dark", "phone light"))
def test_what_is_wrong_is_first(look, site, screen, accessible, size, theme):
    for _ in range(6):
        site.visit(site.bad)
    page = look("/", size, theme)
    page.wait_for_selector(".finds li")
    eventually(lambda: page.locator("td b", has_text="echo").count() == 1, 30)
    page.wait_for_timeout(1500)
    screen(page, f"overview-{size}-{theme}")
    accessible(page)
    assert "is down" in page.inner_text("h1") or "fail" in page.inner_text("h1")
    finding = page.locator(".finds li", has_text="Origin down")
    assert "has not answered since" in finding.inner_text() and "serves from 1 of 2" in finding.inner_text()
    assert "app" in page.inner_text(".lede")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_names_stay_text(look_at, accessible, screen):
    page = look_at(hostile())
    page.get_by_role("button", name="more").click()
    assert page.locator(".finds li").count() == len(KINDS)
    screen(page, "overview-hostile")
    assert page.locator("main img, header img").count() == 0
    assert page.inner_text("main").count(HOSTILE) > 30
    accessible(page)


def test_nothing_is_wrong(look_at, screen, accessible):
    page = look_at(hostile({}))
    assert page.inner_text("h1") == "Everything is served."
    assert not page.locator(".finds").is_visible()
    screen(page, "overview-well")
    accessible(page)


def attacks(*facts):
    """Return an event with an attack on app game for each of these facts, and with what is over beside them."""
    event = hostile({"attack": {}, "attacks_ended": KINDS["attacks_ended"]})
    on, over = ({**one, "section": "apps", "name": "game"} for one in event["findings"])
    on["severity"], over["severity"] = "degraded", "past"
    over["facts"] = {**over["facts"], "vectors": ["SYN flood"], "bits_per_second": 4e8, "dropped": 5_000_000}
    going = [{**on, "facts": {**KINDS["attack"], "attack": f"a{i}", **one}} for i, one in enumerate(facts)]
    return {**event, "findings": [*going, over], "finding_count": 1 + len(going), "trouble": {}}


@looks("phone dark", more=("desktop light",))
def test_attacks_are_told_first(look_at, screen, accessible, size, theme):
    one = {"state": "mitigated", "vectors": ["NTP reflection"], "bits_per_second": 4e8, "dropped": 12_345, "why": ""}
    page = look_at(attacks(one), size=size, theme=theme)
    assert page.inner_text("h1") == "App game is attacked, and the attack is kept off."
    first = page.locator(".finds li").first.inner_text().replace("\u202f", " ").replace("\u00a0", " ")
    assert "An attack on app game has been ongoing since" in first
    assert "NTP reflection, up to 400 Mbit/s. 12,345 packets were" in first
    assert page.get_by_role("link", name="See the attack").get_attribute("href") == "#/attacks/a0"
    screen(page, f"overview-attacked-{size}-{theme}")
    accessible(page)


def test_attacks_that_are_not_kept_off(look_at):
    logged, alone = {"state": "logged", "vectors": ["x"]}, {"state": "left_alone", "why": "it would hit clients"}
    page = look_at(attacks(logged, alone))
    assert page.inner_text("h1") == "Two attacks are ongoing."
    told = page.inner_text(".finds")
    assert "Its rules only count it: nothing is kept off." in told and "No rule is written: " in told


def test_attacks_that_are_over_are_nothing_that_is_wrong(look_at, accessible):
    page = look_at(attacks())
    assert page.inner_text("h1") == "Everything is served."
    assert "Nothing needs attention" in page.inner_text(".lede")
    told = page.inner_text(".finds")
    assert "Two attacks on app game are over." in told and "M packets were kept off." in told
    assert page.get_by_role("link", name="See them").get_attribute("href") == "#/attacks?q=game"
    accessible(page)


def test_there_is_nothing_yet(look_at, screen):
    page = look_at(hostile({}, app_count=0))
    assert page.inner_text("h1") == "There is no app yet."
    assert "No app yet" in page.inner_text("main")
    screen(page, "overview-empty")


def test_a_finding_waits_while_the_pointer_is_over_the_list(look_at):
    page = look_at(hostile({"pool_down": KINDS["pool_down"]}))
    page.hover(".finds li")
    body = f"data: {json.dumps(hostile({'pool_down': KINDS['pool_down'], 'worker_deaf': KINDS['worker_deaf']}))}\n\n"
    page.unroute("**/live")
    page.route("**/live", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body))
    page.get_by_role("button", name="1 new").wait_for()
    assert page.locator(".finds li").count() == 1, "nothing moves under the pointer"
    page.mouse.move(5, 5)
    page.wait_for_function("() => document.querySelectorAll('.finds li').length === 2")


def test_it_is_narrow_and_printed(look, screen, site):
    page = look("/")
    page.wait_for_selector(".finds li")
    page.set_viewport_size({"width": 320, "height": 640})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(300)
    screen(page, "overview-print")
    assert not page.locator(".rail, .top, .tabs").locator("visible=true").count()
    color = page.evaluate("getComputedStyle(document.body).color")
    assert color == "rgb(23, 26, 30)", "paper is light"
