"""Keeps a process of the control API: started, replaced when it ends, stands still, or is to serve otherwise.

A new one has started before the one before is told to end, and serves only when that has ended: there is one writer of
the store. Meanwhile who connects waits in the listening sockets, which are the supervisor's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.control.api.process import Answerer, ApiProcess, ApiProcessError

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
# Of one that served: who asks waits for the next one.
MAX_PAUSE_SERVED_S = 2.0
# One that served so long begins with the first pause.
STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """With what a process is started; where that changes, another one is.

    Attributes:
        store: The folder of its store.
        user: What it becomes; empty where it is that already.
        listeners: Descriptors of its listening sockets.
        traces: It sends traces: the libraries for that are imported before it gives up its rights.
        analytics: The folder of the store of analytics; None for none.
    """

    store: Path
    user: str
    listeners: Sequence[int]
    traces: bool = False
    analytics: Path | None = None


class ApiKeeper:
    """Keeps one process.

    Args:
        answer: Answers what it asks.
        settings: Returns what it has to know before it serves.
        restore: Serves what is in the store, which nobody writes to meanwhile.

    Attributes:
        restarts: How often one was started in place of one that ended by itself.
        why: How the last of these ended; empty while one serves.
    """

    def __init__(self, answer: Answerer, settings: Callable[[], Any], restore: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._settings = settings
        self._restore = restore
        self._wanted: ApiPlace | None = None
        # Done when another place is wanted than the one that is being served.
        self._change: asyncio.Future[None] | None = None
        self._process: ApiProcess | None = None
        self._next: ApiProcess | None = None
        self.restarts = 0
        self.why = ""

    @property
    def pid(self) -> int:
        """The process that serves; 0 where none does."""
        return self._process.pid if self._process is not None and self._process.is_serving else 0

    @property
    def store(self) -> Path | None:
        """The folder of the store that it serves; None where there is no process."""
        return self._process.store if self._process is not None else None

    @property
    def has_writer(self) -> bool:
        """Whether there is a process that may write to the store."""
        return self._process is not None and self._process.lives

    def want(self, place: ApiPlace | None) -> None:
        """Have a process serve there from now on, or none."""
        self._wanted = place
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def tell(self, subject: str, content: object) -> None:
        """Tell the process something, if one serves; one that is about to asks for it."""
        if self._process is not None and self._process.is_serving:
            self._process.tell(subject, content)

    async def run(self) -> None:
        """Keep it, until cancelled."""
        pause_s = FIRST_PAUSE_S
        now = asyncio.get_running_loop().time
        while True:
            self._change = change = asyncio.get_running_loop().create_future()
            began, most_s = now(), MAX_PAUSE_S
            try:
                how, most_s = await self._serve(self._wanted, change), MAX_PAUSE_SERVED_S
            except ApiProcessError as exc:
                how = str(exc)
            except OSError as exc:
                how = f"it cannot be started: {(exc.strerror or str(exc)).lower()}"
            if not how:  # another one is wanted
                continue
            if now() - began > STEADY_S:
                pause_s = FIRST_PAUSE_S
            pause_s = min(pause_s, most_s)
            self.restarts, self.why = self.restarts + 1, how
            log.error("the API's process: %s; another one is started in %g s", how, pause_s)
            await self._drop()
            await asyncio.wait((change,), timeout=pause_s)
            pause_s *= 2

    async def _serve(self, place: ApiPlace | None, change: "asyncio.Future[None]") -> str:
        """Have a process serve there, in place of the one before, until another one is wanted; return how it ended.

        Raises:
            ApiProcessError: If it does not serve.
            OSError: If it cannot be started.
        """
        is_alone = self._process is None
        if place is not None:
            self._next = ApiProcess(self._answer, place.store, place.user, place.listeners, place.analytics)
            if is_alone:  # nobody writes before the new one serves: the store is read while that starts
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
        log.info("the API is served by pid %d", self._process.pid)
        await asyncio.wait((self._process.over, change), return_when=asyncio.FIRST_COMPLETED)
        return "" if change.done() else self._process.over.result()

    async def _drop(self) -> None:
        """End what is of no use; one that serves while its successor does not start goes on."""
        failed, self._next = self._next, None
        if failed is None:
            failed, self._process = self._process, None
        if failed is not None:
            await failed.end()
        if self._process is None:
            await self._restore()

    def dismiss(self) -> None:
        """Let processes end by themselves: this one is about to end."""
        for process in (self._next, self._process):
            if process is not None:
                process.dismiss()

    async def close(self) -> None:
        """End."""
        for process in (self._next, self._process):
            if process is not None:
                await process.leave()
        self._process = self._next = None
