from spectrum.api.catalogue import ObjectFault


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


async def test_tokens_cannot(api):
    client = api.client(await api.token("all:edit"))
    assert (await client.post("/spectrum/import", json={"objects": {}})).status_code == 403
