"""Records of a worker that wait for the supervisor, numbered."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from spectrum.link.takeover import Events

# Of one message. A batch may exceed it, so messages have at most this and a batch.
EVENT_BYTES = 64 * 1024


class _Waiting(NamedTuple):
    """A batch, and the number of its first record."""

    first: int
    records: int
    lines: bytes


class Outbox:
    """Numbers records from 1 as they come, and keeps them until they are sent.

    A number is used once, also where the record is dropped: who takes records sees from a gap how many are missing.

    Args:
        epoch: No other worker has or had the same.

    Attributes:
        source: Who makes the records, as the supervisor is told: the worker's number and its epoch.
        size: Bytes that wait.
        dropped: Records that nobody could take.
    """

    def __init__(self, epoch: str) -> None:
        self.size = self.dropped = 0
        self._epoch = epoch
        self.number(0)
        self._next = 1
        self._waiting: deque[_Waiting] = deque()

    def number(self, worker: int) -> None:
        """Take the number of the worker."""
        self.source = f"{worker}/{self._epoch}"

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, count: int, lines: bytes) -> None:
        """Add a batch: how many records, and one line for each."""
        self._waiting.append(_Waiting(self._next, count, lines))
        self._next += count
        self.size += len(lines)

    def put_back(self, unsent: Iterable[Events]) -> None:
        """Keep messages that were taken, and not sent, in front of what came since."""
        batches = [_Waiting(message.first, message.count, message.lines) for message in unsent]
        self._waiting.extendleft(reversed(batches))
        self.size += sum(len(batch.lines) for batch in batches)

    def take(self) -> Events:
        """Return the first batches that fit a message; there is at least one. `done` removes them."""
        first = last = self._waiting[0]
        lines: list[bytes] = []
        size = 0
        for batch in self._waiting:
            size += len(batch.lines)
            if lines and (size > EVENT_BYTES or batch.first != last.first + last.records):
                break
            lines.append(batch.lines)
            last = batch
        return Events(last.first + last.records - first.first, b"".join(lines), self.source, first.first)

    def done(self, message: Events, sent: bool) -> None:
        """Forget the batches of a message, which was sent or is dropped."""
        end = message.first + message.count
        while self._waiting and message.first <= self._waiting[0].first < end:
            self._waiting.popleft()
        self.size -= len(message.lines)
        if not sent:
            self.dropped += message.count

    def take_dropped(self) -> int:
        """Return how many were dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped
