import asyncio

import pytest

from spectrum.api.catalogue import ObjectFault
from spectrum.store.objects import file_id
from tests.api.routes.calls import (
    ACCOUNT,
    APPS,
    BALANCERS,
    LISTS,
    MONITORS,
    OTHER_ACCOUNT,
    POOL,
    POOLS,
    RULES,
    ZONE,
    app,
    balancing,
    done,
    refused,
)

NOBODY = "0" * 32


async def test_an_object_is_made_read_replaced_edited_and_deleted(api):
    async with api.client() as client:
        made = await done(client, "POST", POOLS, POOL | {"description": "first", "latitude": 1, "longitude": 2})
        assert await done(client, "GET", f"{POOLS}/{made['id']}") == made
        assert api.daemon.live["pools", "eu"]["account"] == "acme"
        replaced = await done(client, "PUT", f"{POOLS}/{made['id']}", POOL | {"enabled": False})
        assert "description" not in replaced
        assert replaced["created_on"] == made["created_on"]
        edited = await done(client, "PATCH", f"{POOLS}/{made['id']}", {"enabled": None, "description": "third"})
        assert (edited["enabled"], edited["description"]) == (True, "third")
        assert await done(client, "DELETE", f"{POOLS}/{made['id']}") == {"id": made["id"]}
        assert (await refused(client, "GET", f"{POOLS}/{made['id']}"))[:2] == (404, 7003)
        assert api.daemon.live == {}


async def test_a_renamed_object_keeps_its_place(api):
    async with api.client() as client:
        _, pool, balancer = await balancing(client)
        renamed = await done(client, "PATCH", f"{POOLS}/{pool}", {"name": "europe"})
        assert renamed["name"] == "europe"
        assert api.daemon.live["pools", "eu"]["name"] == "europe"
        assert (await done(client, "GET", f"{BALANCERS}/{balancer}"))["default_pools"] == [pool]
        again = await done(client, "PATCH", f"{POOLS}/{pool}", {"name": "eu"})
        assert again["name"] == "eu"
        assert "name" not in api.daemon.live["pools", "eu"]


async def test_two_accounts_may_have_the_same_name_one_may_not(api):
    async with api.client() as client:
        first = await done(client, "POST", POOLS, POOL)
        assert await refused(client, "POST", POOLS, POOL) == (
            400,
            1002,
            "name: eu is in use already: validation failed",
            "/name",
        )
        second = await done(client, "POST", f"{OTHER_ACCOUNT}/load_balancers/pools", POOL)
        assert (first["name"], second["name"]) == ("eu", "eu")
        assert {value.get("name", "eu") for value in api.daemon.live.values()} == {"eu"}


async def test_names_in_the_file_are_found_for_what_has_none(api):
    async with api.client() as client:
        for body in ({"type": "tcp", "port": 1}, {"type": "tcp", "port": 2}, {"description": "Log in!", "port": 80}):
            await done(client, "POST", MONITORS, body)
        names = [name for _, name in api.daemon.live]
        assert names[0] == "tcp"
        assert names[1].startswith("tcp-")
        assert names[2] == "Log-in"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [APPS, POOLS, MONITORS, BALANCERS])
async def test_what_is_not_there_is_404(api, method, path):
    async with api.client() as client:
        assert (await refused(client, method, f"{path}/{NOBODY}", {}))[:2] == (404, 7003)


@pytest.mark.parametrize("body", [[], "x", 1, None])
async def test_a_body_is_an_object(api, body):
    async with api.client() as client:
        assert await refused(client, "POST", POOLS, body) == (400, 1002, "expected a JSON object", "")


async def test_what_others_need_is_not_deleted(api):
    async with api.client() as client:
        monitor, pool, balancer = await balancing(client)
        await done(client, "POST", APPS, app(origin_direct=None, origin_dns={"name": "lb.example.com"}, origin_port=22))
        for path, what in ((MONITORS, monitor), (POOLS, pool), (BALANCERS, balancer)):
            status, code, message, _ = await refused(client, "DELETE", f"{path}/{what}")
            assert (status, code) == (400, 1005)
            assert "is referenced by other objects" in message


async def test_faults_of_checks_are_reported_at_their_place_in_the_body(api):
    faults = [
        ObjectFault(("apps", "a.example.com", "origin_direct", 0), "a loop"),
        ObjectFault(("apps", "a.example.com", "protocol"), "taken"),
        ObjectFault(("pools", "eu"), "no more"),
    ]
    api.daemon.refused["a.example.com"] = faults
    async with api.client() as client:
        answer = await client.post(APPS, json=app())
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"code": 11002, "message": "a loop", "source": {"pointer": "/origin_direct/0"}},
        {"code": 13002, "message": "taken", "source": {"pointer": "/protocol"}},
        {"code": 10012, "message": "pools eu: no more"},
    ]


async def test_objects_of_the_file_are_read_only(api):
    async with api.client() as client:
        path = f"{APPS}/{file_id('apps', 'ssh.example.com')}"
        assert (await done(client, "GET", path))["dns"]["name"] == "ssh.example.com"
        preview = f"{ZONE}/spectrum/objects/apps/preview?id={path.rpartition('/')[2]}"
        for method, where, body in (
            ("DELETE", path, None),
            ("PUT", path, {}),
            ("PATCH", path, {"colour": "red"}),
            ("POST", preview, {"colour": "red"}),
        ):
            status, code, message, _ = await refused(client, method, where, body)
            assert (status, code) == (403, 10013), method
            assert message == "ssh.example.com is read-only here: it is defined in spectrum.yaml"


async def test_what_changed_meanwhile_is_not_overwritten_unless_asked_to(api):
    async with api.client() as client:
        made = await client.post(POOLS, json=POOL)
        path, first = f"{POOLS}/{made.json()['result']['id']}", made.headers["etag"]
        changed = await client.patch(path, json={"description": "new"}, headers={"if-match": first})
        assert changed.headers["etag"] != first
        stale = await client.put(path, json=POOL, headers={"if-match": first})
        assert stale.status_code == 412
        assert (await done(client, "GET", path))["description"] == "new"
        assert (await client.put(path, json=POOL, headers={"if-match": "*"})).status_code == 200
        assert "etag" not in (await client.get(f"{APPS}/{file_id('apps', 'ssh.example.com')}")).headers


async def test_of_two_requests_for_one_name_at_once_each_gets_what_it_may(api):
    async with api.client() as client:
        both = await asyncio.gather(*(client.post(APPS, json=app(port=port)) for port in (1, 2)))
        assert [one.status_code for one in both] == [200, 200]
        assert len({name for _, name in api.daemon.live}) == 2
        pools = await asyncio.gather(*(client.post(POOLS, json=POOL) for _ in range(2)))
        assert sorted(one.status_code for one in pools) == [200, 400]
        assert "in use already" in next(one.text for one in pools if one.status_code == 400)


async def test_a_call_in_an_account_does_not_see_another_ones(api):
    async with api.client() as client:
        pool = (await done(client, "POST", POOLS, POOL))["id"]
        elsewhere = f"{OTHER_ACCOUNT}/load_balancers/pools"
        assert await done(client, "GET", elsewhere) == []
        assert (await refused(client, "GET", f"{elsewhere}/{pool}"))[:2] == (404, 7003)
        assert [one["id"] for one in await done(client, "GET", f"{ACCOUNT}/load_balancers/pools")] == [pool]


async def test_what_a_body_names_is_found_in_the_account(api):
    async with api.client() as client:
        listed = await done(client, "POST", LISTS, {"kind": "asn", "name": "_net"})
        whom = {"mode": "block", "configuration": {"target": "asn", "value": "$_net"}}
        rule = await done(client, "POST", f"{ACCOUNT}{RULES}", whom)
        assert rule["configuration"] == whom["configuration"]  # its key in the file is another name
        assert (
            next(value["list"] for (section, _), value in api.daemon.live.items() if section == "access_rules")
            != "_net"
        )
        assert (await refused(client, "DELETE", f"{LISTS}/{listed['id']}"))[1] == 1005
        missing = await refused(client, "GET", f"{ACCOUNT}{RULES}/{NOBODY}")
        assert missing[:2] == (404, 10001)
        monitor, pool, _ = await balancing(client)
        (reference,) = await done(client, "GET", f"{MONITORS}/{monitor}/references")
        assert (reference["resource_id"], reference["resource_name"]) == (pool, "eu")
