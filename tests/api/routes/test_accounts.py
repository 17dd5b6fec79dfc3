import cloudflare
import pytest

from spectrum.store.objects import file_id
from tests.api.serving import Api

OTHER = file_id("accounts", "other")


async def test_accounts_that_may_be_read(api):
    sdk = api.sdk(await api.token("accounts:read", accounts=["other"]))
    (account,) = [one async for one in sdk.accounts.list()]
    assert (account.id, account.name, account.type) == (OTHER, "The Other", "standard")
    assert (await sdk.accounts.get(account_id=OTHER)).name == "The Other"
    assert [one.name async for one in sdk.accounts.list(name="acme")] == []
    with pytest.raises(cloudflare.PermissionDeniedError):
        await sdk.accounts.get(account_id=file_id("accounts", "acme"))


async def test_an_account_is_made_renamed_and_deleted(api):
    sdk = api.sdk(await api.token("accounts:edit", "zones:edit"))
    account = await sdk.accounts.create(name="Third & Sons", type="enterprise")
    assert (account.name, account.type) == ("Third & Sons", "enterprise")
    renamed = await sdk.accounts.update(account_id=account.id, id=account.id, name="Fourth", type="standard")
    assert (renamed.id, renamed.name) == (account.id, "Fourth")
    zone = await sdk.zones.create(name="example.org", account={"id": account.id})
    with pytest.raises(cloudflare.BadRequestError, match="still has zones"):
        await sdk.accounts.delete(account_id=account.id)
    await sdk.zones.delete(zone_id=zone.id)
    assert (await sdk.accounts.delete(account_id=account.id)).id == account.id
    assert [one.name async for one in sdk.accounts.list(direction="desc")] == ["acme", "The Other"]


async def test_one_tenant_makes_no_account(api):
    client = api.client(await api.token("accounts:edit", accounts=["other"]))
    assert (await client.post("/accounts", json={"name": "x"})).status_code == 403
    assert (await client.delete(f"/accounts/{OTHER}")).status_code == 403


async def test_what_there_is_stays_where_it_was_when_the_first_account_is_made(tmp_path):
    async with Api(tmp_path, {"zones": {"example.com": {}}}) as api:
        client = api.client()
        (default,) = (await client.get("/accounts")).json()["result"]
        assert (await client.delete(f"/accounts/{default['id']}")).status_code == 400
        assert (await client.post("/zones", json={"name": "example.net"})).status_code == 200
        assert api.daemon.live["zones", "example.net"] == {}
        await client.post("/accounts", json={"name": "new"})
        assert [key for key in api.daemon.live if key[0] == "accounts"] == [
            ("accounts", "default"),
            ("accounts", "new"),
        ]
        zones = (await client.get("/zones")).json()["result"]
        assert {zone["account"]["id"] for zone in zones} == {default["id"]}
        renamed = (await client.put(f"/accounts/{default['id']}", json={"name": "Mine"})).json()["result"]
        assert (renamed["id"], renamed["name"]) == (default["id"], "Mine")
