"""What can be asked of what happened, and what an answer has; no SQL, no store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Value = str | int | float
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "not_like", "prefix", "not_prefix"]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=", "like", "not_like", "prefix", "not_prefix")
# Those that say what is not wanted: several values are "none of these".
NEGATIVE: frozenset[Operator] = frozenset({"!=", "not_like", "not_prefix"})
# Lengths of time that no number of seconds is.
Calendar = Literal["week", "month", "quarter", "year"]
CALENDAR: tuple[Calendar, ...] = ("week", "month", "quarter", "year")
Bucket = int | Calendar
# Cloudflare's names for lengths of time.
TIME_DELTAS: Mapping[str, Bucket] = {
    "minute": 60,
    "dekaminute": 600,
    "hour": 3600,
    "day": 86400,
    "week": "week",
    "month": "month",
    "quarter": "quarter",
    "year": "year",
}
# Of the rows of one answer, and the buckets of one group in it.
MAX_ROWS = 10_000
MAX_BUCKETS = 10_000
# Rows of a table as they are, with all that they have.
MAX_RAW_ROWS = 1000
ALL_COLUMNS = "*"


class QuestionFault(ValueError):
    """A question that makes no sense; the message says what would.

    Attributes:
        part: Which part of it: the name of an attribute of `Question`.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Compare:
    """A dimension compared with values.

    Attributes:
        dimension: Its name in the table.
        operator: How. `like` has `%` for any text, `prefix` means addresses in a prefix.
        values: Any of them may fit; with operators that say what is not wanted, none may.
    """

    dimension: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """What fits all of several conditions."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What fits any of several conditions."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """What does not fit a condition."""

    condition: "Condition"


Condition = Compare | AllOf | AnyOf | Not


def compared(condition: Condition | None) -> Iterator[Compare]:
    """Yield the comparisons in a condition."""
    match condition:
        case Compare():
            yield condition
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from compared(part)
        case Not(part):
            yield from compared(part)


@dataclass(frozen=True, slots=True)
class Sorting:
    """By what rows are sorted: a metric, a dimension, or `time`."""

    by: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Visible:
    """Whose rows may be looked at. A row that names none of these is not theirs.

    Attributes:
        names: By the column (`app`, `pool`, `load_balancer`) the names, and of each since when it is theirs, in seconds
            since 1970: a name may have been another's before.
    """

    names: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        table: Of `core.analytics.columns`.
        metrics: What is computed; none, with the dimension `*`, for rows as they are.
        dimensions: What rows are grouped by.
        since: Begin of the time, in seconds since 1970; included.
        until: Its end; not included.
        where: Which rows count; None: all.
        bucket: Each group is told by times of this length, too: in seconds, or of the calendar in UTC.
        order: How groups are sorted; by the first metric, highest first, where it says nothing.
        limit: So many groups.
        others: What is in no group within the limit is one more group.
        visible: Whose rows; None: everybody's.
        groups: These groups, by their dimensions, and no others.
    """

    table: str
    metrics: tuple[str, ...]
    dimensions: tuple[str, ...]
    since: float
    until: float
    where: Condition | None = None
    bucket: Bucket | None = None
    order: tuple[Sorting, ...] = ()
    limit: int = 100
    others: bool = False
    visible: Visible | None = None
    groups: tuple[tuple[Value, ...], ...] | None = None

    @property
    def is_raw(self) -> bool:
        """Whether it asks for rows as they are."""
        return self.dimensions == (ALL_COLUMNS,)


Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ResultTable:
    """An answer.

    Attributes:
        columns: Of rows: `time` where there are buckets, dimensions, metrics.
        rows: The groups in their order, with buckets each in the order of time. Dimensions are None in what is others.
        totals: Of each metric over all that was asked for.
        minima: Of each metric the lowest of any group, those beyond the limit included.
        maxima: The highest.
        groups: How many groups there are.
        rows_read: How many rows of the table there are in the time; 0 where nobody counted.
        as_of: The time of the newest row in the store; 0 without any.
        partial: Why the answer does not have everything; empty where it does.
    """

    columns: tuple[str, ...]
    rows: Sequence[Row]
    totals: Mapping[str, float]
    minima: Mapping[str, float]
    maxima: Mapping[str, float]
    groups: int = 0
    rows_read: int = 0
    as_of: float = 0.0
    partial: str = ""


def bucket_start(at: float, bucket: Bucket) -> int:
    """Return when the bucket begins that a time is in."""
    if isinstance(bucket, int):
        return int(at // bucket) * bucket
    day = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match bucket:
        case "week":
            day -= timedelta(days=day.weekday())
        case "month":
            day = day.replace(day=1)
        case "quarter":
            day = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case "year":
            day = day.replace(day=1, month=1)
    return int(day.timestamp())


# More than the longest of each, and less than two of the shortest.
_BEYOND = {"week": 8, "month": 32, "quarter": 93, "year": 367}


def bucket_starts(since: float, until: float, bucket: Bucket) -> list[int]:
    """Return when each bucket of a range begins, the first maybe before it.

    Raises:
        QuestionFault: If there are too many.
    """
    step = bucket if isinstance(bucket, int) else 86400 * (_BEYOND[bucket] - 1)
    if (until - since) / step > MAX_BUCKETS:
        raise QuestionFault("bucket", f"more than {MAX_BUCKETS} buckets: take longer ones, or a shorter time")
    starts = []
    start = bucket_start(since, bucket)
    while start < until:
        starts.append(start)
        start = next_bucket(start, bucket)
    return starts


def next_bucket(start: int, bucket: Bucket) -> int:
    """Return when the bucket after one begins."""
    return start + bucket if isinstance(bucket, int) else bucket_start(start + 86400 * _BEYOND[bucket], bucket)
