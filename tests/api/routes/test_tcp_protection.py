import pytest

from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused

CONFIGS = "/magic/advanced_tcp_protection/configs"
ATP = f"{ACCOUNT}{CONFIGS}"
RULE = {"scope": "global", "name": "global", "mode": "enabled", "rate_sensitivity": "low", "burst_sensitivity": "high"}


async def test_status(api):
    async with api.client() as client:
        assert await done(client, "GET", f"{ATP}/tcp_protection_status") == {"enabled": True}
        for enabled in (False, True):
            body = {"enabled": enabled}
            assert await done(client, "PATCH", f"{ATP}/tcp_protection_status", body) == body
            assert await done(client, "GET", f"{ATP}/tcp_protection_status") == body
        assert api.daemon.live["tcp_protection", "protection"] == {"enabled": True}
        for wrong in ({}, {"enabled": 1}, []):
            status, _, _, pointer = await refused(client, "PATCH", f"{ATP}/tcp_protection_status", wrong)
            assert status == 400 and pointer == "/enabled"


@pytest.mark.parametrize(
    ("path", "body", "change", "fixed"),
    [
        ("prefixes", {"prefix": "192.0.2.0/24", "comment": "ours", "excluded": False}, {"excluded": True}, "prefix"),
        ("allowlist", {"prefix": "192.0.2.0/24", "comment": "", "enabled": True}, {"comment": "office"}, "prefix"),
        ("syn_protection/rules", RULE | {"mitigation_type": "retransmit"}, {"mode": "monitoring"}, "name"),
        ("tcp_flow_protection/rules", RULE, {"burst_sensitivity": "low"}, "scope"),
        (
            "syn_protection/filters",
            {"expression": "tcp.dstport eq 22", "mode": "monitoring"},
            {"mode": "enabled"},
            None,
        ),
        ("tcp_flow_protection/filters", {"expression": "true", "mode": "disabled"}, {"expression": "false"}, None),
    ],
)
async def test_what_there_is_of_each(api, path, body, change, fixed):
    async with api.client() as client:
        made = await done(client, "POST", f"{ATP}/{path}", body)
        assert made.items() >= body.items() and made.keys() - body.keys() == {"id", "created_on", "modified_on"}
        assert await done(client, "GET", f"{ATP}/{path}") == [made]
        one = f"{ATP}/{path}/{made['id']}"
        assert await done(client, "GET", one) == made
        assert (await done(client, "PATCH", one, change)).items() >= (body | change).items()
        if fixed:
            status, _, _, pointer = await refused(client, "PATCH", one, {fixed: "other"})
            assert status == 400 and pointer == f"/{fixed}"
        assert await done(client, "DELETE", one) is None
        assert (await refused(client, "GET", one))[0] == 404
        await done(client, "POST", f"{ATP}/{path}", body)
        assert await done(client, "DELETE", f"{ATP}/{path}") is None
        assert await done(client, "GET", f"{ATP}/{path}") == [] and api.daemon.live == {}


async def test_components_do_not_see_each_other(api):
    async with api.client() as client:
        syn = await done(client, "POST", f"{ATP}/syn_protection/rules", RULE)
        assert syn["mitigation_type"] == "challenge"
        flow = await done(client, "POST", f"{ATP}/tcp_flow_protection/rules", RULE)
        assert (await refused(client, "GET", f"{ATP}/tcp_flow_protection/rules/{syn['id']}"))[0] == 404
        assert (await refused(client, "DELETE", f"{ATP}/syn_protection/rules/{flow['id']}"))[0] == 404
        await done(client, "DELETE", f"{ATP}/syn_protection/rules")
        assert await done(client, "GET", f"{ATP}/tcp_flow_protection/rules") == [flow]


async def test_prefixes_in_bulk_and_in_order(api):
    async with api.client() as client:
        some = [{"prefix": f"192.0.2.{n}", "comment": str(9 - n), "excluded": False} for n in range(4)]
        assert [one["prefix"] for one in await done(client, "POST", f"{ATP}/prefixes/bulk", some)] == [
            one["prefix"] for one in some
        ]
        by = f"{ATP}/prefixes?order=comment&per_page=3"
        assert [one["comment"] for one in await done(client, "GET", by)] == ["6", "7", "8"]
        assert [one["comment"] for one in await done(client, "GET", f"{by}&page=2&direction=DESC")] == ["6"]
        assert await done(client, "GET", f"{by}&page=3") == []
        for wrong in ([], {}, [1], [{"prefix": "192.0.2.300"}]):
            assert (await refused(client, "POST", f"{ATP}/prefixes/bulk", wrong))[0] == 400
        assert len(await done(client, "GET", f"{ATP}/prefixes")) == 4
        listed = f"{ATP}/tcp_flow_protection/filters"
        for mode in ("enabled", "disabled"):
            await done(client, "POST", listed, {"expression": "true", "mode": mode})
        assert [one["mode"] for one in await done(client, "GET", f"{listed}?mode=disabled")] == ["disabled"]


async def test_faults_have_their_places(api):
    async with api.client() as client:
        for path, body, pointer in (
            ("prefixes", {"prefix": "x"}, "/prefix"),
            ("prefixes", {"prefix": "192.0.2.0/24", "note": "x"}, "/note"),
            ("syn_protection/filters", {"expression": "ip.ttl eq 3", "mode": "enabled"}, "/expression"),
            ("syn_protection/rules", RULE | {"mode": "on"}, "/mode"),
            ("tcp_flow_protection/rules", RULE | {"mitigation_type": "challenge"}, "/mitigation_type"),
        ):
            status, _, message, found = await refused(client, "POST", f"{ATP}/{path}", body)
            assert (status, found) == (400, pointer), message


async def test_only_the_machine_s_account_has_any(api):
    async with api.client() as client:
        await done(client, "POST", f"{ATP}/prefixes", {"prefix": "192.0.2.0/24"})
        assert api.daemon.live == {("tcp_prefixes", "192.0.2.0-24"): {"prefix": "192.0.2.0/24"}}
        theirs = f"{OTHER_ACCOUNT}{CONFIGS}"
        for method, path, body in (
            ("POST", "prefixes", {"prefix": "192.0.2.0/24"}),
            ("POST", "prefixes/bulk", [{"prefix": "192.0.2.0/24"}]),
            ("PATCH", "tcp_protection_status", {"enabled": False}),
            ("DELETE", "prefixes", None),
        ):
            assert (await refused(client, method, f"{theirs}/{path}", body))[0] == 403
        assert await done(client, "GET", f"{theirs}/prefixes") == []


async def test_the_official_client(api):
    """Its calls, as it makes them, and what it makes of the answers."""
    acme = file_id("accounts", "acme")
    sdk = api.sdk(await api.token("tcp_protection:edit", accounts=["acme"])).ddos_protection.advanced_tcp_protection
    assert (await sdk.status.edit(account_id=acme, enabled=True)).enabled
    made = await sdk.prefixes.create(account_id=acme, prefix="192.0.2.0/24", comment="", excluded=False)
    assert (made.prefix, made.excluded) == ("192.0.2.0/24", False)
    more = [{"prefix": "2001:db8::/32", "comment": "six", "excluded": True}]
    bulk = [one async for one in sdk.prefixes.bulk_create(account_id=acme, body=more)]
    assert [one.comment for one in bulk] == ["six"]
    assert len([one async for one in sdk.prefixes.list(account_id=acme)]) == 2
    levels = {"rate_sensitivity": "high", "burst_sensitivity": "low"}
    rule = await sdk.syn_protection.rules.create(
        account_id=acme, mode="enabled", name="global", scope="global", **levels
    )
    assert rule.mitigation_type == "challenge"
    edited = await sdk.syn_protection.rules.items.edit(rule.id, account_id=acme, mode="monitoring")
    assert (edited.mode, edited.rate_sensitivity) == ("monitoring", "high")
    kept = await sdk.tcp_flow_protection.filters.create(
        account_id=acme, expression="tcp.dstport eq 22", mode="disabled"
    )
    assert (await sdk.tcp_flow_protection.filters.items.get(kept.id, account_id=acme)).expression == "tcp.dstport eq 22"
    await sdk.tcp_flow_protection.filters.bulk_delete(account_id=acme)
    allowed = await sdk.allowlist.create(account_id=acme, comment="", enabled=True, prefix="198.51.100.1")
    assert (await sdk.allowlist.items.delete(allowed.id, account_id=acme)).success
