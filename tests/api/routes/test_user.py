from spectrum.store.objects import file_id


async def test_the_user_and_memberships(api):
    sdk = api.sdk(await api.token("zones:edit", accounts=["acme"]))
    assert (await sdk.user.get()).email == "operator@localhost"
    (membership,) = [one async for one in sdk.memberships.list()]
    assert membership.account.name == "acme" and membership.permissions.zones.write
    assert not membership.permissions.lb.read
    assert (await sdk.memberships.get(membership_id=membership.id)).id == membership.id
    other = file_id("memberships", file_id("accounts", "other"))
    assert (
        await api.client(await api.token("zones:edit", accounts=["acme"])).get(f"/memberships/{other}")
    ).status_code == 404


async def test_whoever_may_read_anything_of_an_account_belongs_to_it(api):
    for one in ("analytics:read", "diagnostics:read", "certificates:read", "audit_logs:read", "monitor_groups:read"):
        (membership,) = [one async for one in api.sdk(await api.token(one, accounts=["acme"])).memberships.list()]
        assert membership.account.name == "acme"


async def test_memberships_by_name(api):
    client = api.client()
    assert len((await client.get("/memberships")).json()["result"]) == 2
    assert len((await client.get("/memberships?account.name=other")).json()["result"]) == 1
    assert (await client.get("/memberships?status=pending")).json()["result"] == []
