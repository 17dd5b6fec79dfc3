"""Who is connected, why there, and the end of it."""

import json
import socket

import pytest

from tests.dashboard.conftest import looks


@pytest.fixture
def client(site):
    """A client of the app `echo` that is connected."""
    with socket.create_connection(("127.0.0.1", site.good), 10, ("127.0.0.4", 0)) as sock:
        sock.settimeout(10)
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        yield sock


@looks("phone dark", more=("desktop light",))
def test_sessions_are_found_and_one_is_ended(look, screen, accessible, client, size, theme):
    page = look("/sessions", size, theme)
    page.fill("input[name=client]", "127.0.0.4")
    page.press("input[name=client]", "Enter")
    name = f"127.0.0.4:{client.getsockname()[1]}"
    row = page.locator("tbody tr", has_text=name)
    page.wait_for_selector("h1:text-is('One open session matches')")  # the row may be there before it is the only one
    assert "client=127.0.0.4" in page.url
    assert "echo" in row.inner_text()
    row.click()
    page.wait_for_selector(".session .steps li")
    assert "it goes to main/up" in page.inner_text(".session .steps")
    screen(page, f"sessions-{size}-{theme}")
    accessible(page)
    page.click("text=End this session")
    assert "It may connect again" in page.inner_text(".confirm")
    page.click(".confirm .danger")
    page.wait_for_selector("text=One session ended")
    assert client.recv(1) == b""
    page.wait_for_selector("text=No open session is like that")


def test_several_are_ended_by_who_types_which(look, site, client):
    with socket.create_connection(("127.0.0.1", site.good), 10, ("127.0.0.4", 0)) as other:
        page = look("/sessions?client=127.0.0.4")
        page.click("text=End all 2")
        page.click("dialog .danger")
        assert page.get_attribute("#which", "aria-invalid") == "true"
        page.fill("#which", "127.0.0.4")
        page.click("dialog .danger")
        page.wait_for_selector("text=Two sessions ended")
        other.settimeout(10)
        assert (other.recv(1), client.recv(1)) == (b"", b"")
        last = site.ask("GET", "/user/audit_logs?per_page=1")[0]
        assert (last["action"]["type"], last["resource"]["type"]) == ("kill", "sessions")


def test_no_connections(look, screen):
    page = look("/")
    info = {"count": 0, "total_count": 0, "silent": ["worker pid 7"]}
    answer = {"success": True, "errors": [], "messages": [], "result": [], "result_info": info}
    page.route("**/sessions?*", lambda one: one.fulfill(body=json.dumps(answer), content_type="application/json"))
    page.goto("/#/sessions")
    page.wait_for_selector("text=Nobody is connected")
    assert page.inner_text("h1") == "No sessions are open"
    assert "Not counted: worker pid 7" in page.inner_text(".lede")
    screen(page, "sessions-none")
