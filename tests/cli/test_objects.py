import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer

import pytest
from click.shell_completion import ShellComplete

from spectrum.cli.commands import main
from spectrum.cli.objects import merged, put, shown, table
from tests.cli.harness import spectrum

ACCOUNT, ZONE = "a" * 32, "b" * 32
POOLS, APPS = f"/accounts/{ACCOUNT}/load_balancers/pools", f"/zones/{ZONE}/spectrum/apps"
MONITORS = f"/accounts/{ACCOUNT}/load_balancers/monitors"
GROUPS = f"/accounts/{ACCOUNT}/load_balancers/monitor_groups"
CERTIFICATES = f"/zones/{ZONE}/custom_certificates"
PACKS = f"/zones/{ZONE}/ssl/certificate_packs"
RULES, LISTS = f"/accounts/{ACCOUNT}/firewall/access_rules/rules", f"/accounts/{ACCOUNT}/rules/lists"


class Server(ThreadingUnixStreamServer):
    """An API that keeps what it is sent.

    Attributes:
        objects: By path what is there.
        asked: Every request but reads.
    """

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.objects = {
            "/accounts": [{"id": ACCOUNT, "name": "default"}],
            "/zones": [{"id": ZONE, "name": "example.com"}],
            MONITORS: [{"id": "m1", "description": "tcp", "type": "tcp"}],
            GROUPS: [{"id": "g1", "description": "all", "members": [{"monitor_id": "m1"}, {"monitor_id": "m9"}]}],
            POOLS: [
                {"id": "p1", "name": "eu", "enabled": True, "origins": [{"address": "192.0.2.1"}, {"address": "::1"}]},
                {"id": "p2", "name": "us", "load_shedding": {"default_percent": 0, "default_policy": "random"}},
            ],
            APPS: [{"id": f"a{i}", "dns": {"name": f"{i}.example.com"}, "protocol": f"tcp/{i}"} for i in range(1, 151)],
            RULES: [],
            CERTIFICATES: [{"id": "c1", "hosts": ["a.example.com"], "status": "active"}],
            PACKS: [
                {"id": "o1", "hosts": ["o.example.com"], "status": "active", "certificates": [{"issuer": "CA"}]},
                {
                    "id": "o2",
                    "hosts": ["a.example.com"],
                    "status": "pending_validation",
                    "certificates": [],
                    "validation_errors": [{"message": "no such name"}],
                },
            ],
            LISTS: [{"id": "l1", "name": "banned", "kind": "ip"}],
        }
        self.asked = []


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def address_string(self):
        return ""

    def log_message(self, *_):
        pass

    def answer(self):
        path, _, query = self.path.removeprefix("/client/v4").partition("?")
        size = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(size)) if size else None
        status, result, errors = 200, None, []
        if self.command == "GET":
            result = self.server.objects[path]
            if path in (APPS, RULES, CERTIFICATES, PACKS):
                page = int(dict(part.split("=") for part in query.split("&"))["page"])
                result = result[(page - 1) * 100 : page * 100]
        else:
            self.server.asked.append((self.command, path, body))
            result = {"id": "new", **(body or {})}
            if body and body.get("name") == "wrong":
                status, result = 400, None
                errors = [{"message": "bad", "source": {"pointer": "/origins/0"}}, {"message": "worse"}]
        text = json.dumps({"success": not errors, "errors": errors, "result": result}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer


@contextmanager
def serving(folder):
    with Server(folder / "api.sock") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as running:
        running.run = lambda *words: spectrum(*words, "--api-socket", tmp_path / "api.sock")
        yield running


def test_objects_are_listed(server):
    assert server.run("pool", "list").output == "eu  true  192.0.2.1, ::1\nus\n"
    assert server.run("app", "list").output.splitlines()[0] == "1.example.com    tcp/1"
    assert len(server.run("app", "list").output.splitlines()) == 150
    assert json.loads(server.run("list", "list", "--json").output) == server.objects[LISTS]
    assert server.run("rule", "list").output == ""
    assert server.run("group", "list").output == "all  tcp, m9\n"


def test_certificates_are_listed_with_orders_of_some(server):
    lines = [line.split() for line in server.run("certificate", "list").output.splitlines()]
    assert lines == [
        ["a.example.com", "a.example.com", "active"],
        ["o.example.com", "o.example.com", "CA", "active"],
        ["a.example.com", "a.example.com", "pending_validation", "no", "such", "name"],
    ]
    assert (
        "2 objects are called a.example.com; write an id: c1, o2"
        in server.run("certificate", "show", "a.example.com").output
    )


def test_one_is_shown_by_its_name_or_id(server):
    for name in ("eu", "p1"):
        assert json.loads(server.run("pool", "show", name, "--json").output) == server.objects[POOLS][0]
    assert 'origins  [{"address": "192.0.2.1"}, {"address": "::1"}]' in server.run("pool", "show", "eu").output
    missing = server.run("pool", "show", "asia")
    assert (missing.exit_code, missing.output) == (1, "there is no pool asia\n")
    server.objects[POOLS].append({"id": "p3", "name": "eu"})
    assert "2 objects are called eu; write an id: p1, p3" in server.run("pool", "show", "eu").output


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ("pool", "set", "asia", "monitor=tcp", 'origins=[{"name": "a", "address": "192.0.2.9"}]', "enabled=false"),
            (
                "POST",
                POOLS,
                {"name": "asia", "monitor": "m1", "origins": [{"name": "a", "address": "192.0.2.9"}], "enabled": False},
            ),
        ),
        (
            ("pool", "set", "eu", "description=Europe", "monitor="),
            ("PATCH", f"{POOLS}/p1", {"description": "Europe", "monitor": None}),
        ),
        (
            ("pool", "set", "us", "load_shedding.default_percent=5"),
            ("PATCH", f"{POOLS}/p2", {"load_shedding": {"default_percent": 5, "default_policy": "random"}}),
        ),
        (
            ("balancer", "set", "lb.example.com", "default_pools=eu,us", "fallback_pool=us"),
            (
                "POST",
                f"/zones/{ZONE}/load_balancers",
                {"name": "lb.example.com", "default_pools": ["p1", "p2"], "fallback_pool": "p2"},
            ),
        ),
        (
            (
                "app",
                "set",
                "new.example.com",
                "protocol=tcp/22",
                'origin_direct=["tcp://192.0.2.1:22"]',
                "dns.type=CNAME",
            ),
            (
                "POST",
                APPS,
                {
                    "dns": {"name": "new.example.com", "type": "CNAME"},
                    "protocol": "tcp/22",
                    "origin_direct": ["tcp://192.0.2.1:22"],
                },
            ),
        ),
        (("monitor", "set", "web", "type=http"), ("POST", MONITORS, {"description": "web", "type": "http"})),
        (
            ("rule", "set", "192.0.2.1", "mode=block"),
            ("POST", RULES, {"configuration": {"target": "ip", "value": "192.0.2.1"}, "mode": "block"}),
        ),
        (
            (
                "group",
                "set",
                "some",
                'members=[{"monitor_id": "tcp", "must_be_healthy": true}, {"enabled": true}, "m1"]',
            ),
            (
                "POST",
                GROUPS,
                {
                    "description": "some",
                    "members": [
                        {"monitor_id": "m1", "must_be_healthy": True},
                        {"enabled": True},
                        {"monitor_id": "m1"},
                    ],
                },
            ),
        ),
        (("group", "set", "all", "members=tcp"), ("PATCH", f"{GROUPS}/g1", {"members": [{"monitor_id": "m1"}]})),
        (("group", "set", "all", "members=5"), ("PATCH", f"{GROUPS}/g1", {"members": 5})),
        (("pool", "set", "eu", "monitor_group=all"), ("PATCH", f"{POOLS}/p1", {"monitor_group": "g1"})),
        (("list", "set", "banned", "description=d"), ("PUT", f"{LISTS}/l1", {"description": "d"})),
        (
            ("certificate", "set", "a.example.com", "certificate=PEM", "bundle_method=force"),
            ("PATCH", f"{CERTIFICATES}/c1", {"certificate": "PEM", "bundle_method": "force"}),
        ),
        (
            ("certificate", "set", "b.example.com", "certificate=@CHAIN", "private_key=@CHAIN"),
            ("POST", CERTIFICATES, {"certificate": "-----BEGIN x", "private_key": "-----BEGIN x"}),
        ),
        (
            ("certificate", "set", "o.example.com", "validation_method=txt", "hosts=o.example.com,*.o.example.com"),
            (
                "PATCH",
                f"{PACKS}/o1",
                {"validation_method": "txt", "hosts": ["o.example.com", "*.o.example.com"]},
            ),
        ),
        (
            ("certificate", "set", "o.example.com", "certificate=PEM", "private_key=KEY"),
            ("POST", CERTIFICATES, {"certificate": "PEM", "private_key": "KEY"}),
        ),
        (
            ("certificate", "set", "new.example.com", "bundle_method=force"),
            ("POST", CERTIFICATES, {"bundle_method": "force"}),
        ),
        (("certificate", "delete", "o.example.com"), ("DELETE", f"{PACKS}/o1", None)),
        (
            ("certificate", "order", "a.example.com", "*.a.example.com", "--method", "txt", "--days", "30"),
            (
                "POST",
                f"{PACKS}/order",
                {
                    "type": "advanced",
                    "hosts": ["a.example.com", "*.a.example.com"],
                    "certificate_authority": "lets_encrypt",
                    "validation_method": "txt",
                    "validity_days": 30,
                },
            ),
        ),
        (("pool", "delete", "us"), ("DELETE", f"{POOLS}/p2", None)),
    ],
)
def test_what_is_asked_for(server, words, asked, tmp_path):
    server.objects[f"/zones/{ZONE}/load_balancers"] = []
    (tmp_path / "chain").write_text("-----BEGIN x")
    result = server.run(*(word.replace("CHAIN", str(tmp_path / "chain")) for word in words))
    assert result.exit_code == 0, result.output
    assert server.asked == [asked]


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("2001:db8::1", "ip6"),
        ("192.0.2.0/24", "ip_range"),
        ("DE", "country"),
        ("AS64500", "asn"),
        ("$banned", "ip_range"),
    ],
)
def test_whom_a_rule_is_about_its_name_says(server, value, target):
    server.run("rule", "set", value, "mode=block")
    assert server.asked[0][2]["configuration"] == {"target": target, "value": value}


def test_each_reason_of_a_refusal_is_a_line(server):
    refused = server.run("pool", "set", "wrong", "origins=[1]")
    assert (refused.exit_code, refused.output) == (1, "origins.0: bad\nworse\n")
    assert server.run("pool", "set", "eu", "monitor").exit_code == 2
    assert "there is no monitor x" in server.run("pool", "set", "eu", "monitor=x").output
    assert "/nowhere: No such file" in server.run("certificate", "set", "x", "certificate=@/nowhere").output
    assert "there is no zone other" in server.run("app", "list", "--zone", "other").output


def test_without_the_api_it_says_what_to_do(tmp_path):
    alone = spectrum("pool", "list", "--api-socket", tmp_path / "api.sock")
    assert alone.exit_code == 1
    assert "does its file have api:" in alone.output


def completed(folder, *words, incomplete):
    found = ShellComplete(main, {}, "spectrum", "_SPECTRUM_COMPLETE").get_completions(
        [*words[:2], "--api-socket", str(folder / "api.sock"), *words[2:]], incomplete
    )
    return [one.value for one in found]


def test_the_shell_completes_names(server, tmp_path):
    for what in ("show", "set", "delete"):
        assert completed(tmp_path, "pool", what, incomplete="e") == ["eu"]
    assert completed(tmp_path, "list", "show", incomplete="") == ["banned"]
    assert completed(tmp_path, "app", "show", incomplete="15") == ["15.example.com", "150.example.com"]
    assert completed(tmp_path / "gone", "pool", "show", incomplete="") == []


def test_parts():
    body = {}
    put(body, ["a", "b"], 1)
    put(body, ["a", "c"], 2)
    assert body == {"a": {"b": 1, "c": 2}}
    assert merged({"b": 0, "d": {"e": 1}}, {"b": 1, "d": {"f": 2}}) == {"b": 1, "d": {"e": 1, "f": 2}}
    assert shown({"a": [{"b": 1}, {"b": None}]}, "a.b") == "1, "
    assert shown({"a": {"b": True}}, "a") == '{"b": true}'
    assert list(table([["a", "bb"], ["ccc", ""]])) == ["a    bb", "ccc"]
