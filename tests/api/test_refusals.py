import asyncio

import pytest

from spectrum.api.envelope import ApiError
from spectrum.api.refusals import (
    OF_ALL_UNKNOWN,
    OF_ONE_KNOWN,
    OF_ONE_UNKNOWN,
    PER_S,
    RefusedAttempts,
    only_asks,
    subject_of,
)
from spectrum.store.audit import AuditFilter
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, POOL, POOLS, ZONE, done, refused

KNOWN, ID = ACCOUNT.rpartition("/")[2], "a" * 32


async def lines(api, count):
    """Return the log's lines of what was refused, once there are `count`."""
    async with asyncio.timeout(10):
        while len(found := [one for one in api.store.audit(AuditFilter(), 1000) if not one.is_done]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return found


async def test_refused_attempts_are_in_the_audit_log(api):
    token = await api.token("pools:read", accounts=["acme"])
    async with api.client(token) as client, api.client() as local, api.client("nobody's") as stranger:
        assert (await refused(client, "POST", POOLS, POOL))[0] == 403
        (line,) = await lines(api, 1)
        assert (line.author.kind, line.author.name, line.author.address) == ("token", "test", "192.0.2.7")
        assert (line.action, line.section, line.account, line.status) == ("create", "pools", KNOWN, 403)
        assert (line.method, line.path, line.before, line.after) == ("POST", f"/client/v4{POOLS}", None, None)
        assert (await refused(local, "PUT", f"{POOLS}/{ID}", {"name": "x"}))[0] == 404  # nothing that is refused
        assert (await refused(local, "POST", POOLS, {"name": "x"}))[0] == 400
        assert (await lines(api, 2))[0].author.kind == "local"
        assert (await refused(stranger, "DELETE", f"{ZONE}/spectrum/apps/{ID}"))[0] == 401
        line = (await lines(api, 3))[0]
        assert (line.author.kind, line.author.address, line.account, line.object_id) == ("unknown", "192.0.2.7", "", ID)
        assert (await refused(client, "GET", f"{OTHER_ACCOUNT}/rules/lists"))[0] == 403  # it changes nothing
        assert len(await lines(api, 3)) == 3
        of_account = await done(local, "GET", f"{ACCOUNT}/audit_logs")
        assert [one["action"]["result"] for one in of_account] == [False, False]
        seen = (await done(local, "GET", "/user/audit_logs"))[0]
        assert (seen["actor"]["email"], seen["actor"]["id"], seen["actor"]["ip"]) == ("", "", "192.0.2.7")


async def test_questions_are_no_attempts(api):
    """A form that is not filled in yet, and an analytics query that is not valid, change nothing."""
    preview = f"{ACCOUNT}/spectrum/objects/pools/preview"
    token = await api.token("pools:read", accounts=["acme"])
    async with api.client() as local, api.client(token) as client:
        assert (await refused(local, "POST", preview, {"object": {"name": "x"}}))[0] == 400
        assert (await refused(local, "POST", f"{ACCOUNT}/analytics/query", {"table": "x"}))[0] == 400
        assert (await refused(local, "POST", f"{ACCOUNT}/analytics/queries", {"questions": []}))[0] == 400
        assert (await refused(local, "POST", f"{ACCOUNT}/rulesets?dry_run=true", {"phase": "x"}))[0] == 400
        assert (await refused(client, "POST", preview, {"object": POOL}))[0] == 403
        (line,) = await lines(api, 1)
        assert (line.status, line.path) == (403, f"/client/v4{preview}")


@pytest.mark.parametrize(
    ("path", "query", "asks"),
    [
        ("/client/v4/accounts/a/spectrum/objects/apps/preview", "", True),
        ("/client/v4/graphql", "", True),
        ("/client/v4/accounts/a/rulesets", "per_page=5&dry_run=1", True),
        ("/client/v4/accounts/a/rulesets", "dry_run=false", False),
        ("/client/v4/accounts/a/rulesets", "", False),
        ("/client/v4/accounts/a/preview/pools", "", False),
    ],
)
def test_what_only_asks(path, query, asks):
    assert only_asks(path, query) == asks


async def test_attempts_of_strangers_are_not_shown_to_the_account(api):
    token = await api.token("all:edit", accounts=["other"])
    async with api.client(token) as client:
        assert (await refused(client, "POST", POOLS, POOL))[0] == 403
    (line,) = await lines(api, 1)
    assert (line.account, line.author.kind) == ("", "token")


async def test_a_brute_force_does_not_fill_the_log(api, caplog):
    now = [1000.0]
    refusals = RefusedAttempts(api.catalogue, api.store, lambda: now[0])
    text = await api.token("pools:read")
    caller = api.app._identify({"state": {}, "client": ("192.0.2.1", 1)}, {"authorization": f"Bearer {text}"})
    with pytest.raises(ApiError) as unknown:
        api.app._identify({"state": {}}, {})

    def attack(who, times, client):
        for _ in range(times):
            refusals.note(who, "POST", f"/client/v4{POOLS}", "", 401, "1", client)

    attack(unknown.value, 100, "192.0.2.1")
    assert len(await lines(api, OF_ONE_UNKNOWN)) == OF_ONE_UNKNOWN
    for number in range(100):
        attack(unknown.value, 1, f"2001:db8:{number:x}::1")
    assert len(await lines(api, OF_ALL_UNKNOWN)) == OF_ALL_UNKNOWN
    attack(caller, 100, "192.0.2.1")  # those who are known have room of their own
    most = OF_ALL_UNKNOWN + OF_ONE_KNOWN
    assert len(await lines(api, most)) == most
    now[0] += PER_S
    attack(unknown.value, 1, "192.0.2.1")
    assert len(await lines(api, most + 1)) == most + 1
    assert "refused attempts are not in the audit log" in caplog.text
    await refusals.stop()


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        (f"/client/v4{POOLS}", ("pools", "")),
        (f"/client/v4{ZONE}/spectrum/apps/{ID}", ("apps", ID)),
        (f"/client/v4{ZONE}/firewall/access_rules/rules/{ID}", ("access_rules", ID)),
        (f"/client/v4{ACCOUNT}/rules/lists/{ID}/items", ("lists", ID)),
        (f"/client/v4{ACCOUNT}/rulesets/{ID}/rules/{'1' * 32}", ("rulesets", ID)),
        (f"/client/v4{ACCOUNT}/load_balancers/monitors/{ID}", ("monitors", ID)),
        (f"/client/v4/zones/{ID}", ("zones", ID)),
        (f"/client/v4{ZONE}/custom_certificates/{ID}", ("certificates", ID)),
        (f"/client/v4{ZONE}/ssl/certificate_packs/order", ("certificates", "")),
        ("/client/v4/user/tokens", ("tokens", "")),
        ("/client/v4/what", ("", "")),
        ("/else", ("", "")),
    ],
)
def test_what_a_path_is_about(path, subject):
    assert subject_of(path) == subject
