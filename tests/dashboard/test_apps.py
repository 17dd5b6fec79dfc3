"""Apps: the list, an app by its preset, faults at their fields, and two who edit at once."""

import json
import re

import pytest

from spectrum.store.objects import file_id
from tests.dashboard.conftest import looks
from tests.engine.harness import eventually


@pytest.fixture(scope="module")
def zone(site):
    """A zone, and its id."""
    account = site.ask("GET", "/accounts")[0]["id"]
    return site.ask("POST", "/zones", {"name": "example.com", "account": {"id": account}})["id"]


@pytest.fixture
def port(free_port):
    return free_port()


@looks("desktop dark", more=("phone light",))
def test_the_list(look, screen, accessible, size, theme):
    page = look("/apps", size, theme)
    page.wait_for_selector("tbody .t-degraded")
    screen(page, f"apps-{size}-{theme}")
    accessible(page)
    rows = page.locator("tbody tr")
    assert rows.nth(0).locator("[aria-label=degraded], [aria-label=failed]").count() == 1, "trouble is first"
    assert "1 of 2 origins" in page.inner_text("tbody tr:has-text('echo')")
    if size == "desktop":
        page.keyboard.press("/")
        page.keyboard.type("nothing like it")
        page.wait_for_selector("text=Nothing matches")
        page.keyboard.press("Escape")
        assert rows.count() >= 2


def test_an_ssh_app_by_keyboard_alone(look, site, zone, port, screen, accessible):
    origin = re.search(r"name: up, address: 127.0.0.1, port: (\d+)", site._text).group(1)
    page = look("/apps")
    page.wait_for_selector("tbody tr")
    tab_to(page, "Add an app")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=What stands behind it?")
    screen(page, "presets")
    accessible(page)
    tab_to(page, "SSHtcp/22")
    page.keyboard.press("Enter")
    page.wait_for_selector("textarea:focus")
    page.keyboard.type(f"127.0.0.1:{origin}")
    tab_to(page, "Protocol and ports", back=True)
    page.keyboard.press("Control+a")
    page.keyboard.type(f"tcp/{port}")
    page.wait_for_selector(f"text=tcp://127.0.0.1:{origin}")
    screen(page, "app-new")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("dialog[open]")
    screen(page, "app-new-review", full=False)
    accessible(page)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('ssh.example.com')")
    assert site.visit(port, b"SSH-2.0-x") == b"SSH-2.0-x"
    made = next(
        one for one in site.ask("GET", f"/zones/{zone}/spectrum/apps") if one["dns"]["name"] == "ssh.example.com"
    )
    assert (made["preset"], made["origin_direct"]) == ("ssh", [f"tcp://127.0.0.1:{origin}"])


def tab_to(page, name, back=False):
    """Press Tab until what has the focus is called so."""
    wanted = """name => { const one = document.activeElement, label = one.labels?.[0]?.textContent ?? one.textContent;
                return label.trim() === name; }"""
    for _ in range(60):
        if page.evaluate(wanted, name):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"no Tab leads to {name}")


@pytest.fixture
def app(site, zone, port):
    """A stored app."""
    body = {
        "protocol": f"tcp/{port}",
        "dns": {"type": "CNAME", "name": f"a{port}.example.com"},
        "origin_direct": ["tcp://127.0.0.1:9"],
    }
    return site.ask("POST", f"/zones/{zone}/spectrum/apps", body)


@looks("phone dark", more=("desktop light",))
def test_a_fault_stands_at_its_field(look, site, app, screen, accessible, size, theme):
    page = look(f"/apps/{app['id']}", size, theme)
    field = page.get_by_label("Protocol and ports")
    field.fill("tcp/70-75")
    field.blur()
    fault = page.locator(".f:has(label:text-is('Address')) .err")
    page.get_by_label("Address", exact=True).focus()
    page.get_by_role("button", name="Review and save").click()
    fault.wait_for()
    assert "/origin_direct/0" in fault.inner_text()
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA", "the first fault has the focus"
    assert "1 field to mend: address" in page.inner_text(".bottombar")
    screen(page, f"app-fault-{size}-{theme}")
    accessible(page)
    fault.get_by_role("button").click()
    fault.wait_for(state="detached")
    assert page.get_by_label("Address", exact=True).input_value() == "tcp://127.0.0.1:9-14"
    page.get_by_role("button", name="Review and save").click()
    page.wait_for_selector("dialog .add:has-text('tcp/70-75')")


def test_two_who_edit_at_once(look, site, zone, app, screen, accessible):
    page = look(f"/apps/{app['id']}")
    page.get_by_label("Quiet ones end after").fill("90s")
    page.wait_for_selector(".diff .add:has-text('90s')")
    site.ask("PATCH", f"/zones/{zone}/spectrum/apps/{app['id']}", {"timeouts": {"idle": "2h"}, "proxy_protocol": "v2"})
    page.get_by_role("button", name="Review and save").click()
    page.get_by_role("button", name=re.compile("^Save a")).click()
    page.wait_for_selector("dialog:has-text('was changed meanwhile')")
    told = page.inner_text("dialog p")
    assert "timeouts" in told and "proxy_protocol" not in told
    screen(page, "conflict", full=False)
    accessible(page)
    page.get_by_role("button", name="Save mine over it").click()
    page.wait_for_selector(".toast:has-text('Saved')")
    now = site.ask("GET", f"/zones/{zone}/spectrum/apps/{app['id']}")
    assert (now["timeouts"], now["proxy_protocol"]) == ({"idle": "90s"}, "v2")


def test_an_app_of_the_file_says_where_it_stands(look, site, screen, accessible):
    page = look(f"/apps/{file_id('apps', 'broken')}")
    page.wait_for_selector("text=This app stands in the file")
    assert re.search(r"\.yaml, line \d+", page.inner_text("main .banner"))
    assert page.get_by_label("Protocol and ports").get_attribute("readonly") is not None
    assert not page.get_by_role("button", name="Delete").count()
    screen(page, "app-in-file")
    accessible(page)


def test_an_app_is_paused(look, site, screen):
    page = look(f"/apps/{file_id('apps', 'echo')}")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Pause echo").click()
    page.wait_for_selector(".lede:has-text('Paused: new sessions are refused.')")
    eventually(lambda: site.visit(site.good) == b"", 10)
    screen(page, "app-paused", full=False)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Resume echo").click()
    page.get_by_role("button", name="Pause").wait_for()
    eventually(lambda: site.visit(site.good) == b"hello", 10)


def test_an_app_is_deleted(look, site, zone, app):
    page = look(f"/apps/{app['id']}")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_selector("dialog:has-text('No session is open')")
    page.get_by_role("button", name=re.compile("^Delete a")).click()
    page.wait_for_selector("h1:text-is('Apps')")
    assert app["id"] not in json.dumps(site.ask("GET", f"/zones/{zone}/spectrum/apps"))


MANY = 10_000


def test_ten_thousand_apps(look, site, screen):
    """What the browser makes of them; how fast is measured by `python -m benchmarks pages`."""
    page = look("/apps")
    page.route("**/spectrum/objects/apps", lambda route: route.fulfill(json=many()))
    page.route("**/spectrum/figures", lambda route: route.fulfill(json=figures()))
    page.reload()
    page.wait_for_selector(".tbl.tall tbody tr:has-text('tenant-')")
    screen(page, "apps-many", full=False)
    told = page.evaluate(SCROLLED)
    assert told["drawn"] < 80, "only rows in sight are in the document"
    assert told["blank"] == 0, "no row is blank while it scrolls"
    assert told["found"] == "1 of 10,000"


def many():
    """Return the answer with all of them."""
    names = [f"tenant-{number:05}-ssh.example.com" for number in range(MANY)]
    result = [
        {
            "id": file_id("apps", name),
            "created_on": "2026-11-01T00:00:00Z",
            "modified_on": "2026-11-01T00:00:00Z",
            "name": name,
            "key": name,
            "zone_id": None,
            "revision": 1,
            "in_file": False,
            "value": {"protocol": f"tcp/{1 + number}", "origin_direct": [f"tcp://192.0.2.{number % 250}:22"]},
        }
        for number, name in enumerate(names)
    ]
    return {"success": True, "errors": [], "messages": [], "result": result}


def figures():
    """Return the answer with what each has served."""
    keys = ["sessions", "started", "failed", "refused", "bytes_from_client", "bytes_from_origin"]
    apps = {one["id"]: [number % 90, number, 0, 0, number, number] for number, one in enumerate(many()["result"])}
    return {
        "success": True,
        "errors": [],
        "messages": [],
        "result": {"at": 1.0, "keys": keys, "apps": apps, "paused": []},
    }


SCROLLED = """async () => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => resolve()));
  const box = document.querySelector('.tbl .tw'), input = document.querySelector('[data-filter]');
  let blank = 0, drawn = 0;
  for (let step = 1; step <= 40; step++) {
    box.scrollTop = (step * 7919 * 36) % box.scrollHeight;
    await frame(); await frame();
    const { left, top, height } = box.getBoundingClientRect();
    const rowAt = (part) => document.elementFromPoint(left + 200, top + height * part).closest('tr[data-key]');
    blank += [0.1, 0.5, 0.9].filter((part) => !rowAt(part)).length;
    drawn = Math.max(drawn, box.querySelectorAll('tr').length);
  }
  input.value = 'tenant-04711';
  input.dispatchEvent(new Event('input'));
  return { blank, drawn, found: document.querySelector('.count').textContent };
}"""
