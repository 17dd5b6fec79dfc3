"""The remaining sessions of a worker that accepts no new ones; it is notified when they have ended."""

import asyncio
import math
from collections.abc import Callable

from spectrum.core.records.reasons import Reason
from spectrum.plane.processes.planes import Planes

TICK_S = 0.05
# Interval for sessions that may go on for hours.
RELEASED_TICK_S = 0.25
# While draining, a flow that is idle this long has ended.
DRAIN_IDLE_MS = 2000


class LastSessions:
    """Waits for the end of the last session, or for the deadline.

    Args:
        planes: The planes with the sessions.
        over: Called when none is left, or the deadline is reached.
    """

    def __init__(self, planes: Planes, over: Callable[[], object]) -> None:
        self._planes = planes
        self._over = over
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def drain(self, timeout_s: float) -> None:
        """Let sessions end within this number of seconds, or within the time that they had before, if that is less."""
        self._wait(timeout_s, TICK_S)

    def outlast(self, timeout_s: float) -> None:
        """Let sessions go on for this number of seconds."""
        self._wait(timeout_s, RELEASED_TICK_S)

    def _wait(self, timeout_s: float, tick_s: float) -> None:
        self.stop()
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + timeout_s)
        self._look(tick_s)

    def _look(self, tick_s: float) -> None:
        loop = asyncio.get_running_loop()
        # A flow has no end of its own: an idle one has ended.
        self._planes.udp.engine.close_flows(Reason.DRAINED, DRAIN_IDLE_MS)
        if self._planes.active and loop.time() < self._deadline:
            self._timer = loop.call_later(tick_s, self._look, tick_s)
        else:
            self._over()

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
