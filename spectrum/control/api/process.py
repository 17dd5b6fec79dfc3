"""One process of the control API: its requests, and the messages to it. It cannot burden the supervisor: a limited
number of its requests is read at once, nothing is buffered for it beyond a limit, and the supervisor never waits for
it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from spectrum.control.processes.linked import LinkedProcess
from spectrum.kernel.descriptors import close_all
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
)
from spectrum.link.bodies import body_of, send
from spectrum.link.encoding import encode

log = logging.getLogger(__name__)

MODULE = "spectrum.api"
NAME = "the API's process"


class ProcessAnswer(NamedTuple):
    """The status and the body of an answer, and descriptors that are sent with it and closed after that."""

    status: int
    body: bytes
    files: Sequence[int] = ()


# Answers a request, given its method, path, parameters and body.
Answerer = Callable[[str, str, dict[str, str], bytes], Awaitable[ProcessAnswer]]


class ApiProcess(LinkedProcess[ApiMessage]):
    """A process.

    Args:
        answer: Answers its requests.
        store: The folder of its store.
        user: The user that it runs as; empty for the current one.
        listeners: Descriptors of its listening sockets, which stay open here.
        analytics: The folder of the store of analytics, if there is one.

    Attributes:
        store: The folder of its store.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self, answer: Answerer, store: Path, user: str, listeners: Sequence[int], analytics: Path | None = None
    ) -> None:
        self.store = store
        self._answer = answer
        self._unanswered = 0
        arguments = [str(store), str(analytics or "-"), user or "-", *map(str, listeners)]
        super().__init__(NAME, MODULE, arguments, listeners, DECODER, ApiBeat)

    def tell(self, subject: str, content: object) -> None:
        """Send it a message; a process that does not read its messages is skipped, and will be ended."""
        try:
            send(self._channel, ApiTold(subject, encode(msgspec.json.Encoder(), content)))
        except (OSError, MemoryError) as exc:
            log.error("the API is not sent its %s: %s", subject, exc)

    # --- requests -------------------------------------------------------------------------------------------------

    def _received(self, message: ApiMessage, descriptors: list[int]) -> None:
        match message:
            case ApiAsk():
                self._take(message, descriptors)
                return
            case ApiBeat():
                self._returned = message.number
            case ApiReady():
                self._started()
            case ApiServing():
                self._serves()
        close_all(descriptors)

    def _take(self, ask: ApiAsk, descriptors: list[int]) -> None:
        try:
            body = body_of(ask, descriptors)
        except (OSError, ValueError, MemoryError) as exc:
            log.error("a request of the API is ignored: %s", exc)
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
            self._drained()

    def _drained(self) -> None:
        """Resume reading, unless too many requests are open or the process does not read its answers."""
        if self._unanswered <= MAX_ASKS and not self._channel.waits:
            self._channel.resume()
        else:
            self._channel.pause()
