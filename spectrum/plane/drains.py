"""Sessions of origins that are taken out of service, ended spread over time.

A thousand clients that are cut off at once come back at once (scylla-operator#1171); hence a window, at the end of the
time that sessions have.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from spectrum.engine.target import Target

# Sessions end within the last so many seconds of their time, or within the first where they have less.
SPREAD_S = 10.0


@dataclass(slots=True)
class _Drain:
    opens_at: float
    closes_at: float
    targets: Callable[[], Collection[Target]]
    # What is to be ended, the last one first; None before the window opens.
    names: list[int] | None = None
    first_count: int = field(default=0)


class Drains:
    """The drains of one transport's sessions.

    Args:
        sessions: Returns the names of the sessions at some targets.
        end: Ends one of them.
    """

    def __init__(self, sessions: Callable[[Collection[Target]], list[int]], end: Callable[[int], None]) -> None:
        self._sessions = sessions
        self._end = end
        self._drains: dict[tuple[str, int], _Drain] = {}

    def begin(
        self, key: tuple[str, int], targets: Callable[[], Collection[Target]], drain_s: float, now: float
    ) -> None:
        """Let the sessions at `targets` end by `drain_s` from now, or a little later where that is short.

        Args:
            key: The load balancer and the origin's number; `cancel` takes it.
            targets: Returns the targets, when asked.
            drain_s: What the file gives them.
            now: Monotonic seconds.
        """
        opens_at = now + max(0.0, drain_s - SPREAD_S)
        self._drains[key] = _Drain(opens_at, max(now + drain_s, opens_at + SPREAD_S), targets)

    def cancel(self, keep: Callable[[tuple[str, int]], bool]) -> None:
        """Forget the drains that are not to be kept: their origins serve again."""
        self._drains = {key: drain for key, drain in self._drains.items() if keep(key)}

    def tick(self, now: float) -> None:
        """End what is due. Called several times a second while `pending`."""
        for key, drain in list(self._drains.items()):
            if now < drain.opens_at:
                continue
            if drain.names is None:
                drain.names = self._sessions(drain.targets())
                drain.first_count = len(drain.names)
            elapsed = (now - drain.opens_at) / (drain.closes_at - drain.opens_at)
            left = max(0, round(drain.first_count * (1 - elapsed)))
            while len(drain.names) > left:
                self._end(drain.names.pop())
            if now >= drain.closes_at:
                # Those that came since the window opened, by their affinity.
                for name in self._sessions(drain.targets()):
                    self._end(name)
                del self._drains[key]

    @property
    def pending(self) -> bool:
        """Whether there is anything to end, now or later."""
        return bool(self._drains)
