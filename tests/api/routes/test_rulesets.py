import asyncio

import cloudflare
import httpx
import pytest

from spectrum.core.ddos.managed import BY_REF, RULES, RULESET_ID
from spectrum.core.ddos.ruleset_objects import rule_id
from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused
from tests.api.serving import Api

ACME = file_id("accounts", "acme")
RULESETS = f"{ACCOUNT}/rulesets"
ENTRY = f"{RULESETS}/phases/ddos_l4/entrypoint"
UDP = BY_REF["UDP-0001"].id


def rule(expression="true", overrides=None, **more):
    parameters = {"id": RULESET_ID, "overrides": overrides or {"sensitivity_level": "low"}}
    return {"action": "execute", "action_parameters": parameters, "expression": expression} | more


async def test_the_official_client_reads_and_changes_them(api):
    sdk = api.sdk(await api.token("rulesets:edit", accounts=["acme"]))
    (managed,) = [one async for one in sdk.rulesets.list(account_id=ACME)]
    assert (managed.id, managed.kind, managed.phase) == (RULESET_ID, "managed", "ddos_l4")
    told = await sdk.rulesets.get(RULESET_ID, account_id=ACME)
    assert len(told.rules) == len(RULES) and told.rules[0].categories
    with pytest.raises(cloudflare.NotFoundError) as missing:
        await sdk.rulesets.phases.get("ddos_l4", account_id=ACME)
    assert missing.value.errors[0].code == 10003
    await sdk.rulesets.phases.update(
        "ddos_l4",
        account_id=ACME,
        name="Network-layer DDoS Attack Protection entry point ruleset",
        description="",
        rules=[rule("ip.dst in {192.0.2.0/24}", {"rules": [{"id": UDP, "sensitivity_level": "low"}]}, description="a")],
    )
    made = await sdk.rulesets.phases.get("ddos_l4", account_id=ACME)
    assert made.name.startswith("Network-layer") and made.kind == "root"
    assert type(made.rules[0]).__name__ == "RuleExecuteRule"
    assert made.rules[0].action_parameters.overrides.rules[0].sensitivity_level == "low"

    async def now():
        return await sdk.rulesets.get(made.id, account_id=ACME)

    assert (await now()).to_dict() == made.to_dict()
    await sdk.rulesets.rules.create(made.id, account_id=ACME, **rule(position={"index": 1}, ref="first"))
    assert (await now()).rules[0].ref == "first"
    first = rule_id("first")
    await sdk.rulesets.rules.edit(first, ruleset_id=made.id, account_id=ACME, **rule(enabled=False))
    edited = await now()
    assert edited.rules[0].enabled is False and int(edited.version) > int(made.version)
    await sdk.rulesets.rules.edit(first, ruleset_id=made.id, account_id=ACME, position={"after": ""})
    assert (await now()).rules[1].ref == "first"
    await sdk.rulesets.rules.delete(first, ruleset_id=made.id, account_id=ACME)
    left = await now()
    assert [one.description for one in left.rules] == ["a"]
    versions = [one async for one in sdk.rulesets.versions.list(made.id, account_id=ACME)]
    assert [one.version for one in versions] == [left.version]
    entry = [one async for one in sdk.rulesets.phases.versions.list("ddos_l4", account_id=ACME)]
    assert [one.id for one in entry] == [made.id]
    same = await sdk.rulesets.versions.get(left.version, ruleset_id=made.id, account_id=ACME)
    assert same.rules[0].id == left.rules[0].id
    assert await sdk.rulesets.delete(made.id, account_id=ACME) is None
    await sdk.rulesets.create(account_id=ACME, name="tf", kind="root", phase="ddos_l4", rules=[])
    again = await sdk.rulesets.phases.get("ddos_l4", account_id=ACME)
    assert again.name == "tf" and again.id != made.id


async def test_what_is_made_is_served_kept_and_noted(api):
    async with api.client() as client:
        made = await done(client, "PUT", ENTRY, {"rules": [rule(ref="a", description="x")]})
        overrides = {"sensitivity_level": "low"}
        value = {"rules": [{"ref": "a", "description": "x", "expression": "true", "overrides": overrides}]}
        assert api.daemon.live["rulesets", "default"] == value
        assert [one.value for one in api.store.objects()] == [value]
        (line,) = await done(client, "GET", f"{ACCOUNT}/audit_logs")
        assert (line["resource"]["type"], line["resource"]["id"]) == ("rulesets", made["id"])
        # a ruleset in place of another one keeps its id, name and the ids of rules with references
        await done(client, "PUT", f"{RULESETS}/{made['id']}", {"name": "named", "rules": [rule(ref="a"), rule()]})
        told = await done(client, "PUT", ENTRY, {"rules": [rule(ref="a"), rule(id="7" * 32)]})
        assert (told["id"], told["name"], told["rules"][0]["id"]) == (made["id"], "named", made["rules"][0]["id"])
        assert told["rules"][1]["id"] == "7" * 32
        # of what is not spoken, that stays
        told = await done(client, "PUT", ENTRY, {"description": "d"})
        assert (told["name"], len(told["rules"]), told["description"]) == ("named", 2, "d")
        told = await done(client, "PUT", ENTRY, {"rules": None})
        assert (told["rules"], told["description"]) == ([], "")
        answer = await client.get(ENTRY)
        assert answer.headers["etag"] == f'"{told["version"]}"'


async def test_a_dry_run_changes_nothing(api):
    async with api.client() as client:
        path = f"{ENTRY}?dry_run=true"
        assert (await done(client, "PUT", path, {"rules": [rule()]}))["rules"][0]["action"] == "execute"
        assert (await refused(client, "GET", ENTRY))[1] == 10003
        made = await done(client, "PUT", ENTRY, {"rules": [rule(ref="a")]})
        one = f"{RULESETS}/{made['id']}"
        assert (await client.delete(f"{one}?dry_run=true")).status_code == 204
        assert (await done(client, "POST", f"{one}/rules?dry_run=true", rule()))["rules"][1]
        assert (await done(client, "DELETE", f"{one}/rules/{rule_id('a')}?dry_run=true"))["rules"] == []
        assert await done(client, "GET", ENTRY) == made
        assert len(list(api.store.objects())) == 1


async def test_refusals(api):
    async with api.client() as client:
        made = await done(client, "PUT", ENTRY, {"rules": [rule(ref="a"), rule(ref="b")]})
        one, nobody = f"{RULESETS}/{made['id']}", "0" * 32
        before = await done(client, "GET", ENTRY)
        for method, path, body, expected in (
            ("GET", f"{RULESETS}/{nobody}", None, (404, 10001, None)),
            ("GET", f"{RULESETS}/phases/ddos_l7/entrypoint", None, (404, 10003, None)),
            ("PUT", f"{RULESETS}/phases/ddos_l7/entrypoint", {"rules": []}, (404, 10003, None)),
            ("PUT", ENTRY, [], (400, 20127, "")),
            ("PUT", ENTRY, {"rules": "x"}, (400, 20127, "/rules")),
            ("PUT", ENTRY, {"rules": [rule("tcp.port eq 1")]}, (400, 20127, "/rules/0/expression")),
            ("POST", RULESETS, {"name": "x", "kind": "root", "phase": "ddos_l4", "rules": []}, (400, 20127, "/phase")),
            ("PUT", f"{RULESETS}/{RULESET_ID}", {"rules": []}, (400, 20127, None)),
            ("DELETE", f"{RULESETS}/{RULESET_ID}", None, (400, 20127, None)),
            ("POST", f"{RULESETS}/{RULESET_ID}/rules", rule(), (400, 20127, None)),
            ("POST", f"{one}/rules", [], (400, 20127, "")),
            ("POST", f"{one}/rules", rule(ref="a"), (400, 20127, "/ref")),
            ("POST", f"{one}/rules", rule("ip.dst"), (400, 20127, "/expression")),
            ("POST", f"{one}/rules", rule(position={"before": nobody}), (400, 20127, "/position")),
            (
                "POST",
                f"{one}/rules",
                rule(overrides={"enabled": False}),
                (400, 20127, "/action_parameters/overrides/enabled"),
            ),
            ("PATCH", f"{one}/rules/{nobody}", {"enabled": False}, (404, 10002, None)),
            ("PATCH", f"{one}/rules/{rule_id('b')}", {"ref": "c"}, (400, 20127, "/ref")),
            ("PATCH", f"{one}/rules/{rule_id('b')}", {"expression": "("}, (400, 20127, "/expression")),
            ("DELETE", f"{one}/rules/{nobody}", None, (404, 10002, None)),
            ("GET", f"{one}/versions/99", None, (404, 10001, None)),
            ("GET", f"{RULESETS}/{RULESET_ID}/versions/99", None, (404, 10001, None)),
            ("DELETE", f"{one}/versions/99", None, (404, 10001, None)),
            ("DELETE", f"{one}/versions/{made['version']}", None, (400, 20127, None)),
        ):
            status, code, message, pointer = await refused(client, method, path, body)
            assert (status, code, pointer) == expected, (method, path, body, message)
        assert await done(client, "GET", ENTRY) == before
        assert (await done(client, "GET", f"{ENTRY}/versions/latest"))["id"] == made["id"]
        assert (await done(client, "GET", f"{RULESETS}/{RULESET_ID}/versions"))[0]["id"] == RULESET_ID
        assert (await done(client, "GET", f"{RULESETS}/{RULESET_ID}/versions/1"))["rules"]


async def test_only_the_account_of_the_machine_has_an_entry_point(api):
    async with api.client() as client:
        await done(client, "PUT", ENTRY, {"rules": [rule()]})
        theirs = f"{OTHER_ACCOUNT}/rulesets"
        assert [one["id"] for one in await done(client, "GET", theirs)] == [RULESET_ID]
        assert (await refused(client, "GET", f"{theirs}/phases/ddos_l4/entrypoint"))[:2] == (404, 10003)
        assert (await refused(client, "PUT", f"{theirs}/phases/ddos_l4/entrypoint", {"rules": []}))[:2] == (403, 9109)
        assert (await refused(client, "POST", theirs, {"rules": []}))[:2] == (403, 9109)
        # an account with an entry point is not deleted
        assert "rulesets" in (await refused(client, "DELETE", ACCOUNT))[2]
    async with api.client(await api.token("rulesets:read", accounts=["acme"])) as client:
        assert len((await done(client, "GET", ENTRY))["rules"]) == 1
        assert (await refused(client, "PUT", ENTRY, {"rules": []}))[0] == 403


async def test_that_of_the_file_is_read_only(tmp_path):
    said = {"rules": [{"expression": "ip.proto.num eq 17", "overrides": {"action": "log"}}]}
    async with Api(tmp_path, {"rulesets": {"ours": said}}) as api, api.client() as client:
        account = f"/accounts/{file_id('accounts', 'default')}/rulesets"
        told = await done(client, "GET", f"{account}/phases/ddos_l4/entrypoint")
        assert (told["name"], told["rules"][0]["ref"], told["version"]) == ("ours", "rule-1", "1")
        status, _, message, _ = await refused(client, "PUT", f"{account}/phases/ddos_l4/entrypoint", {"rules": []})
        assert status == 403 and "read-only" in message
        assert (await refused(client, "DELETE", f"{account}/{told['id']}"))[0] == 403


async def test_what_two_do_at_once_is_not_lost(api):
    async with api.client() as client:
        made = await done(client, "PUT", ENTRY, {"rules": []})
        path = f"{RULESETS}/{made['id']}/rules"
        answers = await asyncio.gather(*(client.post(path, json=rule(ref=f"r{i}")) for i in range(4)))
        went = [one for one in answers if one.status_code == httpx.codes.OK]
        assert {one.status_code for one in answers} <= {200, 412} and went
        assert len((await done(client, "GET", ENTRY))["rules"]) == len(went)


async def test_one_that_was_imported_keeps_its_rules_when_one_of_them_changes(api):
    said = {"rules": [{"expression": "tcp.flags.syn", "overrides": {"action": "log"}}, {}]}
    async with api.client() as client:
        await done(client, "POST", "/spectrum/import", {"objects": {"rulesets": {"ours": said}}})
        told = await done(client, "GET", ENTRY)
        path = f"{RULESETS}/{told['id']}/rules/{told['rules'][1]['id']}"
        after = await done(client, "PATCH", path, {"description": "second", "position": {"index": 1}})
        assert [(one["ref"], one["id"]) for one in after["rules"]] == [
            (one["ref"], one["id"]) for one in reversed(told["rules"])
        ]
        assert (after["name"], after["rules"][0]["description"]) == ("ours", "second")
