from tests.api.routes.calls import GROUPS, balancing, done, refused


async def test_a_group_is_made_changed_and_deleted(api):
    async with api.client() as client:
        monitor, _, _ = await balancing(client)
        member = {"monitor_id": monitor, "enabled": True, "monitoring_only": False, "must_be_healthy": True}
        made = await done(client, "POST", GROUPS, {"description": "all", "members": [member]})
        assert made["members"][0].items() >= member.items()
        assert [one["id"] for one in await done(client, "GET", GROUPS)] == [made["id"]]
        assert await done(client, "GET", f"{GROUPS}/{made['id']}") == made
        assert (await done(client, "PATCH", f"{GROUPS}/{made['id']}", {"description": "none"}))["description"] == "none"
        assert (await done(client, "PUT", f"{GROUPS}/{made['id']}", made))["description"] == "all"
        assert await done(client, "GET", f"{GROUPS}/{made['id']}/references") == []
        assert (await done(client, "DELETE", f"{GROUPS}/{made['id']}"))["description"] == "all"
        assert (await refused(client, "GET", f"{GROUPS}/{made['id']}"))[0] == 404
