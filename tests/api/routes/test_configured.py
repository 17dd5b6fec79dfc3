from spectrum.api.catalogue import ObjectFault
from spectrum.core.configuration.presets import PRESETS
from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, APPS, LISTS, OTHER_ACCOUNT, ZONE, app, balancing, done, refused

OBJECTS = f"{ACCOUNT}/spectrum/objects"


async def test_a_section_is_one_answer_as_the_file_has_it(api):
    async with api.client() as client:
        monitor, pool, balancer = await balancing(client)
        made = await done(
            client, "POST", APPS, app("b.example.com", 23, load_balancer=balancer) | {"origin_direct": None}
        )
        found = {one["key"]: one for one in await done(client, "GET", f"{OBJECTS}/apps")}
        assert list(found) == ["ssh.example.com", "b.example.com"]
        of_file, stored = found.values()
        assert (of_file["in_file"], of_file["revision"], of_file["zone_id"]) == (
            True,
            0,
            file_id("zones", "example.com"),
        )
        assert (stored["id"], stored["in_file"], stored["name"]) == (made["id"], False, "b.example.com")
        assert stored["value"]["load_balancer"] == "lb.example.com"
        assert stored["revision"] > 0
        for query, names in (
            ("key=load_balancer&equals=lb.example.com", ["b.example.com"]),
            ("key=load_balancer&equals=lb", []),
            ("key=protocol&equals=tcp/23", ["b.example.com"]),
            ("key=ip_firewall&equals=true", []),
            ("key=none&equals=", []),
        ):
            assert [one["key"] for one in await done(client, "GET", f"{OBJECTS}/apps?{query}")] == names
        await done(client, "PATCH", f"{APPS}/{made['id']}", {"ip_firewall": True})
        guarded = await done(client, "GET", f"{OBJECTS}/apps?key=ip_firewall&equals=true")
        assert [one["key"] for one in guarded] == ["b.example.com"]
        (pools,) = await done(client, "GET", f"{OBJECTS}/pools")
        assert (pools["id"], pools["value"]["monitor"]) == (pool, "tcp")
        assert [one["id"] for one in await done(client, "GET", f"{OBJECTS}/monitors")] == [monitor]
        assert await done(client, "GET", f"{OTHER_ACCOUNT}/spectrum/objects/pools") == []


async def test_of_a_list_there_is_the_number_of_its_items(api):
    async with api.client() as client:
        made = await done(client, "POST", LISTS, {"kind": "ip", "name": "bad", "items": [{"ip": "192.0.2.1"}]})
        (found,) = await done(client, "GET", f"{OBJECTS}/lists")
        assert (found["id"], found["num_items"], found["value"]) == (made["id"], 1, {"kind": "ip", "account": "acme"})


async def test_one_says_where_it_stands(api, monkeypatch):
    async def ask(method, path, query):
        assert (method, path, query) == ("GET", "/objects/standing", {"section": "apps", "name": "ssh.example.com"})
        return {"path": "/etc/spectrum.yaml", "line": 12}

    monkeypatch.setattr(api.daemon, "ask", ask)
    async with api.client() as client:
        stored = await done(client, "POST", APPS, app())
        of_file = await done(client, "GET", f"{OBJECTS}/apps/{file_id('apps', 'ssh.example.com')}")
        assert (of_file["path"], of_file["line"], of_file["in_file"]) == ("/etc/spectrum.yaml", 12, True)
        assert "path" not in await done(client, "GET", f"{OBJECTS}/apps/{stored['id']}")
        assert (await refused(client, "GET", f"{OBJECTS}/apps/{'0' * 32}"))[:2] == (404, 7003)


async def test_a_preview_reports_a_change_and_does_not_make_it(api):
    async with api.client() as client:
        made = await done(client, "POST", APPS, app(timeouts={"idle": "1h"}))
        preview = f"{ZONE}/spectrum/objects/apps/preview"
        told = await done(client, "POST", f"{preview}?id={made['id']}", {"timeouts": {"idle": "2h"}, "tls": None})
        assert told["before"]["timeouts"] == {"idle": "1h"}
        assert told["after"] == told["before"] | {"timeouts": {"idle": "2h"}}
        assert (told["key"], told["name"]) == ("a.example.com", "a.example.com")
        new = await done(client, "POST", preview, app("n.example.com", 24))
        assert (new["before"], new["key"], new["after"]["protocol"]) == (None, "n.example.com", "tcp/24")
        assert len(await done(client, "GET", APPS)) == 2, "nothing was made"
        pool = await done(
            client,
            "POST",
            f"{OBJECTS}/pools/preview",
            {"name": "p", "origins": [{"name": "a", "address": "192.0.2.1"}]},
        )
        assert pool["after"]["origins"] == [{"name": "a", "address": "192.0.2.1"}]


async def test_faults_stand_where_they_do_when_it_is_made(api):
    fault = ObjectFault(("apps", "a.example.com", "protocol"), "taken")
    api.daemon.refused["a.example.com"] = [fault]
    async with api.client() as client:
        preview = f"{ZONE}/spectrum/objects/apps/preview"
        for path in (preview, APPS):
            assert await refused(client, "POST", path, app()) == (400, 13002, "taken", "/protocol")
            assert (await refused(client, "POST", path, app() | {"protocol": None}))[3] == "/protocol"
        in_file = file_id("apps", "ssh.example.com")
        assert (
            await refused(
                client, "POST", f"{preview}?id={in_file}", {"tls": "off", "origin_direct": ["tcp://192.0.2.1:1"]}
            )
        )[:2] == (403, 10013)
        assert (await refused(client, "POST", preview, []))[0] == 400


async def test_who_may_see_and_try_what(api):
    reads = await api.token("pools:read", accounts=["acme"])
    zone = await api.token("apps:edit", zones=["example.com"])
    async with api.client(reads) as client:
        assert await done(client, "GET", f"{OBJECTS}/pools") == []
        assert (await refused(client, "GET", f"{OBJECTS}/apps"))[:2] == (403, 9109)
        assert (await refused(client, "POST", f"{OBJECTS}/pools/preview", {}))[:2] == (403, 9109)
        assert (await refused(client, "GET", f"{OBJECTS}/tokens"))[:2] == (403, 9109)
        assert (await refused(client, "GET", f"{OBJECTS}/nothing"))[:2] == (403, 9109)
    async with api.client() as client:
        assert (await refused(client, "GET", f"{OBJECTS}/nothing"))[:2] == (404, 7003)
    async with api.client(zone) as client:
        assert (await done(client, "POST", f"{ZONE}/spectrum/objects/apps/preview", app()))["key"] == "a.example.com"


async def test_schemas_say_what_fields_mean(api):
    async with api.client() as client:
        schema = await done(client, "GET", "/spectrum/schemas/apps")
        assert schema["properties"]["drain_pace"]["description"].startswith("TCP: while data waits for a peer")
        assert schema["properties"]["timeouts"]["properties"]["idle"]["anyOf"][0]["type"] == ["string", "number"]
        assert "mode" in (await done(client, "GET", "/spectrum/schemas/access_rules"))["properties"]


async def test_presets(api):
    async with api.client() as client:
        found = {one["name"]: one for one in await done(client, "GET", "/spectrum/presets")}
        assert list(found) == list(PRESETS)
        assert found["ssh"] == {
            "name": "ssh",
            "protocol": "tcp/22",
            "idle": "1d",
            "monitor": {"type": "tcp", "expect": "SSH-2.0-"},
        }


async def test_overrides_of_managed_rules_are_previewed(api):
    async with api.client() as client:
        preview = f"{ACCOUNT}/spectrum/objects/rulesets/preview"
        rule = {
            "action": "execute",
            "expression": "true",
            "action_parameters": {
                "id": "3b64149bfa6e4220bbbc2bd6db589552",
                "overrides": {"rules": [{"id": "UDP-0001", "action": "log"}]},
            },
        }
        told = await done(client, "POST", preview, {"rules": [rule]})
        assert (told["before"], told["key"]) == (None, "default")
        assert told["after"]["rules"] == [
            {"expression": "true", "overrides": {"rules": [{"id": "UDP-0001", "action": "log"}]}}
        ]
        wrong = rule | {"expression": "ip.dts eq 192.0.2.1"}
        status, _, message, pointer = (await refused(client, "POST", preview, {"rules": [rule, wrong]}))[:4]
        assert status == 400 and "did you mean ip.dst?" in message and pointer == "/rules/1/expression"
        made = await done(client, "POST", f"{ACCOUNT}/rulesets", {"name": "default", "rules": [rule]})
        (one,) = await done(client, "GET", f"{OBJECTS}/rulesets")
        assert one["id"] == made["id"]
        assert (await refused(client, "POST", preview, {"rules": []}))[0] == 400, "a phase has one entry point"
        told = await done(client, "POST", f"{preview}?id={made['id']}", {"rules": []})
        assert len(told["before"]["rules"]) == 1 and not told["after"].get("rules")
        other = f"{OTHER_ACCOUNT}/spectrum/objects/rulesets/preview"
        assert (await refused(client, "POST", other, {"rules": []}))[0] == 403


async def test_tcp_protection_is_previewed_with_its_component(api):
    configs = f"{ACCOUNT}/magic/advanced_tcp_protection/configs"
    async with api.client() as client:
        preview = f"{ACCOUNT}/spectrum/objects/tcp_rules/preview"
        rule = {"component": "syn_protection", "mode": "disabled"}
        told = await done(client, "POST", preview, rule)
        assert told["after"] == rule | ({"account": "acme"} if "account" in told["after"] else {})
        made = await done(client, "POST", f"{configs}/syn_protection/rules", rule)
        told = await done(client, "POST", f"{preview}?id={made['id']}", {"burst_sensitivity": "low"})
        assert told["after"] == told["before"] | {"burst_sensitivity": "low"}
        refusal = await refused(client, "POST", f"{configs}/tcp_flow_protection/rules", rule)
        assert refusal[0] == 400 and "here it is tcp_flow_protection" in refusal[2]
        refusal = await refused(client, "POST", preview, {"mode": "disabled"})
        assert refusal[0] == 400 and "component" in refusal[2]
        allowed = await done(client, "POST", f"{OBJECTS}/tcp_allowlist/preview", {"prefix": "192.0.2.0/24"})
        assert allowed["after"]["prefix"] == "192.0.2.0/24"
        for section in ("tcp_protection", "tcp_prefixes", "tcp_allowlist", "tcp_rules", "tcp_filters", "rulesets"):
            assert (await done(client, "GET", f"/spectrum/schemas/{section}"))["type"] == "object"
            await done(client, "GET", f"{OBJECTS}/{section}")
