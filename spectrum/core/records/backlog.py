"""Batches of waiting records, within a limit: beyond it one record in N is kept, and stands for N."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from spectrum.core.records.sampling import RandomSampler


class Batched(Protocol):
    """Numbered records that follow one another."""

    @property
    def records(self) -> int:
        """The number of records."""
        ...

    @property
    def lines(self) -> bytes:
        """A JSON object for each."""
        ...

    def keeping(self, records: int, lines: bytes) -> Self:
        """Return the batch with its last records only, of this number; it keeps its last numbers."""
        ...


B = TypeVar("B", bound=Batched)


class Queued(NamedTuple, Generic[B]):
    """A waiting batch, and whether it must stay complete."""

    batch: B
    is_whole: bool


class Backlog(Generic[B]):
    """Batches in order, which wait to be taken.

    When they exceed the limit, N doubles: of new records one in N is kept, and of waiting ones one in two. The latter
    are halved from the first batch on, as room is needed, so that no call takes long. Once nothing waits, all records
    are kept again. A halved batch keeps its last numbers: a confirmation of all records up to a number is right,
    whether or not they were halved meanwhile.

    Args:
        most_bytes: The limit of the lines of batches that may be halved.
        chance: Chooses records: see `RandomSampler`.

    Attributes:
        size: Bytes of all lines.
        whole_size: Bytes of the batches that stay complete. Their limit is the caller's.
        omitted: The number of records that others stand for.
    """

    def __init__(self, most_bytes: int, chance: Callable[[int], int]) -> None:
        self.size = self.whole_size = self.omitted = 0
        self._most_bytes = most_bytes
        self._chance = chance
        self._sampling = RandomSampler(1, chance)
        self._halving = RandomSampler(2, chance)
        # The first batches, which were halved since N doubled; the others, and how many of them are still to be halved.
        self._halved: deque[Queued[B]] = deque()
        self._others: deque[Queued[B]] = deque()
        self._to_halve = 0

    def __bool__(self) -> bool:
        return bool(self._halved or self._others)

    def __iter__(self) -> Iterator[B]:
        return (entry.batch for entry in chain(self._halved, self._others))

    @property
    def first(self) -> B | None:
        """The first batch; None if nothing waits."""
        return next(iter(self), None)

    @property
    def one_in(self) -> int:
        """The N of one new record in N that is kept."""
        return self._sampling.n

    def add(self, batch: B, is_whole: bool = False) -> None:
        """Append a batch; a whole one stays complete."""
        if is_whole or self._sampling.n == 1:
            self._append(Queued(batch, is_whole), self._others)
        else:
            self._keep_some(batch, self._sampling, self._others)
        while self.size - self.whole_size > self._most_bytes:
            self._halve_next()

    def put_back(self, entry: Queued[B]) -> None:
        """Insert a batch at the front."""
        self._halved.appendleft(entry)
        self._count(entry, 1)

    def pop(self) -> Queued[B]:
        """Remove and return the first batch."""
        if self._halved:
            entry = self._halved.popleft()
        else:
            entry = self._others.popleft()
            self._to_halve = max(self._to_halve - 1, 0)
        self._count(entry, -1)
        if not self and self._sampling.n > 1:
            self._sampling = RandomSampler(1, self._chance)
        return entry

    def _halve_next(self) -> None:
        if not self._to_halve:
            self._others.extendleft(reversed(self._halved))
            self._halved.clear()
            self._to_halve = len(self._others)
            self._sampling = RandomSampler(self._sampling.n * 2, self._chance)
            self._halving = RandomSampler(2, self._chance)
        self._to_halve -= 1
        entry = self._others.popleft()
        if entry.is_whole:
            self._halved.append(entry)
        else:
            self._count(entry, -1)
            self._keep_some(entry.batch, self._halving, self._halved)

    def _keep_some(self, batch: B, sampling: RandomSampler, entries: deque[Queued[B]]) -> None:
        kept, lines = sampling.sample(batch.lines)
        self.omitted += batch.records - kept
        if kept:
            self._append(Queued(batch.keeping(kept, lines), False), entries)

    def _append(self, entry: Queued[B], entries: deque[Queued[B]]) -> None:
        entries.append(entry)
        self._count(entry, 1)

    def _count(self, entry: Queued[B], sign: int) -> None:
        size = sign * len(entry.batch.lines)
        self.size += size
        if entry.is_whole:
            self.whole_size += size
