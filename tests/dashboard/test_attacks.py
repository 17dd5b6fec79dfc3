"""Attacks: the list with what was kept off, one of them with its rules and packets, and its capture."""

import json
import time

import pytest

from spectrum.core.ddos.attack_view import as_capture, attack_shown, sample_shown
from spectrum.core.life.attack import AttackState
from tests.core.ddos.attack_samples import attack, rule, sample
from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE

NOW = time.time()
OPEN = attack(
    1,
    app=HOSTILE,
    began=NOW - 600,
    sources=4200,
    rules=(rule(packets=5_000_000, bytes=2_500_000_000), rule("ddos-2", vector="TCP SYN flood", action="cookie")),
)
ALONE = attack(
    2, AttackState.LEFT_ALONE, app="", began=NOW - 60, mitigated_after=None, rules=(rule("", vector="Unclassified"),)
)
PAST = attack(3, AttackState.ENDED, began=NOW - 9 * 86400, ended=NOW - 9 * 86400 + 90, rules=(rule(packets=70_000),))
SAMPLES = [sample(number) for number in range(1, 41)]


@pytest.fixture
def attacked(look):
    """A page, where the daemon tells of attacks."""

    def envelope(result):
        body = {"success": True, "errors": [], "messages": [], "result": result, "result_info": None}
        return json.dumps(body)

    def open_page(view="/attacks", size="desktop", theme="light", attacks=(OPEN, ALONE, PAST)):
        page = look("/settings", size, theme)
        shown = {one.id: attack_shown(one) | {"app_id": None} for one in attacks}

        def answer(route):
            path = route.request.url.partition("/attacks")[2].partition("?")[0].strip("/")
            if path.endswith("pcap"):
                route.fulfill(body=as_capture(SAMPLES), content_type="application/vnd.tcpdump.pcap")
            elif not path:
                route.fulfill(body=envelope(list(shown.values())), content_type="application/json")
            else:
                found = shown[path] | {"samples": [sample_shown(one) for one in SAMPLES]}
                route.fulfill(body=envelope(found), content_type="application/json")

        page.route("**/accounts/*/attacks**", answer)
        page.goto(f"/#{view}")
        page.wait_for_selector("main h1:has-text('attack'), main h1:has-text('reflection')")
        return page

    return open_page


@looks("desktop light", "phone dark", more=("desktop dark", "phone light"))
def test_the_list(attacked, screen, accessible, size, theme):
    page = attacked(size=size, theme=theme)
    page.wait_for_selector("tbody tr")
    assert page.inner_text("h1") == "Two ongoing attacks"
    assert "No rule is written for one of them" in page.inner_text(".lede")
    assert "In the seven days before: one attack." in page.inner_text(".lede")
    assert page.locator("tbody tr").count() == 3
    assert f"on {HOSTILE}" in page.locator("tbody tr").all_inner_texts()[0] or size == "desktop"
    assert page.locator(".strip").count() == 1, "the time of its chart can be chosen"
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screen(page, f"attacks-{size}-{theme}")
    accessible(page)


@looks("desktop light", more=("phone dark",))
def test_one_of_them(attacked, screen, accessible, size, theme):
    page = attacked(f"/attacks/{OPEN.id}", size, theme)
    page.wait_for_selector(".samples")
    assert page.inner_text("h1").startswith("NTP reflection, TCP SYN flood on <img")
    assert page.get_attribute(".crumb a", "href") == "#/attacks"
    text = page.inner_text("main")
    for words in ("about 4,200", "0.10\xa0% of an app’s normal openings", "What matches is dropped.", "40 samples"):
        assert words in text, text
    page.locator("[data-packet='0']").click()
    page.wait_for_selector(".packet .hex")
    assert "IPv4" in page.inner_text(".packet .layers")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screen(page, f"attack-{size}-{theme}")
    accessible(page)


def test_its_capture(attacked):
    page = attacked(f"/attacks/{OPEN.id}")
    with page.expect_download() as download:
        page.click("text=Capture")
    assert download.value.suggested_filename == f"attack-{OPEN.id}.pcap"
    assert download.value.path().read_bytes() == as_capture(SAMPLES)


def test_without_any(look, accessible):
    page = look("/attacks")
    page.wait_for_selector(".blank")
    assert page.inner_text("h1") == "No attack was seen"
    accessible(page)
    missing = look("/attacks/ffff")
    missing.wait_for_selector("text=It is not kept")
