import cloudflare
import pytest

from spectrum.api.catalogue import ObjectFault
from spectrum.store.objects import file_id, new_id

ACME, OTHER = file_id("accounts", "acme"), file_id("accounts", "other")


async def test_zones_are_found(api):
    sdk = api.sdk(await api.token("zones:read"))
    (zone,) = [one async for one in sdk.zones.list(name="example.net")]
    assert (zone.id, zone.status, zone.account.name) == (file_id("zones", "example.net"), "active", "The Other")
    assert (await sdk.zones.get(zone_id=zone.id)).name == "example.net"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["example.com", "example.net"]),
        ("direction=desc", ["example.net", "example.com"]),
        ("name=contains:NET", ["example.net"]),
        ("name=starts_with:example", ["example.com", "example.net"]),
        ("name=ends_with:.com", ["example.com"]),
        ("name=not_equal:example.com", ["example.net"]),
        ("name=equal:example.com", ["example.com"]),
        ("account.name=acme", ["example.com"]),
        (f"account.id={OTHER}", ["example.net"]),
        (f"account.id={OTHER}&name=example.com", []),
        (f"account.id={OTHER}&name=example.com&match=any", ["example.com", "example.net"]),
        ("status=pending", []),
        ("status=active&type=full", ["example.com", "example.net"]),
        ("type=partial", []),
        ("order=account.name", ["example.net", "example.com"]),
        ("order=account.id", ["example.net", "example.com"] if OTHER < ACME else ["example.com", "example.net"]),
        ("page=2&per_page=1", ["example.net"]),
    ],
)
async def test_filters_and_order(api, query, names):
    answer = await api.client().get(f"/zones?{query}")
    assert [zone["name"] for zone in answer.json()["result"]] == names


async def test_a_zone_is_made_and_deleted(api):
    sdk = api.sdk(await api.token("zones:edit", accounts=["other"]))
    zone = await sdk.zones.create(name="Example.ORG.", account={"id": OTHER}, type="full")
    assert (zone.name, zone.account.id) == ("example.org", OTHER)
    assert api.daemon.live["zones", "example.org"] == {"account": "other"}
    assert (await sdk.zones.edit(zone_id=zone.id, paused=False, type="full")).id == zone.id
    with pytest.raises(cloudflare.BadRequestError, match="cannot be paused"):
        await sdk.zones.edit(zone_id=zone.id, paused=True)
    with pytest.raises(cloudflare.BadRequestError, match="already exists"):
        await sdk.zones.create(name="example.org", account={})
    assert (await sdk.zones.delete(zone_id=zone.id)).id == zone.id
    assert ("zones", "example.org") not in api.daemon.live


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"name": "a.example", "account": {"id": "0" * 32}}, 400, "/account/id"),
        ({"name": "a.example"}, 400, "/account/id"),
        ({"name": "a.example", "account": {"id": ACME}, "type": "partial"}, 400, "/type"),
        ({"name": "refused.example", "account": {"id": ACME}}, 400, "/name"),
        ({"name": "", "account": {"id": ACME}}, 400, "/name"),
    ],
)
async def test_a_zone_that_cannot_be(api, body, status, pointer):
    api.daemon.refused["refused.example"] = [ObjectFault(("zones", "refused.example"), "no")]
    answer = await api.client().post("/zones", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["source"]["pointer"]) == (status, pointer)


async def test_who_may_make_zones(api):
    reader = api.client(await api.token("zones:read"))
    assert (await reader.post("/zones", json={"name": "a.example"})).status_code == 403
    tenant = api.client(await api.token("zones:edit", accounts=["other"]))
    for account in (ACME, new_id()):
        answer = await tenant.post("/zones", json={"name": "a.example", "account": {"id": account}})
        assert answer.status_code == 403
    assert (await tenant.post("/zones", json={"name": "a.example"})).json()["result"]["account"]["id"] == OTHER


@pytest.mark.parametrize("edit", [{"type": "partial"}, {"vanity_name_servers": ["ns1.example"]}, {"paused": True}])
async def test_what_cannot_be_said_of_a_zone(api, edit):
    zone = file_id("zones", "example.com")
    answer = await api.client().patch(f"/zones/{zone}", json=edit)
    assert answer.json()["errors"][0]["source"]["pointer"] == f"/{next(iter(edit))}"


async def test_a_zone_that_has_objects_is_not_deleted(api):
    answer = await api.client().delete(f"/zones/{file_id('zones', 'example.com')}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"] == "The zone still has certificates, apps"
