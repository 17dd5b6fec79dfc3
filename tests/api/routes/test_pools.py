from tests.api.kinds.test_health import told
from tests.api.routes.calls import GROUPS, POOL, POOLS, balancing, done, refused


async def test_pools_are_found_by_their_monitor(api):
    async with api.client() as client:
        monitor, pool, balancer = await balancing(client)
        other = (await done(client, "POST", POOLS, POOL | {"name": "us"}))["id"]
        assert [one["id"] for one in await done(client, "GET", POOLS)] == [pool, other]
        assert [one["id"] for one in await done(client, "GET", f"{POOLS}?monitor={monitor}")] == [pool]
        assert await done(client, "GET", f"{POOLS}?monitor={'0' * 32}") == []
        (reference,) = await done(client, "GET", f"{POOLS}/{pool}/references")
        assert (reference["resource_id"], reference["resource_type"]) == (balancer, "load_balancer")


async def test_a_pool_has_a_group_of_monitors(api):
    async with api.client() as client:
        monitor, pool, _ = await balancing(client)
        body = {"description": "both", "members": [{"monitor_id": monitor, "must_be_healthy": True}]}
        group = (await done(client, "POST", GROUPS, body))["id"]
        path, both = f"{POOLS}/{pool}", {"monitor_group": group}
        refusal = await refused(client, "PATCH", path, both)
        assert refusal[:2] == (400, 1002)
        assert "not both" in str(refusal)
        told = await done(client, "PATCH", path, both | {"monitor": None})
        assert (told["monitor_group"], "monitor" in told) == (group, False)
        assert [one["id"] for one in await done(client, "GET", f"{POOLS}?monitor={monitor}")] == [pool]
        (reference,) = await done(client, "GET", f"{GROUPS}/{group}/references")
        assert (reference["resource_id"], reference["resource_type"]) == (pool, "pool")
        assert (await refused(client, "DELETE", f"{GROUPS}/{group}"))[:2] == (400, 1005)
        members = [body["members"][0] | {"monitoring_only": True}]
        assert (await refused(client, "PATCH", f"{GROUPS}/{group}", {"members": members}))[:2] == (400, 1002)
        assert "monitor_group" not in await done(client, "PATCH", path, {"monitor_group": ""})
        await done(client, "DELETE", f"{GROUPS}/{group}")


async def test_all_pools_are_edited_at_once_in_one_way(api):
    async with api.client() as client:
        await balancing(client)
        assert len(await done(client, "PATCH", POOLS, {"notification_email": ""})) == 1
        assert (await refused(client, "PATCH", POOLS, {"enabled": False}))[:2] == (400, 1002)


async def test_a_pool_is_changed_and_deleted(api):
    async with api.client() as client:
        path = f"{POOLS}/{(await done(client, 'POST', POOLS, POOL))['id']}"
        assert (await done(client, "PUT", path, POOL | {"minimum_origins": 1, "enabled": False}))["enabled"] is False
        assert (await done(client, "PATCH", path, {"enabled": True}))["enabled"] is True
        assert (await done(client, "GET", path))["name"] == "eu"
        assert await done(client, "DELETE", path) == {"id": path.rpartition("/")[2]}


async def test_the_daemon_is_asked_for_the_health_of_a_pool(api, monkeypatch):
    async def ask(method, path, query):
        assert (method, path, query) == ("GET", "/pool", {"pool": "eu"})
        return {"node": "fra1", **told("healthy")}

    monkeypatch.setattr(api.daemon, "ask", ask, raising=False)
    async with api.client() as client:
        _, pool, _ = await balancing(client)
        health = await done(client, "GET", f"{POOLS}/{pool}/health")
    assert health["pool_id"] == pool
    assert health["pop_health"]["fra1"]["healthy"] is True
