import cloudflare
import pytest

from spectrum.api.kinds.permissions import BY_WORD
from spectrum.store.audit import AuditFilter
from spectrum.store.objects import file_id, new_id

A, Z = "com.cloudflare.api.account.", "com.cloudflare.api.account.zone."
ACME, OTHER = file_id("accounts", "acme"), file_id("accounts", "other")


def policy(*words, resources=None, effect="allow"):
    groups = [{"id": BY_WORD[word].id} for word in words]
    return {"effect": effect, "permission_groups": groups, "resources": resources or {f"{A}*": "*"}}


def body(*words, name="made", resources=None, **rest):
    return {"name": name, "policies": [policy(*words, resources=resources)], **rest}


async def test_a_token_is_made_used_changed_rolled_and_deleted(api):
    sdk = api.sdk(await api.token("all:edit"))
    made = await sdk.user.tokens.create(**body("zones:read"))
    own = api.sdk(made.value)
    verified = await own.user.tokens.verify()
    assert (verified.id, verified.status) == (made.id, "active")
    assert [zone.name async for zone in own.zones.list()] == ["example.com", "example.net"]

    shown = await sdk.user.tokens.get(token_id=made.id)
    assert shown.name == "made" and shown.last_used_on is not None
    assert "value" not in shown.to_dict()
    assert made.id in [one.id async for one in sdk.user.tokens.list()]
    changed = await sdk.user.tokens.update(token_id=made.id, **body("zones:edit", name="renamed"), status="disabled")
    assert (changed.name, changed.status) == ("renamed", "disabled")
    assert (await own.user.tokens.verify()).status == "disabled"
    with pytest.raises(cloudflare.PermissionDeniedError, match="disabled"):
        await own.zones.list()

    await sdk.user.tokens.update(token_id=made.id, **body("zones:edit"), status="active")
    text = await sdk.user.tokens.value.update(token_id=made.id)
    assert text != made.value
    with pytest.raises(cloudflare.AuthenticationError, match="Invalid API Token"):
        await own.user.tokens.verify()
    assert (await api.sdk(text).user.tokens.verify()).id == made.id
    assert (await sdk.user.tokens.delete(token_id=made.id)).id == made.id
    with pytest.raises(cloudflare.NotFoundError):
        await sdk.user.tokens.get(token_id=made.id)
    lines = api.store.audit(AuditFilter(), 10)
    assert [line.action for line in lines] == ["delete", "roll", "update", "update", "create"]
    assert not any(made.value in repr(line) or text in repr(line) for line in lines)


async def test_tokens_of_an_account(api):
    sdk = api.sdk(await api.token("all:edit", accounts=["other"]))
    made = await sdk.accounts.tokens.create(account_id=OTHER, **body("zones:read", resources={f"{A}{OTHER}": "*"}))
    own = api.sdk(made.value)
    assert (await own.accounts.tokens.verify(account_id=OTHER)).id == made.id
    with pytest.raises(cloudflare.AuthenticationError):
        await own.user.tokens.verify()
    with pytest.raises(cloudflare.AuthenticationError):
        await own.accounts.tokens.verify(account_id=ACME)
    assert [one.id async for one in sdk.accounts.tokens.list(account_id=OTHER)] == [made.id]
    assert (await sdk.accounts.tokens.get(token_id=made.id, account_id=OTHER)).name == "made"
    groups = [one async for one in sdk.accounts.tokens.permission_groups.list(account_id=OTHER)]
    assert len(groups) == len(BY_WORD)
    await sdk.accounts.tokens.update(
        token_id=made.id, account_id=OTHER, **body("zones:read", resources={f"{A}{OTHER}": "*"})
    )
    assert await sdk.accounts.tokens.value.update(token_id=made.id, account_id=OTHER)
    (line, *_) = api.store.audit(AuditFilter(accounts=(OTHER,)), 10)
    assert line.action == "roll"
    assert (await sdk.accounts.tokens.delete(token_id=made.id, account_id=OTHER)).id == made.id
    operator = api.client()
    assert (await operator.get(f"/accounts/{new_id()}/tokens/verify")).status_code == 401
    assert (await operator.get("/user/tokens/verify")).status_code == 401


async def test_permission_groups_by_name(api):
    client = api.client(await api.token("zones:read"))
    answer = await client.get("/user/tokens/permission_groups", params={"name": "Spectrum Read"})
    assert [one["id"] for one in answer.json()["result"]] == [BY_WORD["apps:read"].id]


LIMITED = {"addresses": ["192.0.2.0/24"], "not_addresses": ["192.0.2.200"], "expires_on": "2999-01-01T00:00:00Z"}
WITHIN = {
    "condition": {"request_ip": {"in": ["192.0.2.0/25"], "not_in": ["192.0.2.200/31"]}},
    "expires_on": "2998-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ({}, None),
        ({"expires_on": None}, "longer"),
        ({"expires_on": "2999-01-02T00:00:00Z"}, "longer"),
        ({"condition": None}, "addresses"),
        ({"condition": {"request_ip": {"in": ["192.0.0.0/16"], "not_in": ["192.0.2.200"]}}}, "addresses"),
        ({"condition": {"request_ip": {"in": ["192.0.2.0/25"]}}}, "addresses"),
        ({"policies": [policy("tokens:edit")]}, None),
        ({"policies": [policy("zones:edit")]}, "allow more"),
        ({"policies": [policy("all:read")]}, "allow more"),
    ],
)
async def test_a_token_makes_none_that_may_more_than_itself(api, rest, why):
    client = api.client(await api.token("tokens:edit", "zones:read", **LIMITED))
    answer = await client.post("/user/tokens", json={**body("zones:read"), **WITHIN, **rest})
    if why is None:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 403 and why in answer.json()["errors"][0]["message"]


async def test_a_token_of_more_rights_cannot_be_rolled_changed_or_deleted(api):
    strong = (await api.client().post("/user/tokens", json=body("all:edit"))).json()["result"]["id"]
    client = api.client(await api.token("tokens:edit"))
    assert (await client.put(f"/user/tokens/{strong}/value", json={})).status_code == 403
    assert (await client.put(f"/user/tokens/{strong}", json=body("tokens:read"))).status_code == 403
    assert (await client.delete(f"/user/tokens/{strong}")).status_code == 403


async def test_a_tenant_sees_only_its_own_tokens(api):
    made = (
        await api.client().post(f"/accounts/{OTHER}/tokens", json=body("zones:read", resources={f"{A}{OTHER}": "*"}))
    ).json()
    token_id = made["result"]["id"]
    client = api.client(await api.token("all:edit", accounts=["acme"]))
    assert (await client.get("/user/tokens")).status_code == 403
    assert (await client.get(f"/accounts/{OTHER}/tokens/{token_id}")).status_code == 403
    assert (await client.get(f"/accounts/{ACME}/tokens/{token_id}")).status_code == 404
    answer = await client.post(f"/accounts/{ACME}/tokens", json=body("zones:read", resources={f"{A}{OTHER}": "*"}))
    assert answer.status_code == 400 and "no such account" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("rest", "pointer"),
    [
        ({"expires_on": "tomorrow"}, "/expires_on"),
        ({"condition": {"request_ip": {"in": ["everywhere"]}}}, "/condition/request_ip/in/0"),
        ({"policies": []}, "/policies"),
        ({"name": ""}, "/name"),
    ],
)
async def test_a_token_that_cannot_be(api, rest, pointer):
    answer = await api.client().post("/user/tokens", json={**body("zones:read"), **rest})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["source"]["pointer"] == pointer
