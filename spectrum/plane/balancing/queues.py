"""Queues of sessions that wait because every origin that they could go to is full, first come, first served."""

import time
from typing import NamedTuple

# Interval at which the first in a queue looks for an origin, as sessions of other workers may have ended; when one of
# this worker ends, it looks at once.
LOOK_MS = 50


class Waiter(NamedTuple):
    """A waiting session.

    Attributes:
        since: When it began to wait (monotonic seconds).
        until: When it is refused.
    """

    since: float
    until: float


class OriginQueues:
    """A queue for each load balancer, and each app with origins of its own, that has waiting sessions.

    Queues are known by names (`RunningApp.queue`), sessions by the engine's.

    Attributes:
        waiting: The waiting sessions, and their queues.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[int, Waiter]] = {}
        self.waiting: dict[int, str] = {}

    def length(self, queue: str) -> int:
        """Return the length of a queue."""
        return len(self._queues.get(queue, ()))

    def join(self, queue: str, name: int, waiting: Waiter) -> None:
        """Append a session to a queue."""
        self._queues.setdefault(queue, {})[name] = waiting
        self.waiting[name] = queue

    def leave(self, name: int) -> float | None:
        """Remove a session; return the seconds that it waited, None if it did not."""
        queue = self.waiting.pop(name, None)
        if queue is None:
            return None
        waiters = self._queues[queue]
        waiting = waiters.pop(name)
        if not waiters:
            del self._queues[queue]
        return time.monotonic() - waiting.since

    def first(self, queue: str) -> tuple[int, Waiter] | None:
        """Return the session that has waited longest; None without any."""
        waiters = self._queues.get(queue)
        return next(iter(waiters.items())) if waiters else None

    def firsts(self) -> list[int]:
        """Return the first session of each queue."""
        return [next(iter(waiters)) for waiters in self._queues.values()]
