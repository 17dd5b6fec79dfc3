"""scripts/key_tables.py: what tables of keys say, from the types of fields."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType
from pydantic import BeforeValidator, Field

from scripts.key_tables import default, event_rows, fields, rows, values
from spectrum.core.configuration.fields import AsTuple, Duration, Network, Shown, Size, Strict, switch


class Inner(Strict):
    low: int = Field(4, ge=1, le=9, description="the *low* one")
    name: str = Field(description="its name")


class Outer(Strict):
    word: Literal["a", "b"] = Field("a", description="a | b")
    several: Annotated[tuple[Literal[1, 2], ...], AsTuple] = Field((), max_length=3, description="some")
    big: int = Field(2_000, ge=1, le=2_000_000, description="a number")
    few: float | None = Field(None, ge=2, description="a number")
    on: bool = Field(False, description="whether")
    text: str = Field("", max_length=9, description="words")
    time_s: Duration | None = Field(90.0, alias="time", description="a time")
    room: Size = Field(3 * 2**20, description="a size")
    nets: Annotated[tuple[Network, ...], AsTuple] = Field(min_length=1, description="prefixes")
    own: Annotated[int, Shown("odd ones", default="the last")] = Field(1, description="said")
    closed: Inner | None = Field(None, description="one row")
    maybe: Annotated[Inner | None, BeforeValidator(switch)] = Field(None, description="a switch")
    opened: Annotated[tuple[Inner, ...], AsTuple, Shown(opens=True)] = Field((), description="its keys as well")
    inner: Inner = Inner(name="x")
    named: dict[str, Inner] = Field(default_factory=dict)


ROWS = {
    "word": ("`a`, `b`", "`a`", "a \\| b"),
    "several": ("list of `1`, `2`, at most 3", "none", "some"),
    "big": ("1 to 2,000,000", "`2000`", "a number"),
    "few": ("at least 2", "none", "a number"),
    "on": ("`true`, `false`", "`false`", "whether"),
    "text": ("text, at most 9 characters", "none", "words"),
    "time": ("duration", "`90s`", "a time"),
    "room": ("size", "`3MiB`", "a size"),
    "nets": ("list of prefixes", "required", "prefixes"),
    "own": ("odd ones", "the last", "said"),
    "closed": ("`{low: 4, name}`", "none", "one row"),
    "maybe": ("`true`, `{low: 4, name}`, `false`", "`false`", "a switch"),
    "opened": ("list of `{low: 4, name}`", "none", "its keys as well"),
    "opened[].low": ("1 to 9", "`4`", "the *low* one"),
    "opened[].name": ("text", "required", "its name"),
    "inner.low": ("1 to 9", "`4`", "the *low* one"),
    "inner.name": ("text", "required", "its name"),
    "named.NAME.low": ("1 to 9", "`4`", "the *low* one"),
    "named.NAME.name": ("text", "required", "its name"),
}


def test_each_key_has_a_row():
    assert {key.strip("`"): tuple(rest) for key, *rest in rows(Outer)} == ROWS
    assert next(rows(Inner, "a."))[0] == "`a.low`"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0"), (2e-4, "200us"), (60.0, "1m"), (5400.0, "90m"), (86400.0, "1d"), (1.5, "1500ms")]
)
def test_durations_are_those_of_the_file(seconds, shown):
    class Timed(Strict):
        time: Duration = seconds

    field = Timed.model_fields["time"]
    assert (values(field), default(field)) == ("duration", f"`{shown}`")


def test_fields_of_a_body_have_rows():
    schema = {
        "required": ["kind"],
        "properties": {
            "kind": {"const": "a", "description": "a | b"},
            "count": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 7, "description": "how many"},
            "since": {"type": ["string", "number", "null"], "description": "when"},
            "names": {"type": "array", "items": {"type": "string"}, "description": "which"},
            "either": {"anyOf": [{"type": "integer"}, {"enum": ["all", None]}], "description": "one of two"},
        },
    }
    assert list(fields(schema)) == [
        ("`kind`", "`a`", "required", "a \\| b"),
        ("`count`", "1 to 1,000", "`7`", "how many"),
        ("`since`", "text, number", "none", "when"),
        ("`names`", "list of names", "none", "which"),
        ("`either`", "number, `all`", "none", "one of two"),
    ]


class Part(msgspec.Struct):
    received: Annotated[float | None, Meta(description="a | b")] = msgspec.field(name="in")
    why: Annotated[str | UnsetType, Meta(description="maybe")] = UNSET


class Event(msgspec.Struct):
    one: Annotated[Part, Meta(description="a part")]
    many: Annotated[list[Part], Meta(description="parts")]


def test_events_have_rows_for_the_keys_of_their_parts():
    assert list(event_rows(Event)) == [
        ("`one`", "a part"),
        ("`one.in`", "a \\| b"),
        ("`one.why`", "maybe"),
        ("`many`", "parts"),
        ("`many[].in`", "a \\| b"),
        ("`many[].why`", "maybe"),
    ]
