import pytest

from spectrum.api.access import Call, Context
from spectrum.store.objects import file_id

ZONE, OTHER_ZONE = file_id("zones", "example.com"), file_id("zones", "example.net")
OTHER = file_id("accounts", "other")


@pytest.mark.parametrize("zone", ["0" * 32, "nonsense", "x" * 200])
async def test_a_missing_zone_is_reported_to_callers_who_may_read_all(api, zone):
    answer = await api.client().get(f"/zones/{zone}")
    assert answer.status_code == 404 and answer.json()["errors"][0]["code"] == 7003


@pytest.mark.parametrize("zone", ["0" * 32, "nonsense", OTHER_ZONE])
async def test_callers_without_permission_cannot_probe_for_objects(api, zone):
    client = api.client(await api.token("zones:read", zones=["example.com"]))
    assert (await client.get(f"/zones/{ZONE}")).status_code == 200
    answer = await client.get(f"/zones/{zone}")
    assert (answer.status_code, answer.json()["errors"]) == (
        403,
        [{"code": 9109, "message": "Unauthorized to access requested resource"}],
    )


async def test_reading_is_not_editing(api):
    client = api.client(await api.token("zones:read"))
    assert (await client.patch(f"/zones/{ZONE}", json={})).status_code == 403
    client = api.client(await api.token("zones:edit"))
    assert (await client.patch(f"/zones/{ZONE}", json={})).status_code == 200


async def test_without_a_good_token_nothing_is_answered(api):
    client = api.client("x" * 46)
    assert (await client.get(f"/zones/{ZONE}")).status_code == 401
    client = api.client(await api.token("zones:read", status="disabled"))
    assert (await client.get(f"/zones/{ZONE}")).status_code == 403


async def test_if_match_keeps_a_change_of_another_revision_from_being_lost(api):
    client = api.client()
    made = (await client.post("/accounts", json={"name": "third"})).json()["result"]
    revision = api.catalogue.get("accounts", made["id"]).revision
    path = f"/accounts/{made['id']}"
    for match, status in ((f'"{revision + 1}"', 412), (f'"{revision}"', 200), (f'"{revision}"', 412), ("*", 200)):
        answer = await client.put(path, json={"name": "fourth"}, headers={"if-match": match})
        assert answer.status_code == status, answer.text
    assert (await client.put(path, json={"name": "x"}, headers={"if-match": "W/abc"})).status_code == 400


async def test_a_call_has_the_objects_of_its_account_or_zone(api):
    catalogue = api.catalogue
    context = Context(catalogue, api.tokens, api.store, api.daemon, api.analytics, api.live, api.asking, api.weekly)
    zone, account = catalogue.named("zones", "example.net"), catalogue.named("accounts", "other")
    in_zone, in_account = Call(None, None, context, account, zone), Call(None, None, context, account)
    theirs, ours = catalogue.named("apps", "game"), catalogue.named("apps", "ssh.example.com")
    for call in (in_zone, in_account):
        assert call.objects("apps") == [theirs]
        assert call.object("apps", theirs.id) == theirs
        assert call.object("apps", ours.id) is None and call.object("apps", "0" * 32) is None
    assert in_zone.owner == {"zone": "example.net"} and in_account.owner == {"account": "other"}
