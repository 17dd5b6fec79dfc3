"""The body of Spectrum's own question: decoding, and faults with their places."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from spectrum.api.analytics.times import DEFAULT_RANGE_S, instant
from spectrum.api.analytics.visible import AppNames, field_of
from spectrum.api.envelope import BodyFault, pointer_to
from spectrum.core.analytics.columns import TABLES
from spectrum.core.analytics.filters import FilterFault, of_json
from spectrum.core.analytics.metrics import METRICS
from spectrum.core.analytics.question import TIME_DELTAS, Bucket, Condition, Question, Sorting
from spectrum.core.configuration.faults import nearest

INVALID = 1002
_DAY_S, _WEEK_S = 86400.0, 604800.0
_PLACE = re.compile(r" - at `\$(.*)`$")
_PART = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_Filter = str | list[Any] | dict[str, Any] | None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """A question as it is sent."""

    table: str = "events"
    metrics: list[str] = []
    dimensions: list[str] = []
    filter: _Filter = None
    since: str | float | None = None
    until: str | float | None = None
    bucket: str | int | None = None
    order: list[str] = []
    limit: int = 100
    others: bool = False
    compare: Literal["day", "week", "period"] | None = None


_TIME = {"type": ["string", "number", "null"]}
_NAMES = {"type": "array", "items": {"type": "string"}}
BODY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "table": {"enum": list(METRICS), "default": "events", "description": "what is counted"},
        "metrics": _NAMES | {"description": "what is computed"},
        "dimensions": _NAMES
        | {
            "description": 'how it is grouped. `["*"]` without metrics returns single rows, newest first, at most 1000',
        },
        "filter": {
            "description": "text, such as `app==ssh;event!=connect`, or a list of "
            '`{"dimension": ..., "op": ..., "values": [...]}`, all of which must match; `{"any": [...]}`, '
            '`{"all": [...]}` and `{"not": ...}` combine them. `op` is `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, '
            "`not_in`, `like`, `not_like` (`%` matches any text) or `prefix`",
            "type": ["string", "array", "object", "null"],
        },
        "since": _TIME | {"description": "the beginning: RFC 3339, or seconds since 1970; six hours ago unless given"},
        "until": _TIME | {"description": "the end, likewise; now unless given"},
        "bucket": {
            "anyOf": [{"type": "integer", "minimum": 1}, {"enum": [*TIME_DELTAS, None]}],
            "description": "seconds, or a value of `time_delta`: also groups by time",
        },
        "order": _NAMES
        | {
            "description": 'metrics and dimensions to sort by, such as `["-bytes", "app"]`; a leading `-` means '
            "descending. The first metric, descending, unless given",
        },
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10_000,
            "default": 100,
            "description": "the number of groups",
        },
        "others": {
            "type": "boolean",
            "default": False,
            "description": "adds one group for all that remain beyond the limit, with `null` as its dimensions",
        },
        "compare": {
            "enum": ["day", "week", "period", None],
            "description": "adds `previous`, the same query for an earlier time: `period` (the same length of time "
            "just before), `day` or `week` (one day or week earlier). `previous` has the same groups, or with "
            "`bucket` the sum over all groups by time",
        },
    },
}

MAX_QUESTIONS = 32
SEVERAL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["questions"],
    "properties": {"questions": {"type": "array", "items": BODY_SCHEMA, "minItems": 1, "maxItems": MAX_QUESTIONS}},
}


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """The question of a body.

    Attributes:
        question: The question, without limits of visibility.
        compare: The period to compare with; None for none.
        app_ids: Positions of dimensions that are shown as ids of apps.
    """

    question: Question
    compare: str | None
    app_ids: tuple[int, ...]


def asked_by(body: Any, now: float, names: AppNames) -> AskedQuestion:
    """Decode a body.

    Args:
        body: The decoded JSON.
        now: The time, in seconds since 1970.
        names: The names of apps.

    Raises:
        BodyFault: If it is not a valid question; with the place of the fault.
    """
    if not isinstance(body, dict):
        raise BodyFault(INVALID, 'expected a JSON object, such as {"metrics": ["count"], "dimensions": ["app"]}', "")
    try:
        found = msgspec.convert(body, _Body)
    except msgspec.ValidationError as exc:
        raise _fault(str(exc)) from exc
    if found.table not in METRICS:
        raise BodyFault(INVALID, f"there is no table {found.table!r}{nearest(found.table, list(METRICS))}", "/table")
    until = _instant("until", found.until, now)
    question = Question(
        found.table,
        tuple(found.metrics),
        tuple(found.dimensions),
        _instant("since", found.since, until - DEFAULT_RANGE_S),
        until,
        where=_where(found.table, found.filter, names),
        bucket=_bucket(found.bucket),
        order=tuple(Sorting(one.lstrip("+-"), one.startswith("-")) for one in found.order),
        limit=found.limit,
        others=found.others,
    )
    return AskedQuestion(
        question, found.compare, tuple(at for at, name in enumerate(found.dimensions) if name == "appID")
    )


def several_in(body: Any) -> list[Any]:
    """Return the bodies of several questions, which are not decoded yet.

    Raises:
        BodyFault: If it does not have from 1 to `MAX_QUESTIONS`.
    """
    if not isinstance(body, dict) or not isinstance(questions := body.get("questions"), list) or len(body) > 1:
        raise BodyFault(INVALID, 'expected a JSON object, such as {"questions": [{"metrics": ["count"]}]}', "")
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise BodyFault(INVALID, f"{len(questions)} questions: from 1 to {MAX_QUESTIONS} at once", "/questions")
    return questions


def shift_of(compare: str, question: Question) -> float:
    """Return how many seconds before the question's time the period of comparison begins."""
    match compare:
        case "day":
            return _DAY_S
        case "week":
            return _WEEK_S
    return question.until - question.since


def _fault(text: str) -> BodyFault:
    """Return msgspec's message as a fault with its place."""
    match = _PLACE.search(text)
    place = [name or number for name, number in _PART.findall(match[1])] if match else []
    message = _PLACE.sub("", text).replace("Object contains", "the body has").replace("`", "")
    unknown = re.search(r"unknown field (\w+)", message)
    return BodyFault(INVALID, message, pointer_to([*place, unknown[1]] if unknown else place))


def _instant(name: str, given: Any, default: float) -> float:
    if given is None:
        return default
    try:
        return instant(given)
    except ValueError as exc:
        raise BodyFault(INVALID, str(exc), f"/{name}") from exc


def _where(table: str, given: Any, names: AppNames) -> Condition | None:
    try:
        return of_json(given, lambda name: field_of(TABLES[table], name, names))
    except FilterFault as exc:
        raise BodyFault(INVALID, str(exc), pointer_to(("filter", *exc.pointer))) from exc


def _bucket(given: str | int | None) -> Bucket | None:
    if given is None or isinstance(given, int):
        return given
    if given in TIME_DELTAS:
        return TIME_DELTAS[given]
    there = ", ".join(TIME_DELTAS)
    raise BodyFault(INVALID, f"{given!r} is not a duration: write a number of seconds, or one of {there}", "/bucket")
