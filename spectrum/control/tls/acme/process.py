"""The process of an order, on the supervisor's side."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec

from spectrum.control.processes.children import Child
from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Found, Issued, OrderRequest
from spectrum.kernel.installation import python

# More than the sum of all its deadlines.
DEADLINE_S = 900.0
# A line has a certificate and its key at most.
MAX_LINE_BYTES = 1 << 20
_Message = ChallengeAnswer | Issued | Found | Failed
_DECODER: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


class OrderProcess:
    """One process at a time.

    Args:
        show: Publishes the answer to a challenge. An OSError says why that fails.
        deadline_s: A process that takes longer is killed.
    """

    def __init__(self, show: Callable[[ChallengeAnswer], Awaitable[None]], deadline_s: float = DEADLINE_S) -> None:
        self._show = show
        self._deadline_s = deadline_s
        self._child: Child | None = None

    async def run(self, work: OrderRequest) -> Issued | Found | Failed:
        """Carry out a request; return the outcome."""
        try:
            ours = self._start()
        except OSError as exc:
            return Failed(f"no process for the order: {exc.strerror}")
        child = self._child
        assert child is not None, "it has just begun"
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await self._listen(ours, work)
                await child.wait()
        except TimeoutError:
            found = Failed(f"the process of the order did not finish within {self._deadline_s:g} s")
        except (OSError, ValueError) as exc:
            found = Failed(f"the process of the order: {exc}")
        finally:
            child.kill()
            self._child = None
        status = await child.wait()
        return found or Failed(f"the process of the order ended with status {status}")

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                descriptor = theirs.fileno()
                self._child = Child([*python("spectrum.control.tls.acme.order"), str(descriptor)], [descriptor])
        except OSError:
            ours.close()
            raise
        return ours

    def kill(self) -> None:
        """End it at once."""
        if self._child is not None:
            self._child.kill()

    async def _listen(self, ours: socket.socket, work: OrderRequest) -> Issued | Found | Failed | None:
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        try:
            writer.write(msgspec.json.encode(work) + b"\n")
            while line := await reader.readline():
                message = _DECODER.decode(line)
                if not isinstance(message, ChallengeAnswer):
                    return message
                writer.write(await self._answer(message) + b"\n")
            return None
        finally:
            writer.close()

    async def _answer(self, answer: ChallengeAnswer) -> bytes:
        try:
            await self._show(answer)
        except OSError as exc:
            return str(exc).encode() or b"it cannot be answered"
        return b""
