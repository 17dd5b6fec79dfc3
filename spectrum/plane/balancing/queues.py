"""Sessions of a worker that wait because every origin that they could go to is full, first come, first served."""

import time
from typing import NamedTuple

# The first one in a queue looks for an origin so often, for other workers' sessions that ended; where one of this
# worker has, at once.
LOOK_MS = 50


class Waiter(NamedTuple):
    """One that waits.

    Attributes:
        since: When it came (monotonic seconds).
        until: When it is told that there is none.
    """

    since: float
    until: float


class OriginQueues:
    """A queue for each load balancer, and each app with origins of its own, that has any session waiting.

    Queues are known by names (`RunningApp.queue`), sessions by the engine's.

    Attributes:
        waiting: Those that wait, and in which queue.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[int, Waiter]] = {}
        self.waiting: dict[int, str] = {}

    def length(self, queue: str) -> int:
        """Return how many wait in a queue."""
        return len(self._queues.get(queue, ()))

    def join(self, queue: str, name: int, waiting: Waiter) -> None:
        """Let a session wait behind those that do."""
        self._queues.setdefault(queue, {})[name] = waiting
        self.waiting[name] = queue

    def leave(self, name: int) -> float | None:
        """Forget a session; return the seconds that it waited, None if it did not."""
        queue = self.waiting.pop(name, None)
        if queue is None:
            return None
        waiters = self._queues[queue]
        waiting = waiters.pop(name)
        if not waiters:
            del self._queues[queue]
        return time.monotonic() - waiting.since

    def first(self, queue: str) -> tuple[int, Waiter] | None:
        """Return the session that has waited longest; None where none waits."""
        waiters = self._queues.get(queue)
        return next(iter(waiters.items())) if waiters else None

    def firsts(self) -> list[int]:
        """Return the first session of each queue."""
        return [next(iter(waiters)) for waiters in self._queues.values()]
