from tests.api.routes.calls import MONITORS, balancing, done


async def test_a_monitor_is_changed_and_its_pools_are_notified(api):
    async with api.client() as client:
        monitor, pool, _ = await balancing(client)
        assert [one["id"] for one in await done(client, "GET", MONITORS)] == [monitor]
        assert (await done(client, "PUT", f"{MONITORS}/{monitor}", {"type": "icmp_ping"}))["type"] == "icmp_ping"
        assert (await done(client, "PATCH", f"{MONITORS}/{monitor}", {"interval": 7}))["interval"] == 7
        assert api.daemon.live["monitors", "tcp"] == {"type": "icmp_ping", "interval": 7, "account": "acme"}
        assert await done(client, "GET", f"{MONITORS}/{monitor}/references") == [
            {"reference_type": "referrer", "resource_id": pool, "resource_name": "eu", "resource_type": "pool"}
        ]


async def test_a_monitor_without_pools_is_deleted(api):
    async with api.client() as client:
        path = f"{MONITORS}/{(await done(client, 'POST', MONITORS, {'port': 80}))['id']}"
        assert (await done(client, "GET", path))["port"] == 80
        assert await done(client, "DELETE", path) == {"id": path.rpartition("/")[2]}
