import pytest

from spectrum.store.objects import file_id
from tests.api.routes.calls import APPS, ZONE, app, balancing, done, refused


async def test_apps_are_listed_in_each_order_page_by_page(api):
    async with api.client() as client:
        for name, port in (("c", 1), ("a", 3), ("b", 2)):
            await done(client, "POST", APPS, app(f"{name}.example.com", port))
        names = [one["dns"]["name"][0] for one in await done(client, "GET", APPS)]
        assert names == ["a", "b", "c", "s"]  # by DNS name; the last one is the file's
        down = await done(client, "GET", f"{APPS}?order=protocol&direction=desc")
        assert [one["protocol"] for one in down] == ["tcp/3", "tcp/22", "tcp/2", "tcp/1"]
        for order in ("app_id", "created_on", "modified_on"):
            assert len(await done(client, "GET", f"{APPS}?order={order}")) == 4
        answer = (await client.get(f"{APPS}?page=2&per_page=3")).json()
        assert [one["dns"]["name"] for one in answer["result"]] == ["ssh.example.com"]
        assert answer["result_info"] == {"page": 2, "per_page": 3, "count": 1, "total_count": 4, "total_pages": 2}
        assert await done(client, "GET", f"{APPS}?page=3&per_page=3") == []


async def test_an_app_of_a_load_balancer_is_answered_as_it_was_made(api):
    async with api.client() as client:
        _, _, balancer = await balancing(client)
        dns = {"name": "lb.example.com", "ttl": 600}
        made = await done(client, "POST", APPS, app(origin_direct=None, origin_dns=dns, origin_port=22))
        assert (made["origin_dns"], made["origin_port"]) == (dns, 22)
        assert api.daemon.live["apps", "a.example.com"]["load_balancer"] == "lb.example.com"
        edited = await done(client, "PATCH", f"{APPS}/{made['id']}", {"origin_dns": None, "load_balancer": balancer})
        assert edited["load_balancer"] == balancer
        assert "origin_dns" not in edited


@pytest.mark.parametrize("query", ["order=size", "direction=up", "page=0", "page=x", "per_page=0", "per_page=101"])
async def test_a_query_that_makes_no_sense_is_refused(api, query):
    async with api.client() as client:
        assert (await refused(client, "GET", f"{APPS}?{query}"))[0] == 400


async def test_the_protocols_of_a_zone(api):
    async with api.client() as client:
        protocols = {one["name"]: one for one in await done(client, "GET", f"{ZONE}/spectrum/protocols")}
        assert protocols["ssh"] == {"name": "ssh", "description": "ssh on tcp/22", "ports": [22], "transport": "tcp"}


async def test_two_apps_of_one_name_have_places_of_their_own(api):
    async with api.client() as client:
        first = await done(client, "POST", APPS, app(port=1))
        second = await done(client, "POST", APPS, app(port=2))
        assert first["dns"] == second["dns"]
        assert len(api.daemon.live) == 2
        assert (await done(client, "DELETE", f"{APPS}/{first['id']}")) == {"id": first["id"]}
        assert (await done(client, "GET", f"{APPS}/{second['id']}"))["protocol"] == "tcp/2"
        assert file_id("apps", "x") not in (first["id"], second["id"])
