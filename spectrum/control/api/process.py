"""One process of the control API: its start, what it asks, its signs of life, and its end.

What it does costs the supervisor little, whatever that is: of what it asks at once a part is read, of what it does not
take nothing more is kept, and nothing waits for it.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from spectrum.control.processes.children import Child
from spectrum.kernel import signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.installation import python
from spectrum.link.api import (
    DECODER,
    MAX_ASKS,
    ApiAnswer,
    ApiAsk,
    ApiBeat,
    ApiMessage,
    ApiReady,
    ApiServing,
    ApiTold,
    body_of,
    send,
)
from spectrum.link.channel import Channel
from spectrum.link.encoding import encode
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

MODULE = "spectrum.api"
# Importing FastAPI takes a second, several on a small, busy machine.
READY_TIMEOUT_S = 60.0
# It may have to migrate its store, and reads 10,000 objects in a second.
SERVE_TIMEOUT_S = 120.0
# For answers that are under way.
LEAVE_TIMEOUT_S = 5.0
BEAT_S = 2.0
# So many signs of life in turn do not come.
MAX_MISSED = 5


class ProcessAnswer(NamedTuple):
    """The status and the body of an answer, and descriptors that go with it, which are closed when it is sent."""

    status: int
    body: bytes
    files: Sequence[int] = ()


# Answers a request: its method, path, parameters and body.
Answerer = Callable[[str, str, dict[str, str], bytes], Awaitable[ProcessAnswer]]


class ApiProcessError(Exception):
    """The process does not serve; the message says why."""


class ApiProcess:
    """A process.

    Args:
        answer: Answers what it asks.
        store: The folder of its store.
        user: What it becomes; empty where it is that already.
        listeners: Descriptors of its listening sockets, which stay open here.
        analytics: The folder of the store of analytics, where it has one.

    Attributes:
        store: The folder of its store.
        over: How it ended, or why it is of no use any more, once that is so.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self, answer: Answerer, store: Path, user: str, listeners: Sequence[int], analytics: Path | None = None
    ) -> None:
        self.store = store
        self._answer = answer
        self._tasks = Tasks()
        self._unanswered = 0
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._serving: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[str] = loop.create_future()
        self._sent = self._returned = 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            link = theirs.fileno()
            folders = [str(store), str(analytics or "-")]
            command = [*python(MODULE), str(link), *folders, user or "-", *map(str, listeners)]
            try:
                self._child = Child(command, [link, *listeners])
            except OSError:
                ours.close()
                raise
        self._channel: Channel[ApiMessage] = Channel(ours, DECODER, self._received, self._lost, self._go_on)
        self._tasks.start(self._see_end(), "see the end of the API's process")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._child.returncode is None

    @property
    def is_serving(self) -> bool:
        """Whether it accepts."""
        return self._serving.done() and not self.over.done()

    async def ready(self) -> None:
        """Wait until it has started.

        Raises:
            ApiProcessError: If it does not.
        """
        await self._reach(self._ready, READY_TIMEOUT_S, "it does not start")

    async def serve(self, settings: object) -> None:
        """Have it serve, and wait until it does.

        Args:
            settings: What it has to know before.

        Raises:
            ApiProcessError: If it does not.
        """
        self.tell("settings", settings)
        await self._reach(self._serving, SERVE_TIMEOUT_S, "it does not serve")
        self._tasks.start(self._beat(), "signs of life of the API's process")

    async def _reach(self, state: "asyncio.Future[None]", timeout_s: float, what: str) -> None:
        await asyncio.wait((state, self.over), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.over.done():
            raise ApiProcessError(f"{what}: {self.over.result()}")
        if not state.done():
            raise ApiProcessError(f"{what} within {timeout_s:g} s")

    def tell(self, subject: str, content: object) -> None:
        """Tell it something; one that takes nothing more is not told, and will be ended."""
        try:
            send(self._channel, ApiTold(subject, encode(msgspec.json.Encoder(), content)))
        except (OSError, MemoryError) as exc:
            log.error("the API is not told of its %s: %s", subject, exc)

    async def _see_end(self) -> None:
        how = signals.how_ended(await self._child.wait())
        if not self.over.done():
            self.over.set_result(self._channel.refusal or how)

    def _lost(self) -> None:
        """See that it has closed its link; it has ended, or is about to."""

    async def _beat(self) -> None:
        """See whether it gives signs of life."""
        missed = 0
        while missed < MAX_MISSED:
            self._sent += 1
            self._channel.send(ApiBeat(self._sent), droppable=True)
            await asyncio.sleep(BEAT_S)
            missed = 0 if self._returned == self._sent else missed + 1
        if not self.over.done():
            self.over.set_result(f"no sign of life for {missed * BEAT_S:g} s")

    async def leave(self) -> None:
        """Have it end: what it has begun to answer it finishes, for a while."""
        try:
            self._signal(signal.SIGTERM)
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._child.wait()
        except TimeoutError:
            log.warning("the API's process %d has not ended in %g s and is killed", self.pid, LEAVE_TIMEOUT_S)
        await self.end()

    def dismiss(self) -> None:
        """Let it end by itself: this process is about to end."""
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
                os.kill(self.pid, number)  # it is a child of ours that nobody has waited for
            except PermissionError as exc:  # it is another user's, and this process no longer root
                log.error("the API's process %d cannot be told to end: %s", self.pid, exc)

    # --- what it asks ---------------------------------------------------------------------------------------------

    def _received(self, message: ApiMessage, descriptors: list[int]) -> None:
        match message:
            case ApiAsk():
                self._take(message, descriptors)
                return
            case ApiBeat():
                self._returned = message.number
            case ApiReady() if not self._ready.done():
                self._ready.set_result(None)
            case ApiServing() if not self._serving.done():
                self._serving.set_result(None)
        close_all(descriptors)

    def _take(self, ask: ApiAsk, descriptors: list[int]) -> None:
        try:
            body = body_of(ask, descriptors)
        except (OSError, ValueError, MemoryError) as exc:
            log.error("a request of the API is passed over: %s", exc)
            return
        self._unanswered += 1
        if self._unanswered > MAX_ASKS:
            self._channel.pause()
        self._tasks.start(self._reply(ask, body), f"answer the API's {ask.method} {ask.path}")

    async def _reply(self, ask: ApiAsk, body: bytes) -> None:
        try:
            answer = await self._answer(ask.method, ask.path, ask.query, body)
            try:
                send(
                    self._channel, ApiAnswer(ask.id, answer.status, answer.body, files=len(answer.files)), answer.files
                )
            finally:
                close_all(answer.files)
        finally:
            self._unanswered -= 1
            self._go_on()

    def _go_on(self) -> None:
        """Read on, unless much is asked, or it takes no answers."""
        if self._unanswered <= MAX_ASKS and not self._channel.waits:
            self._channel.resume()
        else:
            self._channel.pause()
