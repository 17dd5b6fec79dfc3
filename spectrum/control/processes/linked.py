"""A child process other than a worker: its start, its heartbeats, and its end; its messages belong to its feature. It
is started with a link, reports that it has started, gets its settings, and then reports that it serves. The supervisor
does not wait for it, and does not buffer messages that it does not read.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from spectrum.control.processes.children import Child
from spectrum.kernel import signals
from spectrum.kernel.installation import python
from spectrum.link.channel import Channel
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# Deadline of the start: importing its libraries takes a second, several on a small, busy machine.
READY_TIMEOUT_S = 60.0
# Deadline until it serves: it may have to migrate its files.
SERVE_TIMEOUT_S = 120.0
# Deadline for work in progress at the end.
LEAVE_TIMEOUT_S = 5.0
BEAT_S = 2.0
# Number of missed heartbeats after which it is killed.
MAX_MISSED = 5

M = TypeVar("M")


class LinkedProcessError(Exception):
    """The process does not serve; the message says why."""


class LinkedProcess(Generic[M]):
    """A child process with a link.

    Args:
        what: Its name in the log, such as "the API's process".
        module: The module that it runs.
        arguments: Its arguments after the descriptor of its link.
        inherited: Descriptors that it inherits, which stay open here.
        decoder: Decodes the messages on its link.
        beat: Makes the message that it answers as a heartbeat.

    Attributes:
        over: How it ended, or why it cannot be used any more.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self,
        what: str,
        module: str,
        arguments: Sequence[str],
        inherited: Sequence[int],
        decoder: msgspec.msgpack.Decoder[M],
        beat: Callable[[int], M],
    ) -> None:
        self._what = what
        self._beat = beat
        self._tasks = Tasks()
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._serving: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[str] = loop.create_future()
        self._sent = self._returned = 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            link = theirs.fileno()
            try:
                self._child = Child([*python(module), str(link), *arguments], [link, *inherited])
            except OSError:
                ours.close()
                raise
        self._channel: Channel[M] = Channel(ours, decoder, self._received, self._lost, self._drained)
        self._tasks.start(self._see_end(), f"see the end of {what}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def lives(self) -> bool:
        """Whether it is running."""
        return self._child.returncode is None

    @property
    def is_serving(self) -> bool:
        """Whether it serves."""
        return self._serving.done() and not self.over.done()

    async def ready(self) -> None:
        """Wait until it has started.

        Raises:
            LinkedProcessError: If it does not.
        """
        await self._reach(self._ready, READY_TIMEOUT_S, "it does not start")

    async def serve(self, settings: object) -> None:
        """Have it serve, and wait until it does.

        Args:
            settings: The settings that it needs.

        Raises:
            LinkedProcessError: If it does not.
        """
        self.tell("settings", settings)
        await self._reach(self._serving, SERVE_TIMEOUT_S, "it does not serve")
        self._tasks.start(self._see_life(), f"heartbeats of {self._what}")

    def tell(self, subject: str, content: object) -> None:
        """Send it a message; a process that does not read its messages is skipped, and will be ended."""
        raise NotImplementedError

    async def _reach(self, state: "asyncio.Future[None]", timeout_s: float, what: str) -> None:
        await asyncio.wait((state, self.over), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.over.done():
            raise LinkedProcessError(f"{what}: {self.over.result()}")
        if not state.done():
            raise LinkedProcessError(f"{what} within {timeout_s:g} s")

    def _received(self, message: M, descriptors: list[int]) -> None:
        """Take a message, and close its descriptors."""
        raise NotImplementedError

    def _drained(self) -> None:
        """Note that everything that waited has been sent."""

    def _lost(self) -> None:
        """Note that it has closed its link; it has ended, or is about to."""

    def _started(self) -> None:
        """Note that it has started."""
        if not self._ready.done():
            self._ready.set_result(None)

    def _serves(self) -> None:
        """Note that it serves."""
        if not self._serving.done():
            self._serving.set_result(None)

    async def _see_end(self) -> None:
        how = signals.how_ended(await self._child.wait())
        if not self.over.done():
            self.over.set_result(self._channel.refusal or how)

    async def _see_life(self) -> None:
        missed = 0
        while missed < MAX_MISSED:
            self._sent += 1
            self._channel.send(self._beat(self._sent), droppable=True)
            await asyncio.sleep(BEAT_S)
            missed = 0 if self._returned == self._sent else missed + 1
        if not self.over.done():
            self.over.set_result(f"no heartbeat for {missed * BEAT_S:g} s")

    async def leave(self) -> None:
        """Let it end: it has a while to finish what it has begun."""
        try:
            self._signal(signal.SIGTERM)
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._child.wait()
        except TimeoutError:
            log.warning("%s %d has not ended in %g s and is killed", self._what, self.pid, LEAVE_TIMEOUT_S)
        await self.end()

    def dismiss(self) -> None:
        """Let it end on its own: this process is about to end."""
        self._signal(signal.SIGTERM)

    async def end(self) -> None:
        """End it, if it has not."""
        self._signal(signal.SIGKILL)
        await self._child.wait()
        await self._tasks.stop()
        self._channel.close()

    def _signal(self, number: int) -> None:
        if self.lives:
            try:
                os.kill(self.pid, number)  # A child that has not been waited for.
            except PermissionError as exc:  # It belongs to another user, and this process is no longer root.
                log.error("%s %d cannot be told to end: %s", self._what, self.pid, exc)
