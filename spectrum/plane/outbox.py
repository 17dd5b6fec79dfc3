"""The numbered records of a worker that the supervisor has not taken or not journaled yet."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

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


def _waiting(message: Events, again: bool) -> _Waiting:
    return _Waiting(message.first, message.count, message.lines, message.has_sums, again)


class Outbox:
    """Numbers records from 1 in their order, and keeps them until they are sent.

    A number is used once, also where the record is dropped: who takes records sees from a gap how many are missing.
    Where the supervisor has a journal, what is sent is kept until it tells that it is there, up to `MAX_WAITING_BYTES`.

    Args:
        source: Who makes the records, as the supervisor is told. No other worker has or had the same.

    Attributes:
        has_journal: Whether the supervisor has one.
        size: Bytes that wait.
        dropped: Records that nobody could take.
    """

    def __init__(self, source: str) -> None:
        self.has_journal = False
        self.size = self.dropped = 0
        self._source = source
        self._next = 1
        self._waiting: deque[_Waiting] = deque()
        self._sent: deque[Events] = deque()
        self._sent_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, count: int, lines: bytes, has_sums: bool = True) -> None:
        """Add a batch: the number of its records, a line for each, and whether any may be a sum of several sessions."""
        self._waiting.append(_Waiting(self._next, count, lines, has_sums))
        self._next += count
        self.size += len(lines)

    def take(self) -> Events:
        """Return the first batches that fit a message; there is at least one. `done` removes them."""
        first = last = self._waiting[0]
        lines: list[bytes] = []
        size = 0
        has_sums = False
        for batch in self._waiting:
            size += len(batch.lines)
            if lines and (size > EVENT_BYTES or batch.first != last.first + last.records or batch.again != last.again):
                break
            lines.append(batch.lines)
            has_sums |= batch.has_sums
            last = batch
        records = last.first + last.records - first.first
        return Events(records, b"".join(lines), self._source, first.first, first.again, has_sums)

    def done(self, message: Events, sent: bool) -> None:
        """Forget the batches of a message, which was sent or is dropped."""
        end = message.first + message.count
        while self._waiting and message.first <= self._waiting[0].first < end:
            self._waiting.popleft()
        self.size -= len(message.lines)
        if not sent:
            self.dropped += message.count
        elif self.has_journal:
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
        batches = [back[first] for first in sorted(back)]
        self._waiting.extendleft(reversed(batches))
        self.size += sum(len(batch.lines) for batch in batches)

    def take_dropped(self) -> int:
        """Return how many were dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped
