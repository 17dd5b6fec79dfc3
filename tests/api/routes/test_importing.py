from spectrum.api.catalogue import ObjectFault
from spectrum.store.tokens import digest, new_token


async def test_objects_are_made_and_replaced(api):
    client = api.client()
    objects = {"pools": {"p": {"origins": [1]}, "q": {"origins": [2]}}}
    assert (await client.post("/spectrum/import", json={"objects": objects})).json()["result"] == {
        "created": 2,
        "updated": 0,
        "unchanged": 0,
    }
    before = api.catalogue.named("pools", "p")
    objects["pools"]["p"] = {"origins": [3]}
    answer = await client.post("/spectrum/import", json={"objects": objects})
    assert answer.json()["result"] == {"created": 0, "updated": 1, "unchanged": 1}
    after = api.catalogue.named("pools", "p")
    assert (after.id, after.value) == (before.id, {"origins": [3]})
    assert (await client.post("/spectrum/import", json={"objects": objects})).json()["result"]["unchanged"] == 2


async def test_all_or_none(api):
    api.daemon.refused["q"] = [ObjectFault(("pools", "q"), "no")]
    answer = await api.client().post("/spectrum/import", json={"objects": {"pools": {"p": {}, "q": {}}}})
    assert answer.status_code == 400 and api.catalogue.all("pools") == []
    assert answer.json()["errors"][0]["source"]["pointer"] == "/objects/pools/q"


async def test_tokens_cannot(api):
    client = api.client(await api.token("all:edit"))
    assert (await client.post("/spectrum/import", json={"objects": {}})).status_code == 403


def token(text, *permissions):
    return {"hash": digest(text), "policies": [{"permissions": list(permissions)}]}


async def test_tokens_are_known_by_their_hashes(api):
    text = new_token()
    body = {"objects": {"tokens": {"deploy": token(text, "accounts:read")}}}
    for counts in ([1, 0, 0], [0, 0, 1]):
        answer = (await api.client().post("/spectrum/import", json=body)).json()["result"]
        assert list(answer.values()) == counts
    assert (await api.client(text).get("/accounts")).status_code == 200
    assert (await api.client(text).get("/user/tokens")).status_code == 403
    body["objects"]["tokens"]["deploy"] = token(text, "accounts:read", "tokens:read")
    assert (await api.client().post("/spectrum/import", json=body)).json()["result"]["updated"] == 1
    assert (await api.client(text).get("/user/tokens")).status_code == 200
    assert [one.name for one in api.tokens.all()] == ["deploy"]


async def test_a_token_that_is_none(api):
    body = {"objects": {"pools": {"p": {}}, "tokens": {"deploy": {"hash": "x", "policies": []}}}}
    answer = await api.client().post("/spectrum/import", json=body)
    assert answer.status_code == 400
    assert [error["source"]["pointer"] for error in answer.json()["errors"]] == [
        "/objects/tokens/deploy/policies",
        "/objects/tokens/deploy/hash",
    ]
    assert api.catalogue.all("pools") == []
