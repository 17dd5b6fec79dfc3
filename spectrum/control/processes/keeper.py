"""Keeps a child process running: it is started, and replaced when it ends, hangs, or needs other parameters. The new
one starts before the old one is told to end, and serves only after that has ended: their files have one writer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from spectrum.control.processes.linked import LinkedProcess, LinkedProcessError

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
# Delay before a process that served is replaced; clients wait for the next one.
MAX_PAUSE_SERVED_S = 2.0
# A process that served for this long begins with the first delay again.
STEADY_S = 60.0

Place = TypeVar("Place")
Process = TypeVar("Process", bound=LinkedProcess[Any])


async def _nothing() -> None:
    pass


class ProcessKeeper(Generic[Place, Process]):
    """Keeps one process running.

    Args:
        what: Its name in the log, such as "the API's process".
        make: Starts a process with parameters.
        settings: Returns the settings that it needs before it serves.
        restore: Reads what the former process has saved, while no process writes to it.

    Attributes:
        restarts: How often a process that ended unexpectedly was replaced.
        why: How the last of these ended; empty while a process serves.
    """

    def __init__(
        self,
        what: str,
        make: Callable[[Place], Process],
        settings: Callable[[], Any],
        restore: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._what = what
        self._make = make
        self._settings = settings
        self._restore = restore
        self._wanted: Place | None = None
        # Done when parameters other than those in use are wanted.
        self._change: asyncio.Future[None] | None = None
        self._process: Process | None = None
        self._next: Process | None = None
        self.restarts = 0
        self.why = ""

    @property
    def pid(self) -> int:
        """The process that serves; 0 without one."""
        return self._process.pid if self._process is not None and self._process.is_serving else 0

    @property
    def process(self) -> Process | None:
        """The process; None if there is none, or it has ended."""
        return self._process

    def want(self, place: Place | None) -> None:
        """Run a process with these parameters from now on, or none."""
        self._wanted = place
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def tell(self, subject: str, content: object) -> None:
        """Send the process a message, if one serves; a process that is starting gets its settings anyway."""
        if self._process is not None and self._process.is_serving:
            self._process.tell(subject, content)

    async def run(self) -> None:
        """Keep the process running, until cancelled."""
        pause_s = FIRST_PAUSE_S
        now = asyncio.get_running_loop().time
        while True:
            self._change = change = asyncio.get_running_loop().create_future()
            began, most_s = now(), MAX_PAUSE_S
            try:
                how, most_s = await self._serve(self._wanted, change), MAX_PAUSE_SERVED_S
            except LinkedProcessError as exc:
                how = str(exc)
            except OSError as exc:
                how = f"it cannot be started: {(exc.strerror or str(exc)).lower()}"
            if not how:  # Other parameters are wanted.
                continue
            if now() - began > STEADY_S:
                pause_s = FIRST_PAUSE_S
            pause_s = min(pause_s, most_s)
            self.restarts, self.why = self.restarts + 1, how
            log.error("%s: %s; another one is started in %g s", self._what, how, pause_s)
            await self._drop()
            await asyncio.wait((change,), timeout=pause_s)
            pause_s *= 2

    async def _serve(self, place: Place | None, change: "asyncio.Future[None]") -> str:
        """Run a process in place of the former one, until other parameters are wanted; return how it ended.

        Raises:
            LinkedProcessError: If it does not serve.
            OSError: If it cannot be started.
        """
        is_alone = self._process is None
        if place is not None:
            self._next = self._make(place)
            if is_alone:  # Nothing is written before the new one serves: saved state is read while it starts.
                await self._restore()
            await self._next.ready()
        if self._process is not None:
            await self._process.leave()
        self._process, self._next = self._next, None
        if self._process is None:
            self.why = ""
            await change
            return ""
        if not is_alone:
            await self._restore()
        await self._process.serve(self._settings())
        self.why = ""
        log.info("%s serves: pid %d", self._what, self._process.pid)
        await asyncio.wait((self._process.over, change), return_when=asyncio.FIRST_COMPLETED)
        return "" if change.done() else self._process.over.result()

    async def _drop(self) -> None:
        """End a process of no use; one that serves continues while its successor fails to start."""
        failed, self._next = self._next, None
        if failed is None:
            failed, self._process = self._process, None
        if failed is not None:
            await failed.end()
        if self._process is None:
            await self._restore()

    def dismiss(self) -> None:
        """Let processes end on their own: this one is about to end."""
        for process in (self._next, self._process):
            if process is not None:
                process.dismiss()

    async def close(self) -> None:
        """End the process."""
        for process in (self._next, self._process):
            if process is not None:
                await process.leave()
        self._process = self._next = None
