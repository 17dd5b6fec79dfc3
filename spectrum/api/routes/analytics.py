"""Questions about past events: Cloudflare's calls of a zone, and a general one of an account."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from spectrum.api.access import Call, InAccount, InZone
from spectrum.api.analytics.asking import AT_ONCE
from spectrum.api.analytics.bodies import BODY_SCHEMA, SEVERAL_SCHEMA, asked_by, several_in, shift_of
from spectrum.api.analytics.times import DEFAULT_RANGE_S, instant
from spectrum.api.analytics.visible import AppNames, field_of, visible_to
from spectrum.api.envelope import INTERNAL_ERROR, ApiError, BodyFault, success
from spectrum.api.kinds.times import timestamp
from spectrum.api.routes.schemas import takes_body
from spectrum.core.analytics.columns import EVENTS, TABLES
from spectrum.core.analytics.filters import parse
from spectrum.core.analytics.metrics import METRICS
from spectrum.core.analytics.question import (
    TIME_DELTAS,
    Bucket,
    Compare,
    Question,
    QuestionFault,
    ResultTable,
    Row,
    Sorting,
    bucket_starts,
    next_bucket,
)
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

router = APIRouter(tags=["Analytics"])
INVALID = 1002
_PATH = "/zones/{zone_id}/spectrum/analytics"
# The period of `aggregate/current`.
CURRENT_S = 60.0
_CURRENT = ("bytesIngress", "bytesEgress", "connections", "durationAvg")
DEFAULT_LIMIT = 1000
# JSON, a value in each line.
LINES = "application/x-ndjson"
TimeDelta = Literal["year", "quarter", "month", "week", "day", "hour", "dekaminute", "minute"]
Names = Annotated[list[str] | None, Query(description="Repeated, or with commas between.")]
Filters = Annotated[str, Query(description="Such as `event==disconnect;ipVersion==6`.")]
Instant = Annotated[str | None, Query(description="RFC 3339, or seconds since 1970.")]
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get(f"{_PATH}/aggregate/current")
async def get_current(
    call: Annotated[Call, InZone("analytics")],
    app_id: Annotated[str, Query(alias="appID", description="Ids of apps, with commas between.")] = "",
    colo_name: str = "",
) -> Response:
    """Sum up the last minute of each app."""
    names, now = AppNames(call), time.time()
    wanted = [one.strip() for one in app_id.split(",") if one.strip()]
    question = Question(
        "events",
        _CURRENT,
        ("app",),
        now - CURRENT_S,
        now,
        where=Compare("colo", "=", (colo_name,)) if colo_name else None,
        limit=10_000,
        visible=visible_to(call),
        groups=tuple((names.name_of(one),) for one in wanted) if wanted else None,
    )
    found = await call.ask(question)
    return success(
        [
            {"appID": names.id_of(app), **dict(zip(_CURRENT, map(_float, values), strict=True))}
            for app, *values in found.rows
        ]
    )


class _EventsAsked(NamedTuple):
    """The question of a request, and the parts of the answer that repeat it."""

    call: Call
    question: Question
    query: dict[str, Any]


async def _asked(
    call: Annotated[Call, InZone("analytics")],
    metrics: Names = None,
    dimensions: Names = None,
    filters: Filters = "",
    since: Instant = None,
    until: Instant = None,
    sort: Names = None,
    limit: Limit = DEFAULT_LIMIT,
) -> _EventsAsked:
    names = AppNames(call)
    end = _instant("until", until, time.time())
    begin = _instant("since", since, end - DEFAULT_RANGE_S)
    wanted, by, order = _split(metrics) or ["count"], _split(dimensions), _split(sort)
    try:
        where = parse(filters, lambda name: field_of(EVENTS, name, names))
    except QuestionFault as exc:
        raise BodyFault(INVALID, f"filters: {exc}") from exc
    question = Question(
        "events",
        tuple(wanted),
        tuple(by),
        begin,
        end,
        where=where,
        order=tuple(Sorting(one.lstrip("+-"), one.startswith("-")) for one in order),
        limit=limit,
        visible=visible_to(call),
    )
    query = {
        "dimensions": by,
        "metrics": wanted,
        "since": timestamp(begin),
        "until": timestamp(end),
        "sort": order,
        "limit": limit,
        "filters": filters,
    }
    return _EventsAsked(call, question, query)


@router.get(f"{_PATH}/events/summary")
async def get_summary(asked: Annotated[_EventsAsked, Depends(_asked)]) -> Response:
    """Sum up events of a zone's apps, by dimensions."""
    call, question, query = asked
    found = await call.ask(question)
    rows = _ShownDimensions(call, query)
    data = [
        {"dimensions": rows.shown(row), "metrics": [_float(value) for value in row[len(question.dimensions) :]]}
        for row in found.rows
    ]
    return success(_result(data, found, query, found.minima, found.maxima))


@router.get(f"{_PATH}/events/bytime")
async def get_by_time(asked: Annotated[_EventsAsked, Depends(_asked)], time_delta: TimeDelta) -> Response:
    """Sum up events of a zone's apps, by dimensions and by time."""
    call, question, query = asked
    bucket = TIME_DELTAS[time_delta]
    question = replace(question, bucket=bucket)
    found = await call.ask(question)
    starts = _starts(question, bucket)
    rows = _ShownDimensions(call, query)
    keys = len(question.dimensions)
    groups: dict[Row, dict[int, Row]] = {}
    for start, *row in found.rows:
        groups.setdefault(tuple(row[:keys]), {})[start] = tuple(row[keys:])
    if not keys:
        groups.setdefault((), {})
    nothing: Row = (0,) * len(question.metrics)
    data, seen = [], []
    for group, by_time in groups.items():
        values = [by_time.get(start, nothing) for start in starts]
        seen += values
        series = [[_float(value[at]) for value in values] for at in range(len(question.metrics))]
        data.append({"dimensions": rows.shown((0, *group), 1), "metrics": series})
    columns = [[_float(one[at]) for one in seen] or [0.0] for at in range(len(question.metrics))]
    lowest, highest = (
        {name: pick(values) for name, values in zip(question.metrics, columns, strict=True)} for pick in (min, max)
    )
    intervals = [
        [
            timestamp(max(float(start), question.since)),
            timestamp(min(float(next_bucket(start, bucket)), question.until)),
        ]
        for start in starts
    ]
    query["time_delta"] = time_delta
    return success({**_result(data, found, query, lowest, highest), "time_intervals": intervals})


# Returns the answer of the store.
_Ask = Callable[[Question], Awaitable[ResultTable]]


@router.post("/accounts/{account_id}/analytics/query", openapi_extra=takes_body(BODY_SCHEMA))
async def ask_question(call: Annotated[Call, InAccount("analytics")]) -> Response:
    """Answer a question about past events: metrics by dimensions and by time, or single rows."""
    return success(await _result_of(call, call.body, call.ask))


@router.post(
    "/accounts/{account_id}/analytics/queries",
    openapi_extra=takes_body(SEVERAL_SCHEMA),
    response_class=StreamingResponse,
    responses={200: {"content": {LINES: {}}}},
)
async def ask_questions(call: Annotated[Call, InAccount("analytics")]) -> Response:
    """Answer several questions, each as `query` does: a line of JSON for each, as soon as it is known."""
    return StreamingResponse(_lines(call, several_in(call.body)), media_type=LINES)


async def _lines(call: Call, bodies: Sequence[Any]) -> AsyncIterator[bytes]:
    """Yield the lines of several answers; what is not answered is cancelled when the client disconnects."""
    # Those of one request leave room for those of others.
    has_left, turn, lines = asyncio.Event(), asyncio.Semaphore(AT_ONCE), asyncio.Queue[bytes]()

    async def left() -> None:
        await has_left.wait()

    async def add(number: int, body: Any) -> None:
        async with turn:
            if not has_left.is_set():
                response = await _response_to(call, body, lambda question: call.ask(question, left))
                answer = msgspec.Raw(bytes(response.body))
                line = {"index": number, "status": response.status_code, "answer": answer}
                lines.put_nowait(msgspec.json.encode(line) + b"\n")

    tasks = Tasks()
    for number, body in enumerate(bodies):
        tasks.start(add(number, body), "answer one of several questions")
    try:
        for _ in bodies:
            yield await lines.get()
    finally:
        has_left.set()


async def _response_to(call: Call, body: Any, ask: _Ask) -> Response:
    try:
        return success(await _result_of(call, body, ask))
    except ApiError as exc:
        return exc.response()
    except Exception:
        number = call.request.state.request_id
        log.exception("request %s: one of its questions failed", number)
        return ApiError(500, INTERNAL_ERROR, f"Internal error; see request {number} in the log").response()


async def _result_of(call: Call, body: Any, ask: _Ask) -> dict[str, Any]:
    now = time.time()
    names = AppNames(call)
    asked = asked_by(body, now, names)
    question = replace(asked.question, visible=visible_to(call))
    found = await ask(question)
    result = _answer(question, found, names, asked.app_ids)
    result |= {"data_lag": _lag(found, now), "as_of": found.as_of, "partial": found.partial or None}
    result |= {"since": question.since, "until": question.until, "bucket": question.bucket}
    result["previous"] = await _previous(ask, question, found, names, asked.app_ids, asked.compare)
    return result


async def _previous(
    ask: _Ask, question: Question, found: ResultTable, names: AppNames, app_ids: Sequence[int], compare: str | None
) -> dict[str, Any] | None:
    """Return the values of the previous period: totals if by time, otherwise those of the same groups."""
    if compare is None or question.is_raw:
        return None
    shift_s = shift_of(compare, question)
    since, until = question.since - shift_s, question.until - shift_s
    before = replace(question, since=since, until=until, order=(), others=False)
    totals = await ask(replace(before, dimensions=(), limit=1))
    result: dict[str, Any] = {
        "since": since,
        "until": until,
        "totals": totals.totals,
        "partial": totals.partial or None,
    }
    if question.bucket is not None:
        rows = [[start + shift_s, *values] for start, *values in totals.rows]
        return result | {"columns": ["time", *question.metrics], "rows": rows}
    keys = len(question.dimensions)
    groups = tuple(row[:keys] for row in found.rows if None not in row[:keys])
    if not keys:
        return result | {"columns": list(totals.columns), "rows": totals.rows}
    same = await ask(replace(before, groups=groups, limit=max(1, len(groups))))
    shown = _answer(question, same, names, app_ids)
    return result | {"columns": list(same.columns), "rows": shown["rows"]}


def _answer(question: Question, found: ResultTable, names: AppNames, app_ids: Sequence[int]) -> dict[str, Any]:
    places = [found.columns.index(question.dimensions[at]) for at in app_ids]
    rows: Sequence[Sequence[Any]] = found.rows
    if places:
        rows = [
            [names.id_of(value) if at in places and value is not None else value for at, value in enumerate(row)]
            for row in rows
        ]
    return {
        "columns": [_column(question.table, name) for name in found.columns],
        "rows": rows,
        "totals": found.totals,
        "minima": found.minima,
        "maxima": found.maxima,
        "groups": found.groups,
        "rows_read": found.rows_read,
    }


def _column(table: str, name: str) -> dict[str, str]:
    metric = METRICS[table].get(name)
    column = TABLES[table].by_name.get(name)
    if name == "time":
        return {"name": name, "kind": "time", "unit": "s", "label": "Time"}
    if metric is not None:
        kinds = {"sum": "sum", "distinct": "distinct"}
        return {
            "name": name,
            "kind": kinds.get(metric.kind.value, "duration"),
            "unit": metric.unit,
            "label": metric.meaning,
        }
    return {"name": name, "kind": "dimension", "unit": "", "label": column.label if column else name}


def _split(given: Sequence[str] | None) -> list[str]:
    return [name.strip() for one in given or () for name in one.split(",") if name.strip()]


def _instant(name: str, given: str | None, default: float) -> float:
    if given is None:
        return default
    try:
        return instant(given)
    except ValueError as exc:
        raise BodyFault(INVALID, f"{name}: {exc}") from exc


class _ShownDimensions:
    """Converts the dimensions of rows to texts, with apps as ids."""

    def __init__(self, call: Call, query: Mapping[str, Any]) -> None:
        names = AppNames(call)
        self._shown: list[Callable[[Any], str]] = [
            names.id_of if name == "appID" else str for name in query["dimensions"]
        ]

    def shown(self, row: Row, first: int = 0) -> list[str]:
        return [show(value) for show, value in zip(self._shown, row[first:], strict=False)]


def _starts(question: Question, bucket: Bucket) -> list[int]:
    try:
        return bucket_starts(question.since, question.until, bucket)
    except QuestionFault as exc:
        raise BodyFault(INVALID, f"time_delta: {exc}") from exc


def _result(
    data: Sequence[Any],
    found: ResultTable,
    query: Mapping[str, Any],
    lowest: Mapping[str, float],
    highest: Mapping[str, float],
) -> dict[str, Any]:
    result = {
        "data": data,
        "data_lag": _lag(found, time.time()),
        "max": highest,
        "min": lowest,
        "totals": found.totals,
        "rows": len(data),
        "query": query,
    }
    return result | ({"partial": found.partial} if found.partial else {})


def _lag(found: ResultTable, now: float) -> float:
    """Return the age of the newest event, in seconds."""
    return max(0.0, round(now - found.as_of, 3)) if found.as_of else 0.0


def _float(value: Any) -> float:
    return 0.0 if value is None else float(value)
