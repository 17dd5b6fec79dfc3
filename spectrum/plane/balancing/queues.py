"""Sessions of a worker that wait because every origin of their load balancer is full, first come, first served."""

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
    """A queue for each load balancer that has any session waiting.

    Sessions are known by the engine's names.

    Attributes:
        waiting: Those that wait, and what for: the load balancer.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[int, Waiter]] = {}
        self.waiting: dict[int, str] = {}

    def length(self, balancer: str) -> int:
        """Return how many wait for a load balancer."""
        return len(self._queues.get(balancer, ()))

    def join(self, balancer: str, name: int, waiting: Waiter) -> None:
        """Let a session wait behind those that do."""
        self._queues.setdefault(balancer, {})[name] = waiting
        self.waiting[name] = balancer

    def leave(self, name: int) -> float | None:
        """Forget a session; return the seconds that it waited, None if it did not."""
        balancer = self.waiting.pop(name, None)
        if balancer is None:
            return None
        queue = self._queues[balancer]
        waiting = queue.pop(name)
        if not queue:
            del self._queues[balancer]
        return time.monotonic() - waiting.since

    def first(self, balancer: str) -> tuple[int, Waiter] | None:
        """Return the session that has waited longest; None where none waits."""
        queue = self._queues.get(balancer)
        return next(iter(queue.items())) if queue else None

    def firsts(self) -> list[int]:
        """Return the first session of each queue."""
        return [next(iter(queue)) for queue in self._queues.values()]
