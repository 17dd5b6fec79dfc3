"""What a store of analytics does, whichever it is. Its methods block, and may be called from any thread."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spectrum.analytics.cancellation import Cancellation
from spectrum.core.analytics.question import Question, ResultTable
from spectrum.core.records.journal import Batch, Cursor


class AnalyticsError(Exception):
    """The store cannot be had, or not now.

    Attributes:
        reason: In one word, for metrics: full, locked, corrupt, unreachable, other.
    """

    def __init__(self, message: str, reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason


class QuestionTooLarge(AnalyticsError):
    """The answer would take longer, or more memory, than a question may."""


class StoreProgress(NamedTuple):
    """How far a store has come.

    Attributes:
        cursor: The place in the journal behind what it has; None where it has nothing.
        next: By source, the number of the record after the last one that it has.
    """

    cursor: Cursor | None
    next: Mapping[str, int]


class Taken(NamedTuple):
    """What became of batches.

    Attributes:
        rows: How many records are new, and kept now.
        repeated: How many were there already.
        unreadable: How many are none that this version knows, and were left out.
        missing: How many numbers of their sources were skipped: lost on the way.
    """

    rows: int
    repeated: int
    unreadable: int
    missing: int


class Tidied(NamedTuple):
    """What a step of upkeep did.

    Attributes:
        rolled_up: Rows of `events` that were added to `minutes`.
        dropped: Rows that were dropped for their age, or for room.
        size: Bytes that the store takes; 0 for a server.
        more: Whether there is more to do now.
    """

    rolled_up: int
    dropped: int
    size: int
    more: bool


class KeptSpan(NamedTuple):
    """From when a store has what, in seconds since 1970; None where it has nothing.

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
        """Open it, and make the tables that are missing.

        Raises:
            AnalyticsError: If it cannot be had; says why.
        """

    def progress(self) -> StoreProgress:
        """Return how far it has come."""

    def take(self, batches: Sequence[Batch], cursor: Cursor) -> Taken:
        """Keep records, and that all before `cursor` is kept: all or nothing.

        Raises:
            AnalyticsError: If it cannot, and may be asked again; nothing of it was kept.
        """

    def take_packets(self, packets: Sequence[PacketSample]) -> None:
        """Keep samples of packets."""

    def ask(self, question: Question, timeout_s: float, cancellation: Cancellation) -> ResultTable:
        """Return the answer to a question.

        Raises:
            QuestionFault: If it makes no sense.
            QuestionTooLarge: If it takes longer, or more memory, than it may; or is cancelled.
            AnalyticsError: If the store cannot answer now.
        """

    def tidy(self, now: float) -> Tidied:
        """Do one step of upkeep: roll up, drop what is too old or too much."""

    def extent(self) -> KeptSpan:
        """Return from when it has what."""

    def close(self) -> None:
        """Close it."""
