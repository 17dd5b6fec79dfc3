"""Messages between the supervisor and the process of the control API, and the API's end of the link.

The API asks, as clients of the control socket do; the supervisor sends it settings and events. Both run the same files,
so that messages may change with every version. Memory for the other end is bounded: the API has at most `MAX_ASKS` open
questions, and the supervisor stops reading at that number.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from spectrum.kernel.descriptors import close_all
from spectrum.link.bodies import body_of, send
from spectrum.link.channel import Channel
from spectrum.link.encoding import encode
from spectrum.link.versions import Hello

# Open questions. Further ones wait in the asking process.
MAX_ASKS = 32
ASK_TIMEOUT_S = 30.0


class LinkLost(Exception):
    """The supervisor has ended, or does not answer."""


class ApiReady(msgspec.Struct, array_like=True, tag=True):
    """From the API, the first message: it has started, and waits for its settings before it opens anything."""


class ApiServing(msgspec.Struct, array_like=True, tag=True):
    """From the API: it has its objects, and accepts connections."""


class ApiAsk(msgspec.Struct, array_like=True, tag=True):
    """From the API: a request, as on the control socket. `size` is that of a body in a memory file."""

    id: int
    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""
    size: int = 0


class ApiAnswer(msgspec.Struct, array_like=True, tag=True):
    """To the API: the answer, as JSON, to the request with this id; after its body come descriptors of `files`."""

    id: int
    status: int
    body: bytes = b""
    size: int = 0
    files: int = 0


class ApiTold(msgspec.Struct, array_like=True, tag=True):
    """To the API: settings or events of a subject, as JSON."""

    subject: str
    body: bytes = b""
    size: int = 0


class ApiBeat(msgspec.Struct, array_like=True, tag=True):
    """To the API, which sends it back from its loop: a heartbeat."""

    number: int


ApiMessage = Hello | ApiReady | ApiServing | ApiAsk | ApiAnswer | ApiTold | ApiBeat
DECODER: msgspec.msgpack.Decoder[ApiMessage] = msgspec.msgpack.Decoder(ApiMessage)


class Answered(NamedTuple):
    """The status of an answer, its decoded body, and its descriptors, which the caller owns."""

    status: int
    body: Any
    files: list[int]


def content_of(message: ApiAnswer, descriptors: Sequence[int]) -> tuple[bytes, list[int]]:
    """Return the body of an answer, and its descriptors; further ones are closed.

    Raises:
        ValueError: If they do not fit the message.
    """
    own = len(descriptors) - message.files
    given = list(descriptors[max(own, 0) :])
    try:
        if own < 0:
            raise ValueError(f"{message.files} descriptors are given, {len(descriptors)} came")
        return body_of(message, descriptors[:own]), given
    except BaseException:
        close_all(given)
        raise


class ApiClient:
    """The API's end of the link.

    Args:
        sock: The socket to the supervisor; owned by this object.
        told: Called with each subject that the supervisor sends, and its value.
        lost: Called once when the supervisor has ended.
    """

    def __init__(self, sock: socket.socket, told: Callable[[str, Any], None], lost: Callable[[], None]) -> None:
        self._told = told
        self._lost = lost
        self._answers: dict[int, asyncio.Future[tuple[int, bytes, list[int]]]] = {}
        self._last = 0
        self._slots = asyncio.Semaphore(MAX_ASKS)
        self._channel: Channel[ApiMessage] = Channel(sock, DECODER, self._received, self._closed)

    def ready(self) -> None:
        """Report that this process has started."""
        self._channel.send(ApiReady())

    def serving(self) -> None:
        """Report that it accepts connections."""
        self._channel.send(ApiServing())

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> tuple[int, Any]:
        """Return the status and the decoded body of the answer to a request.

        Raises:
            LinkLost: If the supervisor has ended, or does not answer in time. The request may have been carried out.
        """
        status, answer, files = await self.ask_files(method, path, query, body, timeout_s)
        close_all(files)
        return status, answer

    async def ask_files(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Answered:
        """Return the same, and the descriptors of the answer.

        Raises:
            LinkLost: As for `ask`.
        """
        data = b"" if body is None else encode(msgspec.json.Encoder(), body)
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                status, answer, files = await self._asked(method, path, query or {}, data)
        except TimeoutError as exc:
            raise LinkLost(f"the daemon has not answered {method} {path} within {timeout_s:g} s") from exc
        return Answered(status, msgspec.json.decode(answer) if answer else None, files)

    async def _asked(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, list[int]]:
        self._last += 1
        number = self._last
        answer: asyncio.Future[tuple[int, bytes, list[int]]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            if not send(self._channel, ApiAsk(number, method, path, dict(query), body)):
                raise LinkLost("the daemon is gone")
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                close_all(answer.result()[2])
            raise
        except OSError as exc:
            raise LinkLost(f"the daemon cannot be asked: {(exc.strerror or str(exc)).lower()}") from exc
        finally:
            del self._answers[number]

    def close(self) -> None:
        """Close the link."""
        self._channel.close()
        self._give_up()

    def _received(self, message: ApiMessage, descriptors: list[int]) -> None:
        match message:
            case ApiBeat():
                close_all(descriptors)
                self._channel.send(message, droppable=True)
            case ApiTold():
                body = body_of(message, descriptors)
                self._told(message.subject, msgspec.json.decode(body) if body else None)
            case ApiAnswer():
                self._answered(message, descriptors)
            case _:
                close_all(descriptors)

    def _answered(self, message: ApiAnswer, descriptors: list[int]) -> None:
        answer = self._answers.get(message.id)
        try:
            body, files = content_of(message, descriptors)
        except (OSError, ValueError) as exc:  # they are lost at the limit of descriptors
            if answer is not None and not answer.done():
                answer.set_exception(LinkLost(f"the daemon's answer is incomplete: {exc}"))
            return
        if answer is not None and not answer.done():
            answer.set_result((message.status, body, files))
        else:
            close_all(files)

    def _closed(self) -> None:
        self._give_up()
        self._lost()

    def _give_up(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LinkLost("the daemon is gone"))
