"""The frame of every page, and the way in."""

import http.client
import json
import os
import time
from pathlib import Path

import pytest


def test_a_missing_token_is_asked_for(look, site, screen, accessible):
    page = look("/settings", token="", settled=False)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.goto("/")
    page.wait_for_selector("#token")
    assert not [one for one in asked if "/client/" in one], "what would be refused is not asked"
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


def test_nothing_is_heard_any_more(look, screen, accessible):
    page = look("/")
    page.wait_for_selector(".finds li")
    page.route("**/live", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector(".lost")
    assert "Reconnecting" in page.inner_text(".lost") and "figures are of" in page.inner_text(".lost").lower()
    screen(page, "lost")
    accessible(page)
    page.unroute("**/live")
    page.wait_for_selector(".lost", state="detached")


def test_live_can_be_paused(look):
    page = look("/")
    page.wait_for_function("() => document.querySelector('.live time').textContent")
    page.keyboard.press("Space")
    assert page.get_attribute(".live", "aria-pressed") == "true"
    page.wait_for_timeout(200)
    at = page.inner_text(".live time")
    page.wait_for_timeout(2200)
    assert page.inner_text(".live time") == at
    page.click(".live")
    page.wait_for_function(f"() => document.querySelector('.live time').textContent !== '{at}'")


def test_the_palette_and_keys(look, screen, accessible):
    page = look("/")
    page.wait_for_selector(".finds li")
    page.keyboard.press("Control+k")
    page.keyboard.type("echo")
    page.wait_for_selector("dialog.pal li:has-text('echo')")
    screen(page, "palette", full=False)
    accessible(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("Control+k")
    page.keyboard.type("192.0.2.7")
    assert "its story" in page.inner_text("dialog.pal li >> nth=0")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("?")
    page.wait_for_selector("dialog h2:has-text('Keys')")
    screen(page, "keys", full=False)
    accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**#/analytics*")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_function("() => location.hash.startsWith('#/?') || location.hash === '#/'")


def test_the_theme_is_kept(look):
    page = look("/", theme="light")
    before = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Dark theme").click()
    after = page.evaluate("getComputedStyle(document.body).color")
    assert before != after
    page.reload()
    page.wait_for_selector("main h1")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).color") == after


def test_on_a_phone_a_tab_says_where_one_is(look):
    page = look("/apps", "phone")
    assert page.inner_text(".tabs [aria-current]") == "Apps"
    page.goto("/#/settings")
    page.wait_for_selector("h1:text-is('Settings')")
    assert page.inner_text(".tabs [aria-current]") == "More"


# "Good" is less than 0.1 (https://web.dev/articles/cls).
MOST_SHIFT = 0.1
SHIFTS = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => resolve(list.getEntries().filter((one) => !one.hadRecentInput)
    .map(({ value, sources }) => [value, ...sources.map(({ node }) => (node?.outerHTML ?? '').slice(0, 80))])))
    .observe({ type: 'layout-shift', buffered: true });
  setTimeout(() => resolve([]), 300);
})"""


@pytest.mark.parametrize(
    "view", ["/", "/analytics", "/sessions", "/apps", "/balancing", "/nodes", "/clients/127.0.0.1"]
)
def test_nothing_jumps_while_a_page_is_loaded(look, view):
    page = look(view)
    page.wait_for_timeout(1200)
    shifts = page.evaluate(SHIFTS)
    assert sum(one[0] for one in shifts) < MOST_SHIFT, shifts


def test_a_page_that_is_not_there(look):
    page = look("/nothing?x=<b>")
    assert page.inner_text("h1") == "There is no such page"


def test_by_keyboard_alone(look):
    page = look("/")
    page.wait_for_selector(".finds li")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # it was the last one
        seen.append(page.evaluate("document.activeElement.closest('main') ? document.activeElement.tagName : ''"))
        box = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        where = page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
        assert box != "none", f"what has the focus shows it: {where}"
    assert "A" in seen or "BUTTON" in seen or "DIV" in seen


def test_a_page_says_when_it_has_all_that_it_asked_for(look):
    held = []
    page = look("/settings")
    page.route("**/audit_logs*", lambda route: held.append(route))
    page.goto("/#/")
    page.wait_for_selector("main[aria-busy=true] h1", state="attached")
    page.wait_for_timeout(200)
    assert page.get_attribute("main", "aria-busy") == "true", "an answer is missing"
    page.evaluate("performance.clearMarks('ready')")
    for route in held:
        route.continue_()
    page.wait_for_selector("main:not([aria-busy]) h1")
    assert page.evaluate("performance.getEntriesByName('ready').length") == 1


BROWSERS, SECONDS = 100, 3


def test_a_hundred_browsers_on_one_dashboard(site):
    """Each is told each second what is so, and that costs the API's process little: one message is made for all."""
    told = [
        http.client.HTTPConnection(*site.url.removeprefix("http://").split(":"), timeout=60) for _ in range(BROWSERS)
    ]
    for one in told:
        one.request(
            "GET", f"/client/v4/accounts/{site.account}/live", headers={"Authorization": f"Bearer {site.token}"}
        )
    streams = [one.getresponse() for one in told]
    assert {one.status for one in streams} == {200}
    api = site.daemon.status()["api"]["pid"]
    _messages(streams)
    before, began = _cpu_s(api), time.monotonic()
    heard = [_messages(streams) for _ in range(SECONDS)]
    cost = (_cpu_s(api) - before) / (time.monotonic() - began)
    print(f"{BROWSERS} browsers cost the API's process {cost:.1%} of a core")
    seconds = {json.loads(one.removeprefix(b"data:"))["at"] for messages in heard for one in messages}
    assert len({one for messages in heard for one in messages}) == len(seconds), "of a second there is one message"
    assert cost < 0.5
    for one in (*streams, *told):
        one.close()


def _messages(streams):
    """Return the next message of each stream."""
    return [next(line for line in stream if line.startswith(b"data:")) for stream in streams]


def _cpu_s(pid):
    """Return the processor time of a process, in seconds (proc_pid_stat(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
