"""Drains of origins or apps that are taken out of service: their sessions are ended spread over time.

A thousand clients that are cut off at once come back at once (scylla-operator#1171); hence a window, at the end of the
time that sessions have.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

# Sessions of an origin are ended within these last seconds of the drain, or within as many seconds if it is shorter.
SPREAD_S = 10.0


@dataclass(slots=True)
class _Drain:
    opens_at: float
    closes_at: float
    find: Callable[[], list[int]]
    # The sessions to be ended, in reverse order; None before the window begins.
    names: list[int] | None = None
    first_count: int = field(default=0)


class Drains:
    """The drains of one transport's sessions.

    Args:
        end: Ends a session, by the key of its drain and its name.
    """

    def __init__(self, end: Callable[[tuple[str, int], int], None]) -> None:
        self._end = end
        self._drains: dict[tuple[str, int], _Drain] = {}

    def begin(
        self,
        key: tuple[str, int],
        find: Callable[[], list[int]],
        drain_s: float,
        now: float,
        spread_s: float = SPREAD_S,
    ) -> None:
        """End sessions within `drain_s` from now, or a little later if that is short.

        Args:
            key: The load balancer and the origin's number; `cancel` takes it.
            find: Returns the names of the sessions, when asked.
            drain_s: What the file gives them.
            now: Monotonic seconds.
            spread_s: How long before the end the first of them ends.
        """
        opens_at = now + max(0.0, drain_s - spread_s)
        self._drains[key] = _Drain(opens_at, max(now + drain_s, opens_at + spread_s), find)

    def cancel(self, keep: Callable[[tuple[str, int]], bool]) -> None:
        """Forget the drains that are not to be kept: their origins serve again."""
        self._drains = {key: drain for key, drain in self._drains.items() if keep(key)}

    def tick(self, now: float) -> None:
        """End the sessions that are due; called several times a second while `pending`."""
        for key, drain in list(self._drains.items()):
            if now < drain.opens_at:
                continue
            if drain.names is None:
                drain.names = drain.find()
                drain.first_count = len(drain.names)
            window_s = drain.closes_at - drain.opens_at
            left = 1 - (now - drain.opens_at) / window_s if window_s else 0.0
            while len(drain.names) > max(0, round(drain.first_count * left)):
                self._end(key, drain.names.pop())
            if now >= drain.closes_at:
                # Those that began since the window did, by affinity.
                for name in drain.find():
                    self._end(key, name)
                del self._drains[key]

    @property
    def pending(self) -> bool:
        """Whether there are sessions to end, now or later."""
        return bool(self._drains)
