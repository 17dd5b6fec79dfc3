"""Two accounts on one edge: neither reads, guesses or refers to what is the other's. A table over all calls."""

import json
import re

import pytest

from spectrum.api.catalogue import ObjectFault
from spectrum.api.routes import ROUTERS
from spectrum.store.objects import file_id
from tests.api.routes.calls import (
    ACCOUNT,
    APPS,
    GROUPS,
    LISTS,
    OTHER_ACCOUNT,
    OTHER_ZONE,
    RULES,
    ZONE,
    app,
    balancing,
    done,
)
from tests.api.routes.test_certificate_packs import ORDERING, order

NOBODY = "0" * 32
CALLS = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    for method in route.methods - {"HEAD", "OPTIONS"}
    if ("{account_id}" in route.path or "{zone_id}" in route.path) and "/tokens" not in route.path
)
# What of each section is to stay hidden: words that stand in the other's objects alone.
SECRETS = ("example.com", "acme", "secret", "192.0.2.77")


@pytest.fixture
async def theirs(api):
    """What acme has, by the name of the path's parameter."""
    api.context.ordering.configure(ORDERING)
    async with api.client() as client:
        pack = await done(client, "POST", f"{ZONE}/ssl/certificate_packs/order", order("secret.example.com"))
        monitor, pool, balancer = await balancing(client)
        await done(client, "PATCH", f"{ACCOUNT}/load_balancers/pools/{pool}", {"description": "secret"})
        made = await done(client, "POST", APPS, app("secret.example.com", 77, origin_direct=["tcp://192.0.2.77:22"]))
        listed = await done(client, "POST", LISTS, {"kind": "ip", "name": "secret", "items": ["192.0.2.77"]})
        operation = await done(client, "POST", f"{LISTS}/{listed['id']}/items", [{"ip": "192.0.2.78"}])
        (item, _) = await done(client, "GET", f"{LISTS}/{listed['id']}/items")
        whom = {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.77"}, "notes": "secret"}
        rule = await done(client, "POST", ZONE + RULES, whom)
        await done(client, "POST", ACCOUNT + RULES, whom)
        member = {"monitor_id": monitor}
        group = await done(client, "POST", GROUPS, {"description": "secret", "members": [member]})
    return {
        "monitor_id": monitor,
        "pool_id": pool,
        "object_id": pool,
        "load_balancer_id": balancer,
        "app_id": made["id"],
        "list_id": listed["id"],
        "item_id": item["id"],
        "operation_id": operation["operation_id"],
        "rule_id": rule["id"],
        "group_id": group["id"],
        "certificate_pack_id": pack["id"],
        "region_id": "WEU",
        "token_id": NOBODY,
    }


@pytest.fixture
async def other(api):
    """A client of the other account, which may everything there."""
    async with api.client(await api.token("all:edit", accounts=["other"])) as client:
        yield client


def path_of(template, account, zone, ids):
    known = {"account_id": account.rpartition("/")[2], "zone_id": zone.rpartition("/")[2], "section": "pools", **ids}
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], NOBODY), template)


async def test_every_call_in_another_account_is_forbidden(api, theirs, other):
    before = dict(api.daemon.live)
    for method, template in CALLS:
        for ids in (theirs, {}):
            answer = await other.request(method, path_of(template, ACCOUNT, ZONE, ids), json={})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, 9109), (method, template)
        nowhere = await other.request(method, path_of(template, f"/{NOBODY}", f"/{NOBODY}", {}), json={})
        assert nowhere.json() == answer.json(), "what is not theirs looks as what is not there"
    assert api.daemon.live == before


async def test_no_call_in_one_s_own_account_reaches_another_s_objects(api, theirs, other):
    before = dict(api.daemon.live)
    for method, template in CALLS:
        if not re.search(r"\{(?!account_id|zone_id|region_id|section)\w+\}", template):
            continue
        told = [
            await other.request(method, path_of(template, OTHER_ACCOUNT, OTHER_ZONE, ids), json={})
            for ids in (theirs, {"list_id": NOBODY})
        ]
        assert told[0].status_code == 404, (method, template, told[0].text)
        texts = [re.sub("[0-9a-f]{32}", "ID", one.text) for one in told]
        assert texts[0] == texts[1], "another's object looks as one that is not there"
    assert api.daemon.live == before


async def test_no_list_and_no_search_has_another_s_objects(theirs, other):
    for method, template in CALLS:
        if method != "GET" or re.search(r"\{(?!account_id|zone_id|section)\w+\}", template):
            continue
        if template.endswith("/live"):  # a stream without an end; tests/api/test_live.py has what it shows to whom
            continue
        for query in ("", "?query=secret", "?notes=secret", "?search=192.0.2.77", "?name=example.com"):
            answer = await other.get(path_of(template, OTHER_ACCOUNT, OTHER_ZONE, {}) + query)
            assert not [word for word in SECRETS if word in answer.text], (template, query, answer.text)
            assert not [one for one in theirs.values() if len(one) == 32 and one != NOBODY and one in answer.text]


async def test_no_body_refers_to_another_s_objects(theirs, other):
    balancing_path = f"{OTHER_ACCOUNT}/load_balancers"
    pool = {"name": "p", "origins": [{"name": "a", "address": "192.0.2.1"}]}
    dns = {"dns": {"type": "CNAME", "name": "x.example.net"}, "origin_direct": None}
    bodies = [
        (f"{balancing_path}/pools", "monitor_id", lambda one: pool | {"monitor": one}),
        (f"{balancing_path}/pools", "group_id", lambda one: pool | {"monitor_group": one}),
        (
            f"{balancing_path}/monitor_groups",
            "monitor_id",
            lambda one: {"description": "", "members": [{"monitor_id": one}]},
        ),
        (
            f"{OTHER_ZONE}/load_balancers",
            "pool_id",
            lambda one: {"name": "lb.example.net", "default_pools": [one], "fallback_pool": one},
        ),
        (f"{OTHER_ZONE}/spectrum/apps", "load_balancer_id", lambda one: app(**dns, load_balancer=one)),
        (
            f"{OTHER_ZONE}/spectrum/apps",
            "certificate_pack_id",
            lambda one: app("x.example.net", tls="flexible", edge_tls={"certificates": [one]}),
        ),
        (
            OTHER_ACCOUNT + RULES,
            "list_name",
            lambda one: {"mode": "block", "configuration": {"target": "ip_range", "value": f"${one}"}},
        ),
        (
            OTHER_ZONE + RULES,
            "app_id",
            lambda one: {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.1"}, "apps": [one]},
        ),
    ]
    for path, parameter, body in bodies:
        wanted = "secret" if parameter == "list_name" else theirs[parameter]
        answers = [await other.post(path, json=body(one)) for one in (wanted, NOBODY)]
        assert {one.status_code for one in answers} == {400}, (path, answers[0].text)
        texts = [one.text.replace(wanted, NOBODY) for one in answers]
        assert texts[0] == texts[1], path


async def test_the_name_of_another_s_load_balancer_is_any_name(api, theirs, other):
    dns = {"type": "CNAME", "name": "x.example.net"}
    body = app(dns=dns, origin_direct=None, origin_dns={"name": "lb.example.com"}, origin_port=22)
    await done(other, "POST", f"{OTHER_ZONE}/spectrum/apps", body)
    assert "load_balancer" not in api.daemon.live["apps", "x.example.net"]


async def test_messages_of_checks_do_not_name_another_s_objects(api, theirs, other):
    told = "0.0.0.0:77 is taken by app secret.example.com; did you mean eu, lb.example.com or secret?"
    api.daemon.refused["x.example.net"] = [ObjectFault(("apps", "x.example.net", "protocol"), told)]
    answer = await other.post(f"{OTHER_ZONE}/spectrum/apps", json=app("x.example.net", 77))
    assert answer.status_code == 400
    assert not [word for word in ("example.com", "secret", " eu") if word in json.dumps(answer.json())]


async def test_ids_of_the_file_tell_nothing(other):
    guessed = file_id("apps", "ssh.example.com")
    assert (await other.get(f"{OTHER_ZONE}/spectrum/apps/{guessed}")).status_code == 404
