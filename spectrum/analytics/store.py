"""The interface of analytics stores. Methods block, and may be called from any thread."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spectrum.analytics.cancellation import Cancellation
from spectrum.core.analytics.question import Question, ResultTable
from spectrum.core.records.journal import Batch, Cursor

# Rows of `events` that the embedded store writes in columns at once, compressed, and not to its write-ahead log first;
# a multiple of DuckDB's 2,048.
STORED_TOGETHER = 16_384


class AnalyticsError(Exception):
    """The store cannot be used, or not now.

    Attributes:
        reason: In one word, for metrics: full, locked, corrupt, unreachable, other.
    """

    def __init__(self, message: str, reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason


class QuestionTooLarge(AnalyticsError):
    """The answer would need more time or memory than a question may use."""


class StoreProgress(NamedTuple):
    """The progress of a store.

    Attributes:
        cursor: The place in the journal up to which it has records; None if it is empty.
        next: By source, the number of the record after the last one that it has.
    """

    cursor: Cursor | None
    next: Mapping[str, int]


class Taken(NamedTuple):
    """The outcome of `take`.

    Attributes:
        rows: Number of new records, which are stored now.
        repeated: Number of records that were stored already.
        unreadable: Number of records that this version cannot decode.
        missing: Number of missing records by their sources' numbers.
    """

    rows: int
    repeated: int
    unreadable: int
    missing: int


class UpkeepResult(NamedTuple):
    """The outcome of a step of upkeep.

    Attributes:
        rolled_up: Rows of `events` that were added to `minutes`.
        dropped: Rows that were dropped because of age or size.
        size: Bytes that the store takes; 0 for a server.
        more: Whether there is more to do now.
    """

    rolled_up: int
    dropped: int
    size: int
    more: bool


class KeptSpan(NamedTuple):
    """Since when a store has data, in seconds since 1970; None if it is empty.

    Attributes:
        events_from: The oldest record of `events`.
        minutes_from: The oldest minute of `minutes`.
        newest: The newest record.
    """

    events_from: float | None
    minutes_from: float | None
    newest: float | None


class PacketSample(NamedTuple):
    """A sampled packet: the values of the table `packets`, in the order of its columns."""

    values: tuple[Any, ...]


class AnalyticsStore(Protocol):
    """A store. `take` and `tidy` are called from one thread, questions from several."""

    def open(self) -> None:
        """Open it, and create missing tables.

        Raises:
            AnalyticsError: If that fails; says why.
        """

    def progress(self) -> StoreProgress:
        """Return its progress."""

    def take(self, batches: Sequence[Batch], cursor: Cursor) -> Taken:
        """Store records, and that all before `cursor` are stored: all or nothing.

        Raises:
            AnalyticsError: If that fails; nothing was stored, and the call may be repeated.
        """

    def take_packets(self, packets: Sequence[PacketSample]) -> None:
        """Store samples of packets."""

    def ask(self, question: Question, timeout_s: float, cancellation: Cancellation) -> ResultTable:
        """Return the answer to a question.

        Raises:
            QuestionFault: If it is invalid.
            QuestionTooLarge: If it takes longer, or more memory, than it may; or is cancelled.
            AnalyticsError: If the store cannot answer now.
        """

    def tidy(self, now: float) -> UpkeepResult:
        """Do one step of upkeep: roll up, or drop the oldest data."""

    def extent(self) -> KeptSpan:
        """Return since when the store has data."""

    def close(self) -> None:
        """Close it."""
