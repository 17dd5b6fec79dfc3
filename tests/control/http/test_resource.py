from spectrum.control.http.resource import Asked, Resource


async def test_a_resource_answers_what_it_is_asked():
    async def twice(asked):
        return 2 * int(asked.query["n"])

    resource = Resource("GET", "/twice", twice)
    assert not resource.has_body
    assert await resource.answer(Asked({"n": "4"})) == 8
