"""Whatever a body or a query says, the answer is in the envelope, and never our fault (5xx)."""

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.routes.calls import ACCOUNT, LISTS, POOL, RULES, ZONE, app, balancing, done
from tests.api.routes.test_certificate_packs import ORDERING, order
from tests.api.routes.test_tenants import CALLS, path_of
from tests.wrong import ANYTHING

MINE = [
    (method, template)
    for method, template in CALLS
    if re.search("spectrum/apps|load_balancers|access_rules|rules/lists|certificate_packs|prioritize", template)
    and (method in ("POST", "PUT", "PATCH") or template.endswith(("/items", "s/rules", "/apps", "/pools", "/search")))
]
SCALARS = st.sampled_from(ANYTHING) | (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
# Bodies that are nearly right reach further than those that are not.
NEARLY = {
    "spectrum/apps": app(
        edge_ips={"type": "dynamic", "connectivity": "all"},
        origin_dns={"name": "o.example"},
        origin_port=1,
        edge_tls={"certificates": []},
    ),
    "/pools": POOL | {"monitor": "0" * 32, "load_shedding": {}, "notification_filter": {}, "description": ""},
    "/monitors": {"type": "tcp", "port": 1, "header": {"Host": ["a"]}, "interval": 1, "expected_codes": "2xx"},
    "/monitor_groups": {"description": "", "members": [{"monitor_id": "0" * 32}]},
    "/load_balancers": {
        "name": "lb.example.com",
        "default_pools": ["0" * 32],
        "fallback_pool": "0" * 32,
        "country_pools": {"DE": ["0" * 32]},
        "random_steering": {"pool_weights": {"0" * 32: 1}},
    },
    "access_rules": {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.1"}, "notes": "", "apps": []},
    "/items": [{"ip": "192.0.2.1", "comment": ""}],
    "/certificate_packs": order(),
    "/prioritize": {"certificates": [{"id": "0" * 32, "priority": 1}]},
    "/lists": {"kind": "ip", "name": "a", "description": "", "items": [{"ip": "192.0.2.1"}]},
}


def nearly(template):
    """Return a body that a path would take."""
    if template.endswith("/items"):
        return NEARLY["/items"]
    return next(body for part, body in NEARLY.items() if part in template)


@st.composite
def bodies(draw, body):
    """Return a body, or one with a value in it that is something else, or left out."""
    if draw(st.booleans()):
        return draw(JSON)
    return spoilt(draw, body)


def spoilt(draw, node):
    if isinstance(node, dict) and node:
        key = draw(st.sampled_from([*node, "another"]))
        inner = spoilt(draw, node[key]) if key in node and draw(st.booleans()) else draw(JSON)
        return node | {key: inner}
    if isinstance(node, list) and node and draw(st.booleans()):
        return [spoilt(draw, node[0])]
    return draw(JSON)


QUERIES = st.dictionaries(
    st.sampled_from(
        ["page", "per_page", "order", "direction", "cursor", "search", "mode", "match", "notes", "query", "monitor"]
    ),
    st.text(max_size=5) | st.sampled_from(["1", "0", "asc", "all", "MQ"]),
    max_size=3,
)


@pytest.fixture
async def ids(api):
    api.context.ordering.configure(ORDERING | {"certificates": 100, "orders_per_week": 100})
    async with api.client() as client:
        monitor, pool, balancer = await balancing(client)
        made = await done(client, "POST", LISTS, {"kind": "ip", "name": "held", "items": ["192.0.2.7"]})
        rule = {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.9"}}
        return {
            "monitor_id": monitor,
            "pool_id": pool,
            "load_balancer_id": balancer,
            "certificate_pack_id": (await done(client, "POST", f"{ZONE}/ssl/certificate_packs/order", order()))["id"],
            "list_id": made["id"],
            "rule_id": (await done(client, "POST", ZONE + RULES, rule))["id"],
            "app_id": (await done(client, "POST", f"{ZONE}/spectrum/apps", app("held.example.com")))["id"],
        }


@pytest.mark.parametrize(("method", "template"), MINE, ids=" ".join)
async def test_no_answer_is_an_internal_error(api, ids, method, template):
    api.rates.requests = 0
    path, calls = path_of(template, ACCOUNT, ZONE, ids), []
    body = st.none() if method in ("GET", "DELETE") and "/items" not in template else bodies(nearly(template))

    @settings(max_examples=8, database=None, suppress_health_check=list(HealthCheck))
    @given(body, QUERIES if method == "GET" else st.just({}))
    def gather(one, query):
        calls.append((one, query))

    await asyncio.to_thread(gather)
    async with api.client() as client:
        for one, query in calls:
            answer = await client.request(method, path, json=one, params=query)
            told = answer.json()
            assert answer.status_code < 500 or "/health" in path, (one, query, told)
            assert told["success"] is (answer.status_code == 200), (one, query, told)
            for error in told["errors"]:
                assert error["code"] >= 1000
                assert error["message"]
