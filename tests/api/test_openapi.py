from tests.api.calls import PAGE, page


async def test_the_document_has_every_route_and_our_errors(api, jsonschema):
    document = (await api.client().get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "/client/v4/zones/{zone_id}" in document["paths"]
    assert "/client/v4/spectrum/import" not in document["paths"]
    for path, item in document["paths"].items():
        for operation in item.values():
            assert "422" not in operation["responses"] and "default" in operation["responses"]
            declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert operation["security"] == [{"token": []}]
    failure = document["components"]["schemas"]["Failure"]
    answer = (await api.client().get("/nothing")).json()
    jsonschema.Draft202012Validator(failure).validate(answer)


def test_the_page_has_every_call():
    text = PAGE.read_text()
    assert text == page(text), "python -m tests.api.calls"
