"""The Analytics page over a day with an incident in it: what it shows, and that the cause is found by clicking."""

import csv
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from spectrum.analytics.embedded import EmbeddedStore
from spectrum.core.ddos.attack_events import AttackTarget
from spectrum.core.ddos.attack_view import attack_shown
from spectrum.core.life.attack import AttackState
from tests.core.ddos.attack_samples import attack
from tests.dashboard.conftest import free_ports, looks
from tests.dashboard.day import BAD_ORIGIN, HOSTILE, Day
from tests.dashboard.site import Site
from tests.engine.harness import eventually

LEGEND = ".legend tbody tr"


@pytest.fixture(scope="module")
def day() -> Day:
    return Day(time.time())


@pytest.fixture(scope="module")
def site(day: Day) -> Iterator[Site]:
    """A daemon whose journal has the day already; its API's process takes it as any other."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="spectrum-analytics-")))
        folder.chmod(0o755)
        journal = folder / "records"
        journal.mkdir()
        day.write(journal)
        # Samples come from the kernel, which this daemon has no programs in.
        store = EmbeddedStore(folder / "analytics")
        store.open()
        store.take_packets(list(day.packets()))
        store.close()
        if os.geteuid() == 0:
            for path in (journal, *journal.iterdir(), folder / "analytics", *(folder / "analytics").rglob("*")):
                shutil.chown(path, "nobody")
        made = opened.enter_context(Site(folder, free_ports(6)))
        eventually(lambda: taken(made, day) == day.count(), 30)
        yield made


@pytest.fixture(autouse=True)
def token(request, site: Site) -> None:
    """Each test has a token of its own: what one may ask in five minutes is limited, by time."""
    site.token = site.make_token(request.node.name, "all:edit")


def taken(site: Site, day: Day) -> int:
    """Return how many sessions the store has of the day."""
    question = {"table": "events", "metrics": ["sessions"], "dimensions": [], "since": day.since, "until": day.until}
    try:
        return ask(site, question)["totals"]["sessions"]
    except AssertionError:  # it is being opened
        return -1


def ask(site: Site, question: dict) -> dict:
    account = site.ask("GET", "/accounts")[0]["id"]
    return site.ask("POST", f"/accounts/{account}/analytics/query", question)


def ready(page):
    """Wait until everything of the page has its answer."""
    page.wait_for_selector(LEGEND)
    page.wait_for_selector(".topn .wait", state="detached")
    page.wait_for_selector(".samples tbody tr, .analytics .blank")
    return page


def names(page) -> list[str]:
    return page.locator(f"{LEGEND}:not(.before) bdi").all_inner_texts()


def query_of(page) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(page.url.partition("?")[2]).items()}


@looks("desktop light", "phone dark", more=("desktop dark", "phone light"))
def test_a_day(look, screen, accessible, size, theme):
    page = ready(look("/analytics", size, theme))
    assert names(page) == ["refused", "failed", "passed"]
    assert page.locator(".chart .front text", has_text=f"origin {BAD_ORIGIN} down").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.wait_for_selector(".cause p")
    screen(page, f"analytics-{size}-{theme}")
    page.locator(".samples tbody button").first.click()
    page.wait_for_selector(".samples .layers")
    # At its whole height nothing lies below the bars, whose targets axe would find too small.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    screen(page, f"analytics-record-{size}-{theme}")
    accessible(page)


def test_the_cause_is_found_by_clicking(look, screen, day):
    page = ready(look("/analytics?m=failed&by=reason"))
    # The operator sees a block of one reason, and drags over it.
    box = page.locator(".chart").bounding_box()
    plot, left = box["width"] - 59, box["x"] + 58
    at = [left + plot * (moment - day.since) / (day.until - day.since) for moment in (day.outage[0], day.outage[1])]
    page.mouse.move(at[0] - 6, box["y"] + 150)
    page.mouse.down()
    page.mouse.move((at[0] + at[1]) / 2, box["y"] + 160)
    page.mouse.move(at[1] + 6, box["y"] + 150)
    screen(page, "analytics-brush", full=False)
    page.mouse.up()
    page.wait_for_url("**since=**")
    page.wait_for_timeout(300)
    ready(page)
    assert "connect_refused" in names(page)
    # Which origin is it? That reason alone, and then its list of origins.
    page.click(f"{LEGEND} button:has-text('connect_refused')")
    page.wait_for_selector(".chip:has-text('connect_refused')")
    origins = page.locator("[data-dimension=origin] li bdi")
    eventually(lambda: origins.all_inner_texts() == [f"postgres/{BAD_ORIGIN}"], 10)
    page.click(f"[data-dimension=origin] button:has-text('{BAD_ORIGIN}')")
    page.wait_for_selector(f".chip:has-text('{BAD_ORIGIN}')")
    failed = day.count(Reason="connect_refused")
    eventually(lambda: page.inner_text(".lede").startswith(f"{failed} failed sessions"), 10)
    # The answer is a link.
    told = query_of(page)
    assert told["f"] == f"reason==connect_refused;origin==postgres/{BAD_ORIGIN}"
    other = ready(look(page.url.partition("#")[2]))
    assert other.inner_text(".lede") == page.inner_text(".lede")
    # Back is one step back.
    page.go_back()
    page.wait_for_selector(f".chip:has-text('{BAD_ORIGIN}')", state="detached")


def test_it_says_the_cause_itself(look, day):
    page = ready(look("/analytics"))
    page.wait_for_selector(".cause p")
    assert f"postgres/{BAD_ORIGIN}" in page.inner_text(".cause")
    assert "connect_refused" in page.inner_text(".cause")
    page.click(".cause button")
    page.wait_for_selector(f".chip:has-text('{BAD_ORIGIN}')")


@pytest.mark.parametrize("metric", ["sessions", "bits", "connect"])
def test_numbers_are_those_of_the_question(look, site, day, screen, metric, tmp_path):
    by = "percentile" if metric == "connect" else "app"
    page = ready(look(f"/analytics?m={metric}&by={by}&as=volume&vs=none&{day.in_address}"))
    page.click("text=Export")
    heads, rows = exported(page)
    name = {"sessions": "sessions", "bits": "bytes"}.get(metric)
    since, until = stamp(rows[0][0]), stamp(rows[-1][0]) + stamp(rows[1][0]) - stamp(rows[0][0])
    question = {"table": "events", "since": since, "until": until, "bucket": int(stamp(rows[1][0]) - stamp(rows[0][0]))}
    if metric == "connect":
        answer = ask(site, {**question, "metrics": ["connectMedian", "connect90th", "connect99th"], "dimensions": []})
        told = {row[0]: row[1:] for row in answer["rows"]}
        assert heads == ["time", "median", "90th percentile", "99th percentile"]
        for row in rows[:-1]:
            expected = told.get(stamp(row[0]), ["", "", ""])
            assert [one and float(one) for one in row[1:]] == pytest.approx(expected, rel=1e-5), row
    else:
        answer = ask(site, {**question, "metrics": [name], "dimensions": ["app"], "limit": 6})
        told = {(row[0], row[1]): row[2] for row in answer["rows"]}
        for row in rows[:-1]:  # the last bucket goes on
            for app, value in zip(heads[1:], row[1:], strict=True):
                assert float(value) == told.get((stamp(row[0]), app), 0), (row[0], app)
    screen(page, f"analytics-export-{metric}", full=False)
    with page.expect_download() as kept:
        page.click("dialog button:has-text('CSV')")
    kept.value.save_as(tmp_path / "a.csv")
    lines = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert lines[0] == heads
    assert len(lines) == len(rows) + 1
    with page.expect_download() as kept:
        page.click("dialog button:has-text('PNG')")
    kept.value.save_as(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def exported(page) -> tuple[list[str], list[list[str]]]:
    table = page.locator("#export-table")
    heads = table.locator("th").all_inner_texts()
    cells = page.evaluate(
        "[...document.querySelectorAll('#export-table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    return heads, cells


def stamp(text: str) -> int:
    return int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone)


def test_by_keyboard_alone(look, screen, day):
    page = ready(look("/analytics"))
    # A filter, typed and completed.
    page.keyboard.press("/")
    page.keyboard.type("orig")
    page.keyboard.press("Tab")
    page.wait_for_selector("#filter-options li:has-text('postgres')")
    screen(page, "analytics-typing", full=False)
    page.keyboard.type(BAD_ORIGIN)
    eventually(lambda: page.locator("#filter-options li").count() == 1, 20)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(f".chip:has-text('{BAD_ORIGIN}')")
    page.keyboard.type("nonsense x")
    page.keyboard.press("Enter")
    assert "There is no dimension nonsense" in page.inner_text(".fault")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    # The chart: the crosshair says what is there, Shift selects, Enter zooms, minus goes back.
    ready(page)
    page.focus(".chart")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    said = page.inner_text(".chart .vh")
    assert "passed" in said
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    assert page.inner_text(".chart .vh").startswith("Selected")
    page.keyboard.press("Enter")
    page.wait_for_url("**since=**")
    page.keyboard.press("-")
    eventually(lambda: "since" not in query_of(page), 20)
    # A handle of the strip.
    page.focus(".handle")
    page.keyboard.press("PageUp")
    page.wait_for_url("**last=23h**")
    # Excluding a value, and comparing.
    ready(page)
    page.focus("[data-dimension=app] li button")
    page.keyboard.press("x")
    page.wait_for_selector(".chip.not:has-text('postgres')")
    assert "vs" not in query_of(page)
    page.focus(".chart")
    page.keyboard.press("c")
    page.wait_for_url("**vs=none**")


def test_a_rule_of_the_filters(look, site, day, screen, accessible):
    client = "203.0.113.7"
    page = ready(look(f"/analytics?f=client_ip=={client};reason==client_closed"))
    page.click("text=Make a rule")
    page.wait_for_selector(".tried p")
    would = day.count(ClientIP=client) - day.count(ClientIP=client, Reason="client_blocked")
    assert f"{would} sessions of one client" in page.inner_text(".tried")
    assert "cannot say reason" in page.inner_text("dialog")
    screen(page, "analytics-rule", full=False)
    accessible(page)
    page.click(f"dialog button:has-text('Block address {client}')")
    page.wait_for_selector(".toast, dialog .err")
    assert page.locator("dialog .err").all_inner_texts() == []
    assert page.inner_text(".toast") == f"Address {client} is refused from now on."
    account = site.ask("GET", "/accounts")[0]["id"]
    rules = site.ask("GET", f"/accounts/{account}/firewall/access_rules/rules")
    [made] = [one for one in rules if one["configuration"] == {"target": "ip", "value": client}]
    assert made["mode"] == "block"
    site.ask("DELETE", f"/accounts/{account}/firewall/access_rules/rules/{made['id']}")


def test_sampled_packets(look, screen, accessible):
    page = ready(look("/analytics?m=packets&by=source_port"))
    assert names(page) == ["53"]
    assert page.inner_text(".lede").startswith("200\u00a0k packets")
    page.locator(".samples tbody button").first.click()
    layers = page.inner_text(".samples .layers")
    assert "ANY example.com" in layers
    assert "1,000 packets" in layers
    # A field and its bytes light up together.
    page.hover(".samples .layers .f:has-text('TTL')")
    assert page.locator(".hex .on").all_inner_texts() == ["33"]
    screen(page, "analytics-packets")
    accessible(page)
    page.click(".samples .layers button:has-text('rule dns-answers')")
    page.wait_for_selector(".chip:has-text('rule dns-answers')")


@pytest.fixture
def attacked(look, day):
    """A page of an attack on the app that the sampled packets of the day were sent to."""

    def open_page(size="desktop", theme="light"):
        made = attack(
            state=AttackState.ENDED,
            app="game-eu",
            target=AttackTarget("192.0.2.1", 27015, "udp"),
            began=day.outage[0],
            ended=day.outage[0] + 6000,
        )
        shown = attack_shown(made) | {"app_id": None, "samples": []}
        answer = {"success": True, "errors": [], "messages": [], "result": shown, "result_info": None}
        page = look("/settings", size, theme)
        page.route("**/accounts/*/attacks/*", lambda route: route.fulfill(json=answer))
        page.goto(f"/#/attacks/{made.id}")
        page.wait_for_selector(LEGEND)
        page.wait_for_selector(".topn .wait", state="detached")
        return page

    return open_page


@looks("desktop light", more=("phone dark",))
def test_the_traffic_of_an_attack(attacked, screen, accessible, size, theme):
    page = attacked(size, theme)
    assert names(page) == ["kept off: your rules", "passed"]
    assert "pps" in page.inner_text(LEGEND)
    page.click("button:text-is('Bits')")
    assert "bit/s" in page.locator(LEGEND).first.inner_text()
    assert "NTP reflection" in page.inner_text(".attack-traffic .chart")
    lists = page.locator(".topn")
    assert [one.partition("\n")[0] for one in lists.all_inner_texts()] == [
        *("Source country", "Source AS", "Source address", "Source port", "Packet size", "Node")
    ]
    assert "AS64496" in lists.nth(1).inner_text() and "100\u00a0%" in lists.nth(1).inner_text()
    screen(page, f"attack-traffic-{size}-{theme}")
    accessible(page)
    page.click(".topn[data-dimension=source_port] button.n")
    page.wait_for_selector(".chip:has-text('source port')")
    assert {"app", "m", "since", "until"} - set(query_of(page)) == {"app"}
    assert "destination_port==27015" in query_of(page)["f"] and "outcome==drop" in query_of(page)["f"]
    assert ready(page).locator(f"{LEGEND} bdi").all_inner_texts() == ["rule dns-answers"]


@looks("phone light", more=("desktop dark",))
def test_clients_that_were_refused_most(look, site, screen, accessible, day, size, theme):
    page = look("/clients", size, theme)
    page.wait_for_selector(".topn .wait", state="detached")
    assert page.locator(".topn h3").all_inner_texts()[0].startswith("Most sessions")
    refused = page.locator(".topn").nth(2)
    who = refused.locator("li button").first.inner_text()
    question = {
        "table": "events",
        "metrics": ["refused"],
        "dimensions": ["client_ip"],
        "since": day.since,
        "until": day.until,
    }
    most = max(number for _, number in ask(site, question | {"limit": 1000})["rows"])
    assert f"\n{most}" in refused.locator("li").first.inner_text()
    screen(page, f"clients-{size}-{theme}")
    accessible(page)
    refused.locator("button").first.click()
    page.wait_for_selector(".story")
    assert page.url.partition("?")[0].endswith(f"/clients/{who}")


def test_rules_that_cannot_be(look):
    page = ready(look("/analytics?f=asn==65540"))
    page.click("text=Make a rule")
    page.click("dialog button:has-text('Block AS65540')")
    page.wait_for_selector("dialog .err")
    assert "asn_database" in page.inner_text("dialog .err"), "what the API says"
    page.click("dialog button:has-text('Cancel')")
    page.click(".chip .x")
    page.click("text=Make a rule")
    assert "names clients" in page.inner_text("dialog")


def test_what_clients_sent_stays_text(look):
    page = ready(look("/analytics?by=sni&more=1"))
    assert HOSTILE in names(page)
    assert page.locator(f"[data-dimension=sni] bdi:text-is('{HOSTILE}')").count() == 1
    assert page.locator("main img").count() == 0
    page.click(f"[data-dimension=sni] button:has-text('{HOSTILE}')")
    page.wait_for_selector(f".chip:has-text('{HOSTILE}')")


def test_a_link_has_the_whole_view(look):
    page = ready(look("/analytics?m=bits&by=country&last=6h&f=app!=mqtt&as=volume"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("text=Copy link")
    page.wait_for_selector(".toast")
    link = page.evaluate("navigator.clipboard.readText()")
    assert "since=" in link and "until=" in link, "a link to the last six hours would be another view tomorrow"
    other = ready(look(link.partition("#")[2]))
    assert [other.input_value(f"#q-{name}") for name in ("metric", "by", "against")] == ["bits", "country", "day"]
    assert other.locator(".chip.not").inner_text() == page.locator(".chip.not").inner_text()
    assert other.get_attribute("#q-Volume", "aria-pressed") == "true"


def test_a_finger_is_held_and_drags(look):
    page = ready(look("/analytics", "phone"))
    page.locator(".chart").scroll_into_view_if_needed()
    box = page.locator(".chart").bounding_box()
    client = page.context.new_cdp_session(page)
    client.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def touch(kind: str, *x: float) -> None:
        points = [{"x": box["x"] + one, "y": box["y"] + 120} for one in x]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 150)
    page.wait_for_selector(".chart .cross", state="attached")
    for x in (180, 220, 260):
        touch("touchMove", x)
    page.wait_for_selector(".chart .chosen", state="attached")
    touch("touchEnd")
    page.wait_for_url("**since=**")


def test_nothing_matches(look, screen, accessible, day):
    page = look("/analytics?f=app==nobody;country==DE")
    page.wait_for_selector(".analytics .blank")
    assert page.inner_text(".lede").startswith("No sessions in this range")
    assert "Nothing in this range has app is nobody, and client country is DE" in page.inner_text(".blank")
    screen(page, "analytics-nothing")
    accessible(page)
    # The way out has its number.
    left = page.inner_text(".blank button >> nth=0")
    assert left.replace(",", "").split()[-1] == str(day.count(ClientCountry="DE"))
    page.click(".blank button >> nth=0")
    ready(page)
    assert page.locator(".chip").count() == 1


def test_much_is_drawn_on_a_canvas(look):
    page = ready(look("/analytics"))
    kinds = page.evaluate(
        """async () => {
        const base = document.querySelector('script[type=module]').src.replace(/main\\.js$/, '');
        const { chart, spark } = await import(base + 'chart/index.js');
        const times = Array.from({ length: 1000 }, (_, i) => i * 60);
        const values = (s) => times.map((t) => Math.abs(Math.sin(t / 5000 + s)) * 100);
        const made1 = (s) => ({ key: s, label: `s${s}`, color: `cat-${s}`, values: values(s) });
        const series = [1, 2, 3, 4, 5, 6].map(made1);
        const given = { kind: 'area', times, bucket: 60, label: 'Test', range: [0, 60000], height: 200 };
        const made = (some) => chart({ ...given, series: some });
        const many = made(series), few = made(series.slice(0, 2));
        document.querySelector('main').append(many.node, few.node, spark([1, null, 3], { label: 'a spark' }));
        await new Promise(done => setTimeout(done, 300));
        const canvas = many.node.querySelector('canvas.data');
        const pixels = canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height - 40, 1, 1).data;
        const isDrawn = Boolean(few.node.querySelector('svg.data path'));
        const label = document.querySelector('main > .spark').ariaLabel;
        return [canvas.getAttribute('aria-label'), isDrawn, pixels[3], label];
    }"""
    )
    assert kinds[0].startswith("Test: mean")
    assert kinds[1:] == [True, 255, "a spark"]
