from typing import Annotated

from pydantic import BeforeValidator, PlainValidator

from spectrum.core.configuration.fields import AsTuple, Duration, Strict
from spectrum.core.configuration.json_schema import ModelSchema, describe


class Inner(Strict):
    size: int = 3


class Whole(Strict):
    time: Duration = 1.0
    names: Annotated[tuple[str, ...], AsTuple] = ()
    either: Annotated[int, BeforeValidator(int)] = 1
    anything: Annotated[str, PlainValidator(str)] = ""
    inner: Inner = Inner()


def test_a_schema_has_what_stands_in_the_file():
    properties = Whole.model_json_schema(schema_generator=ModelSchema)["properties"]
    assert properties["time"]["type"] == ["string", "number"]
    assert properties["names"]["type"] == "array"
    assert properties["either"]["anyOf"] == [{"type": "integer"}, {}]
    assert not {"type", "anyOf"} & properties["anything"].keys()
    assert "default" not in properties["inner"]


class Described(Strict):
    # What it
    # means.
    field: Inner = Inner()
    other: int = 1


def test_comments_say_what_a_key_means():
    schema = Described.model_json_schema(schema_generator=ModelSchema)
    describe(schema, Described)
    assert schema["properties"]["field"]["description"] == "What it means."
    assert "description" not in schema["properties"]["other"]
