"""Cloudflare's documented errors, each provoked at a running daemon: status, code, and the place in the body."""

import http.client
import json
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.operator_tools import local_api, make_token

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

NOWHERE = "0" * 32
NETWORK = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"
FILE = """
accounts: {{a: {{}}, b: {{}}}}
zones: {{example.com: {{account: a}}, example.org: {{account: a}}, of.example.com: {{account: b}}}}
api: {{listen: 127.0.0.1:{}, user: nobody}}
"""
ORIGIN = ["tcp://192.0.2.1:22"]


class Edge:
    """A daemon with two accounts and what errors refer to: an app, a pool in use, a rule.

    Attributes:
        ids: By name the ids of its accounts, zones and objects.
        taken: The port of its app, on 127.0.0.1.
        busy: A port of another process.
        api_port: The port of its API.
    """

    def __init__(self, daemon, free_port, api_port, busy):
        self.api, self.api_port, self.busy = local_api(daemon), api_port, busy
        self.taken = free_port()
        self.ids = {one["name"]: one["id"] for one in self.api.result("GET", "/accounts")}
        self.ids |= {one["name"]: one["id"] for one in self.api.result("GET", "/zones")}
        made = self.api.result("POST", self.path("Z/spectrum/apps"), static("a.of.example.com", self.taken))
        pool = {"name": "eu", "origins": [{"name": "a", "address": "192.0.2.1"}]}
        self.ids |= {
            "app": made["id"],
            "pool": self.api.result("POST", self.path("A/load_balancers/pools"), pool)["id"],
        }
        balancer = {"name": "lb.example.com", "default_pools": [self.ids["pool"]], "fallback_pool": self.ids["pool"]}
        self.api.result("POST", self.path("Z/load_balancers"), balancer)
        rule = {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.66"}}
        self.api.result("POST", self.path("A/firewall/access_rules/rules"), rule)
        self.token = make_token(self.api, ["Spectrum Read"], {f"com.cloudflare.api.account.{self.ids['a']}": "*"})

    def path(self, text):
        """Return a path with ids in place of names: A of an account, Z of a zone, Z2 of another, B's of account b."""
        first, _, rest = text.partition("/")
        known = {
            "A": f"/accounts/{self.ids['a']}",
            "Z": f"/zones/{self.ids['example.com']}",
            "Z2": f"/zones/{self.ids['example.org']}",
            "B": f"/zones/{self.ids['of.example.com']}",
        }
        return "/".join(filter(None, (known.get(first, f"/{first}"), rest.format(**self.ids))))

    def ask(self, method, path, body, headers):
        """Return status, error and headers of the answer to a client on the network."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=30)
        try:
            text = body if isinstance(body, str) else json.dumps(body)
            connection.request(method, f"/client/v4{self.path(path)}", text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["errors"][0]
        finally:
            connection.close()


def app(name="x.example.com", port=40022, **more):
    body = {"protocol": f"tcp/{port}", "dns": {"type": "CNAME", "name": name}, "origin_direct": ORIGIN}
    return body | more


def static(name="x.example.com", port=40022, address="127.0.0.1", **more):
    edge_ips = {"type": "static", "ips": [address]}
    return app(name, port, dns={"type": "ADDRESS", "name": name}, edge_ips=edge_ips, **more)


@contextmanager
def held_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.fixture(scope="module")
def edge():
    def free_port():
        with held_port() as port:
            return port

    with tempfile.TemporaryDirectory(prefix="spectrum-errors-") as name, held_port() as busy:
        Path(name).chmod(0o755)
        api_port = free_port()
        with Daemon(Path(name), FILE.format(api_port)) as daemon:
            made = Edge(daemon, free_port, api_port, busy)
            yield made
            made.api.close()


DNS = {"name": "o.example"}
APPS = [
    (11000, app(origin_dns=DNS, origin_port=22), 400, "/origin_dns"),
    (11000, app(origin_direct=None), 400, "/origin_direct"),
    (11001, app(origin_direct=None, origin_dns=DNS), 400, "/origin_port"),
    (11001, app(origin_direct=None, origin_dns={"name": "a b"}, origin_port=1), 400, "/origin_dns/name"),
    (11001, app(origin_direct=None, origin_dns=DNS | {"ttl": 0}, origin_port=1), 400, "/origin_dns/ttl"),
    (11002, app(origin_direct=["tcp://2001:db8::1:22"]), 400, "/origin_direct/0"),
    (11004, app(dns={"type": "ADDRESS", "name": "x.example.com"}), 400, "/dns/type"),
    (11004, static() | {"dns": {"type": "CNAME", "name": "x.example.com"}}, 400, "/dns/type"),
    (11014, app(traffic_type="ftp"), 403, "/traffic_type"),
    (11019, static(address="192.0.2.77"), 400, "/edge_ips/ips/0"),
    (11026, app(argo_smart_routing=True), 403, "/argo_smart_routing"),
    (11041, app(origin_direct=None, origin_dns=DNS, origin_port=1, virtual_network_id=NETWORK), 400, "/origin_dns"),
    (11042, app(origin_direct=ORIGIN * 2, virtual_network_id=NETWORK), 400, "/origin_direct"),
    (11043, app(origin_direct=["tcp://192.0.2.1:22-23"], virtual_network_id=NETWORK), 400, "/origin_direct"),
    (11044, app(virtual_network_id=NETWORK), 400, "/virtual_network_id"),
    (11045, app(virtual_network_id="mine"), 400, "/virtual_network_id"),
    (10012, app(colour="red"), 400, "/colour"),
    (13002, app() | {"protocol": "sctp/22"}, 400, "/protocol"),
    (13002, app(traffic_type="http"), 400, "/traffic_type"),
    (16001, app("x.example.org"), 400, "/dns/name"),
]


@pytest.mark.parametrize(("code", "body", "status", "pointer"), APPS, ids=lambda one: str(one)[:40])
def test_an_app_that_is_refused(edge, code, body, status, pointer):
    assert told(edge, "POST", "Z/spectrum/apps", body) == (status, code, pointer)


def told(edge, method, path, body=None):
    """Return status, code and pointer of the first error."""
    status, answer = edge.api.call(method, edge.path(path), body)
    error = answer["errors"][0]
    return status, error["code"], error.get("source", {}).get("pointer")


@pytest.mark.parametrize(
    ("code", "zone", "body", "pointer"),
    [
        # Its address and port have an app of the same zone, of another one, and of another account.
        (13002, "Z", lambda edge: static(port=edge.taken), "/protocol"),
        (11033, "Z2", lambda edge: static("x.example.org", edge.taken), "/edge_ips"),
        (11033, "B", lambda edge: static("x.of.example.com", edge.taken), "/edge_ips"),
        # The edge chooses the address.
        (13002, "B", lambda edge: app("x.of.example.com", edge.taken), "/protocol"),
        (13002, "Z", lambda edge: static(port=edge.busy), "/protocol"),
        (13002, "Z", lambda edge: app(port=edge.api_port), "/protocol"),
        # The name has an app of another zone, on another port.
        (16001, "B", lambda edge: app("a.of.example.com", edge.taken + 1), "/dns/name"),
    ],
)
def test_an_app_that_conflicts_with_others(edge, code, zone, body, pointer):
    assert told(edge, "POST", f"{zone}/spectrum/apps", body(edge)) == (400, code, pointer)


RULES = "A/firewall/access_rules/rules"
BLOCK = {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.67"}}
BAD_RULE = {
    "action": "execute",
    "expression": "(",
    "action_parameters": {"id": "3b64149bfa6e4220bbbc2bd6db589552", "overrides": {"sensitivity_level": "low"}},
}
OTHERS = [
    (404, 7003, None, "GET", "Z/spectrum/apps/" + NOWHERE, None),
    (404, 7003, None, "DELETE", "A/load_balancers/pools/" + NOWHERE, None),
    (404, 7003, None, "GET", "zones/" + NOWHERE, None),
    # Products of Cloudflare that there are none of here.
    (404, 10404, None, "GET", "user/load_balancing_analytics/events", None),
    (404, 10404, None, "GET", "A/teamnet/routes", None),
    (404, 10404, None, "GET", "A/teamnet/virtual_networks", None),
    (404, 10404, None, "POST", "A/cfd_tunnel", {"name": "t"}),
    (404, 10404, None, "POST", "A/logpush/jobs", {"destination_conf": "https://192.0.2.1/"}),
    (404, 10404, None, "GET", "Z/logpush/jobs", None),
    (404, 10404, None, "GET", "A/alerting/v3/policies", None),
    (404, 10404, None, "GET", "A/addressing/prefixes", None),
    (404, 10404, None, "POST", "A/diagnostics/traceroute", {"targets": ["192.0.2.1"]}),
    (404, 10404, None, "GET", "nothing/here", None),
    (405, 10405, None, "PUT", "Z/spectrum/apps", {}),
    # Load balancing.
    (400, 1002, "/origins", "POST", "A/load_balancers/pools", {"name": "p", "origins": []}),
    (400, 1002, "/monitor", "POST", "A/load_balancers/pools", {"name": "p", "monitor": NOWHERE, "origins": [{}]}),
    (
        400,
        1002,
        "/name",
        "POST",
        "A/load_balancers/pools",
        {"name": "eu", "origins": [{"name": "a", "address": "::1"}]},
    ),
    (400, 1002, "/type", "POST", "A/load_balancers/monitors", {"type": "ftp"}),
    (400, 1005, None, "DELETE", "A/load_balancers/pools/{pool}", None),
    # Access rules.
    (
        400,
        10009,
        "/configuration",
        "POST",
        RULES,
        {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.66"}},
    ),
    (404, 10001, None, "GET", RULES + "/" + NOWHERE, None),
    (400, 10002, "/configuration/value", "POST", RULES, BLOCK | {"configuration": {"target": "ip", "value": "x"}}),
    (400, 10002, "/mode", "POST", RULES, BLOCK | {"mode": "challenge"}),
    # Rulesets.
    (404, 10003, None, "GET", "A/rulesets/phases/ddos_l4/entrypoint", None),
    (404, 10001, None, "GET", "A/rulesets/" + NOWHERE, None),
    (400, 20127, "/rules/0/expression", "PUT", "A/rulesets/phases/ddos_l4/entrypoint", {"rules": [BAD_RULE]}),
]


@pytest.mark.parametrize(("status", "code", "pointer", "method", "path", "body"), OTHERS)
def test_a_call_that_is_refused(edge, status, code, pointer, method, path, body):
    assert told(edge, method, path, body) == (status, code, pointer)


BEARER = {"authorization": "Bearer " + "x" * 40}


@pytest.mark.parametrize(
    ("status", "code", "chain", "headers", "path"),
    [
        (400, 9106, None, {}, "Z/spectrum/apps"),
        (400, 9106, None, {"x-auth-email": "me@example.com"}, "Z/spectrum/apps"),
        (403, 9103, None, {"x-auth-email": "me@example.com", "x-auth-key": "0" * 37}, "Z/spectrum/apps"),
        (400, 6003, [6111], {"authorization": "Basic bWU6cHc="}, "Z/spectrum/apps"),
        (401, 10000, None, BEARER, "Z/spectrum/apps"),
        (401, 1000, None, BEARER, "user/tokens/verify"),
        (401, 1000, None, BEARER, "A/tokens/verify"),
        (403, 9109, None, None, "A/load_balancers/pools"),
    ],
)
def test_a_caller_that_is_refused(edge, status, code, chain, headers, path):
    given = {"authorization": f"Bearer {edge.token}"} if headers is None else headers
    answered, error = edge.ask("GET", path, "", given)
    assert (answered, error["code"]) == (status, code)
    assert [one["code"] for one in error.get("error_chain", ())] == (chain or [])
