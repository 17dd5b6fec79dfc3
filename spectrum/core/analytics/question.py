"""Questions and answers of analytics, independent of SQL and stores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Value = str | int | float
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "not_like", "prefix", "not_prefix"]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=", "like", "not_like", "prefix", "not_prefix")
# Negative operators: several values mean "none of these".
NEGATIVE: frozenset[Operator] = frozenset({"!=", "not_like", "not_prefix"})
# Bucket lengths of the calendar, which are not a fixed number of seconds.
Calendar = Literal["week", "month", "quarter", "year"]
CALENDAR: tuple[Calendar, ...] = ("week", "month", "quarter", "year")
Bucket = int | Calendar
# Cloudflare's names of bucket lengths.
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
# Maximum number of rows of an answer, and of buckets of a group.
MAX_ROWS = 10_000
MAX_BUCKETS = 10_000
# The dimension for raw rows of a table, with all columns.
MAX_RAW_ROWS = 1000
ALL_COLUMNS = "*"


class QuestionFault(ValueError):
    """An invalid question; the message says what is valid.

    Attributes:
        part: The faulty part: the name of an attribute of `Question`.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Compare:
    """A dimension compared with values.

    Attributes:
        dimension: Its name in the table.
        operator: The operator. `like` has `%` for any text, `prefix` means addresses in a prefix.
        values: One of them must match; with negative operators none may.
    """

    dimension: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches if all of several conditions do."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches if any of several conditions does."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Matches if a condition does not."""

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
    """The sort key of rows: a metric, a dimension, or `time`."""

    by: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Visible:
    """The rows that a reader may see. A row with none of these names is hidden.

    Attributes:
        names: By column (`app`, `pool`, `load_balancer`) the names, each with the time since when the reader owns it,
            in seconds since 1970: a name may have had another owner before.
    """

    names: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        table: Of `core.analytics.columns`.
        metrics: The metrics; none, with the dimension `*`, for raw rows.
        dimensions: The dimensions to group by.
        since: Begin of the period, in seconds since 1970; included.
        until: Its end; not included.
        where: The filter; None for all rows.
        bucket: Length of the time buckets of each group: in seconds, or of the calendar in UTC.
        order: How groups are sorted; by default by the first metric, highest first.
        limit: The maximum number of groups.
        others: Whether the rest beyond the limit is one more group.
        visible: The rows that the reader may see; None for all.
        groups: If given, only these groups, by their dimensions.
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
        """Whether it requests raw rows."""
        return self.dimensions == (ALL_COLUMNS,)


Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ResultTable:
    """An answer.

    Attributes:
        columns: The columns: `time` if there are buckets, dimensions, metrics.
        rows: The groups in their order, with buckets in order of time. Dimensions are None for "others".
        totals: Each metric over all matching rows.
        minima: For each metric the lowest value of any group, including those beyond the limit.
        maxima: The highest value.
        groups: The number of groups.
        rows_read: The number of rows of the table in the period; 0 if not counted.
        as_of: The time of the newest row in the store; 0 without any.
        partial: Why the answer is incomplete; empty if it is complete.
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
    """Return the start of the bucket that contains a time."""
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


# Longer than the longest of each, and shorter than two of the shortest.
_BEYOND = {"week": 8, "month": 32, "quarter": 93, "year": 367}


def bucket_starts(since: float, until: float, bucket: Bucket) -> list[int]:
    """Return the start of each bucket of a range; the first may be before it.

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
    """Return the start of the next bucket."""
    return start + bucket if isinstance(bucket, int) else bucket_start(start + 86400 * _BEYOND[bucket], bucket)
