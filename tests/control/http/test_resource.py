from spectrum.control.http.resource import Resource, ResourceRequest, ResourceTable


async def test_a_resource_answers_what_it_is_asked():
    async def twice(asked):
        return 2 * int(asked.query["n"])

    resource = Resource("GET", "/twice", twice)
    assert not resource.has_body
    assert await resource.answer(ResourceRequest({"n": "4"})) == 8


async def test_who_asks_over_a_link_gets_a_status_and_a_body():
    async def echo(asked):
        if not asked.body:
            raise ValueError("nothing\nto say")
        return [asked.query, asked.body, asked.uid]

    table = ResourceTable([Resource("POST", "/echo", echo, has_body=True)], uid=7)
    assert await table.answer("POST", "/echo", {"a": "b"}, b"[1]") == (200, b'[{"a":"b"},[1],7]')
    assert await table.answer("POST", "/echo", {}, b"[]") == (422, b'{"errors":["nothing","to say"]}')
    status, body = await table.answer("POST", "/echo", {}, b"{")
    assert (status, body[:12]) == (422, b'{"errors":["')
    assert await table.answer("GET", "/echo", {}, b"") == (404, b'{"errors":["there is no GET /echo"]}')
