"""Load balancing: what is ill first, origins drained in place, a monitor tried before it is saved."""

import re
import socket
import socketserver
import threading
from collections import Counter

import pytest

from spectrum.store.objects import file_id
from tests.dashboard.conftest import looks
from tests.engine.harness import eventually


class _Named(socketserver.ThreadingTCPServer):
    """Says its name to whoever connects."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, name):
        class Say(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(name.encode())
                self.request.recv(1)

        super().__init__(("127.0.0.1", 0), Say)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture(scope="module")
def pair(site):
    """A load balancer of two origins that say their names, and the port of its app."""
    servers = {name: _Named(name) for name in ("pg-1", "pg-2")}
    account = site.ask("GET", "/accounts")[0]["id"]
    base = f"/accounts/{account}/load_balancers"
    zone = site.ask("POST", "/zones", {"name": "example.net", "account": {"id": account}})["id"]
    quick = file_id("monitors", "quick")
    origins = [{"name": name, "address": "127.0.0.1", "port": one.server_address[1]} for name, one in servers.items()]
    pool = site.ask("POST", f"{base}/pools", {"name": "postgres", "origins": origins, "monitor": quick})["id"]
    body = {"name": "db.example.net", "default_pools": [pool], "fallback_pool": pool}
    balancer = site.ask("POST", base, body)["id"]
    port = _free_port()
    app = {"protocol": f"tcp/{port}", "dns": {"type": "CNAME", "name": "pg.example.net"}, "load_balancer": balancer}
    made = site.ask("POST", f"/zones/{zone}/spectrum/apps", app)["id"]
    eventually(lambda: {who(port) for _ in range(10)} == {b"pg-1", b"pg-2"}, 20)
    yield {"balancer": balancer, "pool": pool, "port": port, "base": base}
    site.ask("DELETE", f"/zones/{zone}/spectrum/apps/{made}")
    for one in servers.values():
        one.shutdown()
        one.server_close()


def who(port):
    """Return the name of the origin that a new session gets."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        return client.recv(16)


def _free_port():
    with socketserver.TCPServer(("127.0.0.1", 0), None) as one:
        return one.server_address[1]


@looks("desktop light", more=("phone dark",))
def test_what_is_ill_comes_first(look, pair, screen, accessible, size, theme):
    page = look("/balancing", size, theme)
    page.wait_for_selector("h1:has-text('shared is degraded: 1 of 2 origins are up')")
    assert "connection refused" in page.inner_text(".lede")
    screen(page, f"balancing-{size}-{theme}")
    accessible(page)


@looks("phone dark", more=("desktop light",))
def test_a_load_balancer_says_why(look, screen, accessible, size, theme):
    page = look(f"/balancing/{file_id('load_balancers', 'shared')}", size, theme)
    page.wait_for_selector("h1:has-text('shared is degraded: down does not answer')")
    assert "probes have failed: connection refused" in page.inner_text(".lede")
    assert page.locator("tr[data-origin=down] svg[aria-label*='probes failed']").count() == 1
    screen(page, f"balancer-{size}-{theme}")
    accessible(page)


def test_an_origin_is_drained_in_place_and_new_sessions_go_elsewhere(look, site, pair, screen, accessible):
    page = look(f"/balancing/{pair['balancer']}")
    row = page.locator("tr[data-origin=pg-1]")
    row.get_by_role("button").click()
    page.wait_for_selector("tr .confirm:has-text('Then pg-2 alone serves.')")
    screen(page, "balancer-drain")
    accessible(page)
    page.keyboard.press("Escape")
    assert page.locator("tr .confirm").count() == 0
    row.get_by_role("button").click()
    page.get_by_role("button", name="Drain pg-1").last.click()
    row.locator("text=drained by hand").wait_for()
    eventually(lambda: Counter(who(pair["port"]) for _ in range(8)) == {b"pg-2": 8}, 10)
    row.get_by_role("button", name="Serve again").click()
    page.get_by_role("button", name="Serve again: pg-1").click()
    row.locator("text=healthy").wait_for()
    eventually(lambda: {who(pair["port"]) for _ in range(10)} == {b"pg-1", b"pg-2"}, 10)


def test_a_pool_is_made_with_its_monitor_tried(look, site, pair, screen, accessible):
    page = look("/balancing/pools/new")
    page.get_by_label("Name").first.fill("web")
    page.locator(".item").get_by_label("Name").fill("a")
    page.locator(".item").get_by_label("Address").fill("nonsense host")
    page.locator(".item").get_by_label("Port").fill("80")
    page.get_by_role("button", name="Review and add").click()
    fault = page.locator(".item .err")
    fault.wait_for()
    assert "/origins/0/address" in fault.inner_text()
    screen(page, "pool-new")
    accessible(page)
    page.locator(".item").get_by_label("Address").fill("192.0.2.9")
    page.get_by_role("button", name="Review and add").click()
    page.get_by_role("button", name="Add web").click()
    page.wait_for_selector("h1:has-text('web')")
    screen(page, "pool")
    accessible(page)
    page.goto(f"{site.url}/#/balancing/monitors/new")
    page.wait_for_selector("h1:has-text('Add a monitor')")
    page.get_by_label("Pool to try it with").select_option(label="postgres")
    page.get_by_role("button", name="Probe once").click()
    page.wait_for_selector("text=answers as it should")
    screen(page, "monitor-tried")
    accessible(page)


def test_a_load_balancer_is_made(look, site, pair, screen, accessible):
    page = look("/balancing/new/edit")
    page.get_by_label("Host name").fill("lb.example.net")
    page.locator(".refs select").select_option(label="postgres")
    page.get_by_label("When none is healthy").select_option(label="postgres")
    page.get_by_role("button", name="Review and add").click()
    page.wait_for_selector("dialog:has-text('lb.example.net')")
    screen(page, "balancer-new")
    page.get_by_role("button", name="Add lb.example.net").click()
    page.wait_for_selector("h1:text-is('lb.example.net')")
    (made,) = [one for one in site.ask("GET", pair["base"]) if one["name"] == "lb.example.net"]
    assert made["default_pools"] == [pair["pool"]]
    assert re.search("fallback|takes the sessions", page.inner_text(".poolhead"))
