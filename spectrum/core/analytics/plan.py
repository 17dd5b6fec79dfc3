"""Decides which tables answer a question for which time, and whether it can be answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spectrum.core.analytics.columns import MINUTES, TABLES, Column, Role, Table
from spectrum.core.analytics.dimensions import can_compare, can_group, find_dimension
from spectrum.core.analytics.metrics import METRICS, OF_HISTOGRAM, Metric, MetricKind
from spectrum.core.analytics.question import (
    ALL_COLUMNS,
    CALENDAR,
    MAX_RAW_ROWS,
    MAX_ROWS,
    Question,
    QuestionFault,
    Sorting,
    bucket_starts,
    compared,
)
from spectrum.core.configuration.faults import nearest

MINUTE_S = 60
MINUTE_US = MINUTE_S * 1_000_000
# Above this number of rows roll-ups are used if possible: exact percentiles need memory for each row.
LONG_S = 3600.0
# Maximum of groups times buckets.
MAX_POINTS = 100_000
MAX_METRICS = 30
MAX_DIMENSIONS = 6


@dataclass(frozen=True, slots=True)
class DataRange:
    """The range of data in a store.

    Attributes:
        events_from: Rows of `events` before this time, in seconds since 1970, have been deleted; 0 if none have.
        minutes_until: `minutes` is complete before this time, and may have nothing after it; 0 if it is empty.
        as_of: The time of the newest row; 0 without any.
    """

    events_from: float = 0.0
    minutes_until: float = 0.0
    as_of: float = 0.0


@dataclass(frozen=True, slots=True)
class TimeSlice:
    """A table, and the time range that it is read for, in microseconds since 1970."""

    table: Table
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """How a question is answered.

    Attributes:
        question: The question.
        table: Its table.
        metrics: The metrics.
        dimensions: The dimensions.
        parts: The tables and time ranges, in order of time.
        is_rolled: Whether any part of it is a roll-up, so that percentiles are read from histograms.
        partial: Why the answer is incomplete; empty if it is complete.
    """

    question: Question
    table: Table
    metrics: tuple[Metric, ...]
    dimensions: tuple[Column, ...]
    parts: tuple[TimeSlice, ...]
    is_rolled: bool
    partial: str

    @property
    def plain(self) -> tuple[Metric, ...]:
        """The metrics that SQL computes directly."""
        return tuple(one for one in self.metrics if not (self.is_rolled and one.kind in OF_HISTOGRAM))

    @property
    def order(self) -> tuple[Sorting, ...]:
        """Sort order of groups: as requested, then by dimensions, so that it is unambiguous."""
        first = (Sorting(self.metrics[0].name, True),) if self.metrics else ()
        named = dict(zip(self.question.dimensions, (column.name for column in self.dimensions), strict=True))
        order = tuple(replace(one, by=named.get(one.by, one.by)) for one in self.question.order or first)
        by = {one.by for one in order}
        return (*order, *(Sorting(column.name) for column in self.dimensions if column.name not in by))


def make_plan(question: Question, reach: DataRange) -> QuestionPlan:
    """Return the plan for a question.

    Raises:
        QuestionFault: If it is invalid.
    """
    table, metrics, dimensions = _checked(question)
    parts, partial = _parts(question, table, metrics, dimensions, reach)
    is_rolled = any(part.table is MINUTES for part in parts)
    return QuestionPlan(question, table, metrics, dimensions, parts, is_rolled, partial)


def _checked(question: Question) -> tuple[Table, tuple[Metric, ...], tuple[Column, ...]]:
    if question.table not in METRICS:
        raise QuestionFault("table", f"there is no {question.table!r}{nearest(question.table, list(METRICS))}")
    table = TABLES[question.table]
    if not question.since < question.until:
        raise QuestionFault("since", "since is not before until")
    if question.is_raw:
        _check_raw(question)
        return table, (), ()
    metrics = _metrics(question)
    dimensions = _dimensions(question, table)
    if not metrics:
        raise QuestionFault("metrics", f"at least one of {', '.join(METRICS[question.table])}")
    if not 1 <= question.limit <= MAX_ROWS:
        raise QuestionFault("limit", f"from 1 to {MAX_ROWS}")
    _check_bucket(question)
    for one in compared(question.where):
        if one.dimension not in table.by_name or not can_compare(table.by_name[one.dimension]):
            raise QuestionFault("where", f"{one.dimension} cannot be compared")
    sortable = [*question.metrics, *question.dimensions]
    for order in question.order:
        if order.by not in sortable:
            raise QuestionFault("order", f"{order.by!r} is not part of the question: {', '.join(sortable)}")
    return table, metrics, dimensions


def _check_raw(question: Question) -> None:
    if question.metrics or question.bucket or question.others:
        raise QuestionFault("metrics", f"raw rows ({ALL_COLUMNS}) have neither metrics, nor bucket, nor others")
    if not 1 <= question.limit <= MAX_RAW_ROWS:
        raise QuestionFault("limit", f"from 1 to {MAX_RAW_ROWS}")
    if any(one.by != "time" for one in question.order):
        raise QuestionFault("order", "raw rows can be sorted by time")


def _metrics(question: Question) -> tuple[Metric, ...]:
    there = METRICS[question.table]
    for name in question.metrics:
        if name not in there:
            raise QuestionFault("metrics", f"{question.table} have no metric {name!r}{nearest(name, list(there))}")
    _check_once("metrics", question.metrics, MAX_METRICS)
    return tuple(there[name] for name in question.metrics)


def _dimensions(question: Question, table: Table) -> tuple[Column, ...]:
    found = []
    for name in question.dimensions:
        try:
            column = find_dimension(table, name)
        except ValueError as exc:
            raise QuestionFault("dimensions", str(exc)) from None
        if not can_group(column):
            raise QuestionFault("dimensions", f"rows cannot be grouped by {name}")
        found.append(column)
    _check_once("dimensions", [column.name for column in found], MAX_DIMENSIONS)
    return tuple(found)


def _check_once(part: str, names: Sequence[str], most: int) -> None:
    if len(set(names)) < len(names):
        raise QuestionFault(part, "each once at most")
    if len(names) > most:
        raise QuestionFault(part, f"{most} at most")


def _check_bucket(question: Question) -> None:
    bucket = question.bucket
    if bucket is None:
        return
    if bucket not in CALENDAR and not (isinstance(bucket, int) and bucket >= 1):
        raise QuestionFault("bucket", f"a number of seconds, or one of {', '.join(CALENDAR)}")
    starts = len(bucket_starts(question.since, question.until, bucket))
    most = question.limit if question.dimensions else 1
    if starts * most > MAX_POINTS:
        raise QuestionFault("bucket", f"{starts} buckets of {most} groups are more than {MAX_POINTS} values")


def _parts(
    question: Question, table: Table, metrics: Sequence[Metric], dimensions: Sequence[Column], reach: DataRange
) -> tuple[tuple[TimeSlice, ...], str]:
    since, until = round(question.since * 1e6), round(question.until * 1e6)
    whole = (TimeSlice(table, since, until),)
    if table.name != "events":
        return whole, ""
    is_cut = question.since < reach.events_from
    if not is_cut and question.until - question.since <= LONG_S:
        return whole, ""
    if missing := next(_not_rolled(question, metrics, dimensions), ""):
        if not is_cut:
            return whole, ""
        begin = datetime.fromtimestamp(reach.events_from, UTC)
        return whole, f"before {begin:%Y-%m-%d %H:%M} only sums of minutes are kept, which do not have {missing}"
    first = since // MINUTE_US * MINUTE_US if is_cut else -(-since // MINUTE_US) * MINUTE_US
    # Without rows after the end, its whole minute is as good as the part before it.
    end = until if round(reach.as_of * 1e6) >= until else -(-until // MINUTE_US) * MINUTE_US
    last = min(end, round(reach.minutes_until * 1e6)) // MINUTE_US * MINUTE_US
    if last <= first:
        return whole, ""
    parts = (TimeSlice(table, since, first), TimeSlice(MINUTES, first, last), TimeSlice(table, last, until))
    return tuple(part for part in parts if part.since_us < part.until_us), ""


def _not_rolled(question: Question, metrics: Sequence[Metric], dimensions: Sequence[Column]) -> Iterator[str]:
    """Yield the parts of a question that roll-ups cannot answer."""
    there = MINUTES.by_name
    if isinstance(question.bucket, int) and question.bucket % MINUTE_S:
        yield f"buckets of {question.bucket} seconds"
    yield from (column.name for column in dimensions if column.name not in there)
    yield from (metric.name for metric in metrics if metric.kind is MetricKind.DISTINCT)
    for one in compared(question.where):
        if one.dimension not in there or there[one.dimension].role is not Role.DIMENSION:
            yield one.dimension
    if question.is_raw:
        yield "single records"
