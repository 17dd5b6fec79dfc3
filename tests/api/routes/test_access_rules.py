import pytest

from tests.api.routes.calls import ACCOUNT, LISTS, RULES, ZONE, done, refused


def rule(value, mode="block", target="ip", **more):
    return {"mode": mode, "configuration": {"target": target, "value": value}} | more


@pytest.mark.parametrize("place", [ACCOUNT, ZONE])
async def test_a_rule_is_made_changed_and_deleted(api, place):
    async with api.client() as client:
        made = await done(client, "POST", place + RULES, rule("192.0.2.1", notes="scanner"))
        assert made["scope"]["id"] == place.rpartition("/")[2]
        assert await done(client, "GET", f"{place}{RULES}/{made['id']}") == made
        edited = await done(client, "PATCH", f"{place}{RULES}/{made['id']}", {"mode": "whitelist"})
        assert (edited["mode"], edited["notes"]) == ("whitelist", "scanner")
        assert (await refused(client, "PUT", f"{place}{RULES}/{made['id']}", made))[0] == 405
        assert await done(client, "DELETE", f"{place}{RULES}/{made['id']}") == {"id": made["id"]}
        gone = await refused(client, "GET", f"{place}{RULES}/{made['id']}")
        assert gone[:3] == (404, 10001, "firewallaccessrules.api.not_found")


async def test_rules_of_a_zone_are_not_those_of_the_account(api):
    async with api.client() as client:
        of_zone = await done(client, "POST", ZONE + RULES, rule("192.0.2.1"))
        of_account = await done(client, "POST", ACCOUNT + RULES, rule("192.0.2.1"))
        assert [one["id"] for one in await done(client, "GET", ZONE + RULES)] == [of_zone["id"]]
        assert [one["id"] for one in await done(client, "GET", ACCOUNT + RULES)] == [of_account["id"]]
        assert (await refused(client, "GET", f"{ACCOUNT}{RULES}/{of_zone['id']}"))[0] == 404
        assert (await refused(client, "DELETE", f"{ZONE}{RULES}/{of_account['id']}"))[0] == 404


async def test_two_rules_about_the_same_are_one_too_many(api):
    async with api.client() as client:
        first = await done(client, "POST", ZONE + RULES, rule("192.0.2.1"))
        assert await refused(client, "POST", ZONE + RULES, rule("192.0.2.1", "whitelist")) == (
            400,
            10009,
            "firewallaccessrules.api.duplicate_of_existing",
            "/configuration",
        )
        assert (await done(client, "PATCH", f"{ZONE}{RULES}/{first['id']}", {"notes": "n"}))["notes"] == "n"


async def test_rules_are_found_and_put_in_order(api):
    async with api.client() as client:
        for value, mode, notes in (("192.0.2.2", "block", "Attack 1"), ("192.0.2.1", "whitelist", "attack 2")):
            await done(client, "POST", ZONE + RULES, rule(value, mode, notes=notes))
        await done(client, "POST", ZONE + RULES, rule("192.0.2.0/24", target="ip_range"))

        async def values(query):
            return [one["configuration"]["value"][8:] for one in await done(client, "GET", f"{ZONE}{RULES}?{query}")]

        assert await values("") == ["2", "1", "0/24"]
        assert await values("direction=desc") == ["0/24", "1", "2"]
        assert await values("notes=ATTACK") == ["2", "1"]
        assert await values("mode=block&configuration.target=ip") == ["2"]
        assert await values("mode=whitelist&configuration.target=ip_range&match=any") == ["1", "0/24"]
        assert await values("configuration.value=192.0.2.1") == ["1"]
        assert await values("order=configuration.value") == ["0/24", "1", "2"]
        assert await values("order=mode&direction=desc") == ["1", "2", "0/24"]
        assert await values("order=configuration.target&page=2&per_page=2") == ["0/24"]


async def test_a_rule_may_be_about_a_list(api):
    async with api.client() as client:
        made = await done(client, "POST", LISTS, {"kind": "asn", "name": "nets"})
        told = await done(client, "POST", ACCOUNT + RULES, rule("$nets", target="asn"))
        assert told["configuration"] == {"target": "asn", "value": "$nets"}
        assert api.daemon.live["access_rules", "block-nets"].items() >= {"target": "asn", "list": "nets"}.items()
        assert (await refused(client, "DELETE", f"{LISTS}/{made['id']}"))[:2] == (400, 1005)
