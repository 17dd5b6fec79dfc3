"""The numbered records of a worker that the supervisor has not taken or not journaled yet."""

from collections import deque
from collections.abc import Iterable
from random import randrange
from typing import NamedTuple, Self

from spectrum.core.records.backlog import Backlog, Queued
from spectrum.link.channel import MAX_WAITING_BYTES
from spectrum.link.takeover import Events

# Of one message. A batch may exceed it, so messages have at most this and a batch.
EVENT_BYTES = 64 * 1024


class _Waiting(NamedTuple):
    """A batch, the number of its first record, and whether a former supervisor had it but may not have journaled it."""

    first: int
    records: int
    lines: bytes
    has_sums: bool
    again: bool = False

    @property
    def end(self) -> int:
        """The number after its last record."""
        return self.first + self.records

    def keeping(self, records: int, lines: bytes) -> Self:
        """Return it with so many of its records, which have the last of its numbers."""
        return self._replace(first=self.end - records, records=records, lines=lines)

    def fits_behind(self, last: "_Waiting") -> bool:
        """Whether it goes into one message with the batch before it.

        Where records in between were omitted those before them may have their numbers, but if they were sent before.
        """
        return self.again == last.again and (self.first == last.end or not self.again)


def _waiting(message: Events, again: bool) -> _Waiting:
    return _Waiting(message.first, message.count, message.lines, message.has_sums, again)


class Outbox:
    """Numbers records from 1 in their order, and keeps them until they are sent.

    A number is used once, also where the record is omitted: who takes records sees from a gap how many are missing.
    Where the supervisor has a journal, what is sent is kept until it tells that it is there, up to `MAX_WAITING_BYTES`.
    Beyond as much that waits to be sent, records are sampled (`Backlog`), but not what a former supervisor may have
    journaled.

    Args:
        source: Who makes the records, as the supervisor is told. No other worker has or had the same.

    Attributes:
        has_journal: Whether the supervisor has one.
    """

    def __init__(self, source: str) -> None:
        self.has_journal = False
        self._source = source
        self._next = 1
        self._backlog: Backlog[_Waiting] = Backlog(MAX_WAITING_BYTES, randrange)
        self._omitted_told = 0
        self._sent: deque[Events] = deque()
        self._sent_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._backlog)

    @property
    def size(self) -> int:
        """Bytes that wait to be sent."""
        return self._backlog.size

    def add(self, count: int, lines: bytes, has_sums: bool = True) -> None:
        """Add a batch: the number of its records, a line for each, and whether any may be a sum of several sessions."""
        self._backlog.add(_Waiting(self._next, count, lines, has_sums))
        self._next += count

    def take(self) -> Events:
        """Return the first batches that fit a message; there is at least one. `done` removes them."""
        batches: list[_Waiting] = []
        size = 0
        for batch in self._backlog:
            size += len(batch.lines)
            if batches and (size > EVENT_BYTES or not batch.fits_behind(batches[-1])):
                break
            batches.append(batch)
        records = sum(batch.records for batch in batches)
        lines = b"".join([batch.lines for batch in batches])
        has_sums = any(batch.has_sums for batch in batches)
        return Events(records, lines, self._source, batches[-1].end - records, batches[0].again, has_sums)

    def done(self, message: Events) -> None:
        """Note that a message was sent."""
        end = message.first + message.count
        while (first := self._backlog.first) is not None and first.first < end:
            self._backlog.pop()
        if self.has_journal:
            self._sent.append(message)
            self._sent_bytes += len(message.lines)
            while self._sent_bytes > MAX_WAITING_BYTES:
                self._forget_sent()

    def kept(self, end: int) -> None:
        """Forget what was sent and is journaled: all before the record with this number."""
        while self._sent and self._sent[0].first + self._sent[0].count <= end:
            self._forget_sent()

    def _forget_sent(self) -> None:
        self._sent_bytes -= len(self._sent.popleft().lines)

    def put_back(self, unsent: Iterable[Events]) -> None:
        """Keep what the former supervisor may not have journaled, in front of what was added since.

        Args:
            unsent: Messages that were taken, and did not leave this process.
        """
        back = {message.first: _waiting(message, True) for message in self._sent}
        for message in unsent:
            back[message.first] = _waiting(message, message.again)
        self._sent.clear()
        self._sent_bytes = 0
        for first in sorted(back, reverse=True):
            self._backlog.put_back(Queued(back[first], back[first].again))

    def take_omitted(self) -> int:
        """Return for how many records more than at the last call others stand."""
        omitted = self._backlog.omitted - self._omitted_told
        self._omitted_told = self._backlog.omitted
        return omitted
