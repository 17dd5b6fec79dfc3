"""Carries out the transitions of a worker's life cycle: `core/life/service.py`."""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from spectrum.core.life.service import ServiceCommand, ServiceEvent, ServiceLife
from spectrum.kernel.descriptors import close_all
from spectrum.plane.balancing.drains import SPREAD_S
from spectrum.plane.processes.generations import Generations
from spectrum.plane.processes.last_sessions import LastSessions
from spectrum.plane.processes.link import Link
from spectrum.plane.processes.planes import Planes
from spectrum.plane.processes.reports import Reports
from spectrum.plane.processes.sender import Sender
from spectrum.plane.processes.succession import Succession
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# How long a worker waits for a new supervisor; then its sessions get this time to end.
ORPHAN_WAIT_S = 300.0
ORPHAN_DRAIN_S = 30.0
# How long a worker that has ended its sessions waits for its supervisor to take their records.
LAST_WORDS_S = 10.0


class WorkerService:
    """One worker, from its first snapshot to its end.

    Args:
        life: Its state.
        link: The link to its supervisor.
        planes: Serve.
        generations: The listeners.
        sender: Sends records.
        reports: Reports counters.
        succession: Hands over listeners and flows.

    Attributes:
        ended: Set when it has ended.
    """

    def __init__(
        self,
        life: ServiceLife,
        link: Link,
        planes: Planes,
        generations: Generations,
        sender: Sender,
        reports: Reports,
        succession: Succession,
    ) -> None:
        self._life = life
        self._link = link
        self._planes = planes
        self._generations = generations
        self._sender = sender
        self._reports = reports
        self._succession = succession
        self._tasks = Tasks()
        self._last_sessions = LastSessions(planes, partial(self._handle, ServiceEvent.OVER))
        # Deadlines for a new supervisor, and for the current one to take the last records.
        self._patience, self._last_words = Countdown(), Countdown()
        self.ended = asyncio.Event()
        # Each is called with the data of the event.
        self._commands: dict[ServiceCommand, Callable[..., object]] = {
            ServiceCommand.NOTHING: lambda *_: None,
            ServiceCommand.LEAVE_TO_SUPERVISOR: self._leave_to_supervisor,
            ServiceCommand.WAIT: self._wait,
            ServiceCommand.INTRODUCE: self._introduce,
            ServiceCommand.INTRODUCE_RELEASED: self._introduce_released,
            ServiceCommand.INTRODUCE_AND_TELL: self._introduce_and_tell,
            ServiceCommand.LEAVE: self._leave,
            ServiceCommand.SAY_LEFT: self._say_left,
            ServiceCommand.DRAIN: self._drain,
            ServiceCommand.TELL: self._tell,
            ServiceCommand.END: self._end,
        }

    def _handle(self, event: ServiceEvent, *details: Any) -> ServiceCommand:
        command = self._life.handle(event)
        self._commands[command](*details)
        return command

    # --- events ---------------------------------------------------------------------------------------------------

    def lost(self) -> None:
        """Continue without the supervisor, which is gone."""
        self._sender.take_back()
        self._handle(ServiceEvent.LOST)

    def sent(self) -> None:
        """Go on once the supervisor has taken all that waited for it."""
        self._sender.flush()
        if self._life.is_ending and self._sender.is_empty:
            self._handle(ServiceEvent.TOLD)

    def asked(self) -> None:
        """Introduce this worker to a supervisor."""
        self._handle(ServiceEvent.ASKED)

    def release(self, timeout_s: float, ways: list[int]) -> None:
        """Leave listeners and flows to the next worker.

        Args:
            timeout_s: How long TCP sessions may go on here; 0 for no limit.
            ways: See `Succession.leave`.
        """
        if self._handle(ServiceEvent.RELEASE, timeout_s, ways) is not ServiceCommand.LEAVE:
            close_all(ways)

    def drain(self, timeout_s: float) -> None:
        """Accept no new clients, and end with the last session, or after this number of seconds."""
        self._handle(ServiceEvent.DRAIN, timeout_s)

    def terminate(self) -> None:
        """Handle SIGTERM."""
        self._handle(ServiceEvent.SIGTERM)

    # --- commands -------------------------------------------------------------------------------------------------

    def _leave_to_supervisor(self) -> None:
        log.info("SIGTERM is left to the supervisor, which lets its workers drain; SIGKILL ends a worker at once")

    def _wait(self) -> None:
        """Wait for a new supervisor. One that connects without taking this worker over does not count."""
        self._patience.begin(ORPHAN_WAIT_S, self._abandon)
        log.warning("the supervisor is gone: serving on, waiting %.0f s for a new one", self._patience.left_s)
        self._link.wait()

    def _abandon(self) -> None:
        log.warning(
            "no supervisor came: no new sessions are accepted, %d are open, then this worker ends", self._planes.active
        )
        self._handle(ServiceEvent.ABANDONED, ORPHAN_DRAIN_S)

    def _introduce(self) -> None:
        self._patience.stop()
        self._succession.introduce()

    def _introduce_released(self) -> None:
        self._patience.stop()
        self._succession.introduce_released()

    def _introduce_and_tell(self) -> None:
        self._introduce_released()
        self._tell()

    def _leave(self, timeout_s: float, ways: list[int]) -> None:
        async def leave() -> None:
            await self._succession.leave(ways)
            self._handle(ServiceEvent.LEFT)
            if timeout_s:
                self._planes.tcp.end_by(timeout_s)
            self._last_sessions.outlast(timeout_s + SPREAD_S if timeout_s else math.inf)

        self._tasks.start(leave(), "leave listeners and flows")

    def _say_left(self) -> None:
        self._succession.say_left()

    def _drain(self, timeout_s: float) -> None:
        self._patience.stop()
        if not self._life.is_supervised:
            self._link.wait_no_longer()
        self._planes.stop_accepting()
        self._generations.close(("tcp",))  # The sockets of UDP listeners are used by flows that continue.
        self._last_sessions.drain(timeout_s)

    def _tell(self) -> None:
        """Send the supervisor the last records and counters; if it is gone, the next one gets them."""
        self._planes.close_sessions()
        self._planes.flush_records()
        self._sender.flush()
        self._reports.report()
        if self._sender.is_empty:
            self._handle(ServiceEvent.TOLD)
        elif self._life.waits:
            self._last_words.stop()
            self._wait()
        else:
            self._last_words.begin(LAST_WORDS_S, partial(self._handle, ServiceEvent.TOLD))

    def _end(self, *_details: object) -> None:
        if self._planes.active:
            log.warning("ending, with %d sessions", self._planes.active)
        self._patience.stop()
        self._last_words.stop()
        self._last_sessions.stop()
        self._planes.close_sessions()
        self.ended.set()


class Countdown:
    """A timer for an action, which can be stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, delay_s: float, then: Callable[[], object]) -> None:
        """Run an action after this number of seconds; a running timer is left alone."""
        if self._timer is None:
            self._timer = self._loop.call_later(delay_s, self._do, then)

    def _do(self, then: Callable[[], object]) -> None:
        self._timer = None
        then()

    @property
    def left_s(self) -> float:
        """The remaining seconds."""
        return max(0.0, self._timer.when() - self._loop.time()) if self._timer is not None else 0.0

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
