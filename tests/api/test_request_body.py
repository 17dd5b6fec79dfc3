import pytest
from pydantic import TypeAdapter, ValidationError

from spectrum.api.request_body import PrintableName, RequestBody
from tests.api.routes.calls import done, refused

NAME = TypeAdapter(PrintableName)


class Part(RequestBody):
    on: bool = False


class Body(RequestBody):
    READ_ONLY = frozenset({"id"})
    name: str
    part: Part = Part()


def test_fields_of_answers_are_ignored_and_others_are_refused():
    assert Body.model_validate({"id": "1", "name": "a", "part": {"on": True}}) == Body(name="a", part=Part(on=True))
    for wrong, place in (({"nam": 1}, ("nam",)), ({"part": {"id": 1}}, ("part", "id"))):
        with pytest.raises(ValidationError) as caught:
            Body.model_validate({"name": "a", **wrong})
        assert [(one["loc"], one["type"]) for one in caught.value.errors()] == [(place, "extra_forbidden")]
    with pytest.raises(ValidationError):
        Body.model_validate([1])


@pytest.mark.parametrize("name", ["a", "a b", "é", "名"])
def test_names(name):
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize("name", [" ", "\0", "a\nb", "\u202e", "\x7f"])
def test_no_names(name):
    with pytest.raises(ValidationError, match="printable"):
        NAME.validate_python(name)


async def test_what_a_call_does_not_know_it_refuses(api):
    async with api.client() as client:
        assert await refused(client, "POST", "/accounts", {"name": "a", "nam": 1}) == (
            400,
            1002,
            'unknown field "nam"',
            "/nam",
        )
        assert (await refused(client, "POST", "/accounts", {"name": "\0"}))[3] == "/name"
        settings = {"enforce_twofactor": True}
        assert (await refused(client, "POST", "/accounts", {"name": "a", "settings": settings}))[3] == (
            "/settings/enforce_twofactor"
        )
        made = await done(client, "POST", "/accounts", {"name": "a"})
        assert await done(client, "PUT", f"/accounts/{made['id']}", made | {"name": "b"}) == made | {"name": "b"}
