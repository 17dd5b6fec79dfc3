from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from spectrum.core.configuration.fields import AsTuple, Duration, Strict
from spectrum.core.configuration.json_schema import ModelSchema


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
    field: Inner = Field(Inner(), description="what it means: [Limits](limits.md#x), [`y`](y.md)")
    other: int = 1
    seen: int = Field(1, description="the `x`, see [Limits](limits.md)")
    only: int = Field(1, description="see [Limits](limits.md)")
    several: tuple[Inner, ...] = Field((), description="`a`. Done!")


def test_descriptions_say_what_a_key_means():
    properties = Described.model_json_schema(schema_generator=ModelSchema)["properties"]
    assert properties["field"]["description"] == "What it means: Limits, `y`."
    assert "description" not in properties["other"]
    assert properties["seen"]["description"] == "The `x`."
    assert properties["only"]["description"] == "See Limits."
    assert properties["several"]["description"] == "`a`. Done!"
