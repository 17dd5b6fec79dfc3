"""Drains of origins or apps that are taken out of service: their sessions are ended spread over time.

A thousand clients that are disconnected at once reconnect at once (scylla-operator#1171); hence a window at the end of
the drain.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

# Sessions are ended within these last seconds of a drain, or within as many seconds if it is shorter.
SPREAD_S = 10.0


@dataclass(slots=True)
class _Drain:
    opens_at: float
    closes_at: float
    find: Callable[[], list[int]]
    # The sessions to end, in reverse order; None before the window begins.
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
            key: The load balancer and the origin's number, for `cancel`.
            find: Returns the names of the sessions.
            drain_s: The drain time of the file.
            now: Monotonic seconds.
            spread_s: Length of the window in which they end.
        """
        opens_at = now + max(0.0, drain_s - spread_s)
        self._drains[key] = _Drain(opens_at, max(now + drain_s, opens_at + spread_s), find)

    def cancel(self, keep: Callable[[tuple[str, int]], bool]) -> None:
        """Cancel the drains that are not to be kept: their origins serve again."""
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
                # Sessions that began after the window did, by affinity.
                for name in drain.find():
                    self._end(key, name)
                del self._drains[key]

    @property
    def pending(self) -> bool:
        """Whether sessions remain to be ended, now or later."""
        return bool(self._drains)
