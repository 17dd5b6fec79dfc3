from tests.api.routes.calls import ACCOUNT, BALANCERS, POOL, POOLS, balancing, done, refused


async def test_a_load_balancer_is_one_of_its_zone_and_of_the_account(api):
    async with api.client() as client:
        _, pool, balancer = await balancing(client)
        told = await done(client, "GET", f"{BALANCERS}/{balancer}")
        assert told["zone_name"] == "example.com"
        assert api.daemon.live["load_balancers", "lb.example.com"]["zone"] == "example.com"
        of_account = f"{ACCOUNT}/load_balancers"
        assert await done(client, "GET", of_account) == [told] == await done(client, "GET", BALANCERS)
        body = {"name": "lb.other.example", "default_pools": [pool], "fallback_pool": pool}
        assert (await refused(client, "POST", BALANCERS, body))[:2] == (400, 1002)
        made = await done(client, "POST", of_account, body)
        assert "zone_name" not in made
        assert await done(client, "GET", BALANCERS) == [told]
        assert (await refused(client, "GET", f"{BALANCERS}/{made['id']}"))[0] == 404
        assert await done(client, "DELETE", f"{of_account}/{made['id']}") == {"id": made["id"]}


async def test_its_pools_are_changed(api):
    async with api.client() as client:
        _, pool, balancer = await balancing(client)
        other = (await done(client, "POST", POOLS, POOL | {"name": "us"}))["id"]
        path = f"{BALANCERS}/{balancer}"
        edited = await done(client, "PATCH", path, {"default_pools": [other, pool]})
        assert (edited["default_pools"], edited["name"]) == ([other, pool], "lb.example.com")
        assert (await done(client, "PUT", path, edited | {"default_pools": [other]}))["default_pools"] == [other]
        moved = await refused(client, "PUT", path, edited | {"name": "lb.example.org"})
        assert moved[:2] == (400, 1002)
