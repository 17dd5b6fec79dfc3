from tests.api.routes.calls import ACCOUNT, balancing, done, refused

SEARCH, REGIONS = f"{ACCOUNT}/load_balancers/search", f"{ACCOUNT}/load_balancers/regions"


async def test_objects_are_found_with_what_they_refer_to(api):
    async with api.client() as client:
        monitor, pool, balancer = await balancing(client)
        everything = (await done(client, "GET", SEARCH))["resources"]
        assert [(one["resource_type"], one["resource_id"]) for one in everything] == [
            ("load_balancer", balancer),
            ("pool", pool),
            ("monitor", monitor),
        ]
        (found,) = (await done(client, "GET", f"{SEARCH}?query=EU&references=*"))["resources"]
        assert [(one["reference_type"], one["resource_id"]) for one in found["references"]] == [
            ("referrer", balancer),
            ("referral", monitor),
        ]
        (found,) = (await done(client, "GET", f"{SEARCH}?query=eu&references=referral"))["resources"]
        assert [one["resource_id"] for one in found["references"]] == [monitor]
        assert (await done(client, "GET", f"{SEARCH}?page=2&per_page=2"))["resources"] == everything[2:]


async def test_only_what_a_token_may_read_is_found(api):
    async with api.client() as client:
        await balancing(client)
    token = await api.token("load_balancers:read", "pools:read", accounts=["acme"])
    async with api.client(token) as client:
        found = (await done(client, "GET", SEARCH))["resources"]
        assert [one["resource_type"] for one in found] == ["load_balancer", "pool"]


async def test_regions_have_their_countries(api):
    async with api.client() as client:
        assert len((await done(client, "GET", REGIONS))["regions"]) == 13
        (region,) = (await done(client, "GET", f"{REGIONS}?country_code_a2=DE"))["regions"]
        assert region["region_code"] == "WEU"
        (region,) = (await done(client, "GET", f"{REGIONS}/WNAM"))["regions"]
        assert region["countries"] == [{"country_code_a2": "CA"}, {"country_code_a2": "US"}]
        assert (await refused(client, "GET", f"{REGIONS}/MARS"))[0] == 404
