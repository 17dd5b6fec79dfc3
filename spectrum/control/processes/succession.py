"""An upgrade: a supervisor starts its successor, hands over its state, and leaves once the successor confirms. The
successor reports that it can serve the file, gets copies of the descriptors in use, prepares everything else, and
reports that it is ready. Until then the old supervisor serves as before, and it stays if its successor refuses, ends or
does not answer.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from spectrum.control.processes.children import Child
from spectrum.kernel import init, installation, signals
from spectrum.kernel.installation import python as python_command
from spectrum.link.succession import (
    Ended,
    Handover,
    SuccessionError,
    SupervisorSocket,
    check_hello,
    packets,
    predecessor_hello,
    successor_hello,
)
from spectrum.link.versions import mismatch

# The hidden option of `spectrum run` with the descriptor of `Predecessor`.
OPTION = "--succeed"
# A successor reads a file of 10,000 apps in three seconds.
READY_TIMEOUT_S = 60.0
# Deadline: it opens new listeners, and starts its workers.
TAKE_TIMEOUT_S = 60.0
REFUSE_TIMEOUT_S = 10.0
# Deadline for the end of a process that has closed its link.
ENDING_S = 1.0
# Deadline for the end of a process that was killed.
END_TIMEOUT_S = 5.0


def arguments() -> list[str]:
    """Return the arguments of this process, without those that made it a successor itself."""
    given = list(sys.argv[1:])
    while OPTION in given:
        place = given.index(OPTION)
        del given[place : place + 2]
    return given


class Successor:
    """The supervisor that will follow this one.

    Attributes:
        process: Its process, while it runs.
        control: The control socket that it serves, known once it is ready.
    """

    def __init__(self) -> None:
        self.process: Child | None = None
        self.control = ""
        self._line: SupervisorSocket | None = None

    async def start(self, python: str, command: Sequence[str]) -> None:
        """Start it with the interpreter `python`, and wait until it can serve the file.

        Raises:
            SuccessionError: If it cannot; the process has ended by then.
        """
        try:
            if python == sys.executable and (fault := installation.fault()):
                raise SuccessionError(fault)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as exc:  # Out of memory or descriptors.
            raise SuccessionError(f"it cannot be started: {(exc.strerror or str(exc)).lower()}") from exc
        self._line = SupervisorSocket(ours)
        environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        try:
            with theirs:
                self.process = Child(
                    [*python_command("spectrum", python), *command, OPTION, str(theirs.fileno())],
                    [theirs.fileno(), *init.descriptors()],
                    environment=environment,
                )
        except OSError as exc:
            self._line.close()
            raise SuccessionError(f"{python}: {(exc.strerror or str(exc)).lower()}") from exc
        answer = await self._hear(READY_TIMEOUT_S, "was not ready")
        try:
            if not answer.get("waits"):  # A version that cannot receive a hand-over.
                raise SuccessionError("that version cannot take sessions over from this one: restart instead")
            check_hello(answer)
        except SuccessionError:
            await self.end()
            raise

    async def give(self, handover: Handover) -> None:
        """Hand over what it needs, and wait until it is ready.

        Raises:
            SuccessionError: If it does not become ready; the process has ended by then.
        """
        assert self._line is not None, "start comes first"
        try:
            async with asyncio.timeout(TAKE_TIMEOUT_S):
                await self._line.send(predecessor_hello())
                for message, descriptors in handover.messages():
                    await self._line.send(message, descriptors)
                await self._line.send({"given": True})
        except (Ended, TimeoutError):
            pass  # Its next message says why.
        answer = await self._hear(TAKE_TIMEOUT_S, "was not ready to take over")
        self.control = str(answer.get("control", ""))

    async def _hear(self, timeout_s: float, what: str) -> dict[str, Any]:
        """Return its next message.

        Raises:
            SuccessionError: If it refuses, ends, or is silent; the process has ended by then.
        """
        assert self._line is not None, "start comes first"
        try:
            async with asyncio.timeout(timeout_s):
                answer, descriptors = await self._line.receive()
            for descriptor in descriptors:  # It has sent none.
                os.close(descriptor)
            if errors := answer.get("errors"):
                raise SuccessionError("\n".join(map(str, errors)) if isinstance(errors, list) else str(errors))
        except TimeoutError as exc:
            await self.end()
            raise SuccessionError(f"it {what} within {timeout_s:g} s") from exc
        except Ended as exc:
            how = await self._how_ended()
            await self.end()
            raise SuccessionError(f"it ended at once ({how}); what it printed is in the log of this daemon") from exc
        except BaseException:
            await self.end()
            raise
        return answer

    async def _how_ended(self) -> str:
        """Return how it ended, if it does so within a moment."""
        assert self.process is not None, "start comes first"
        try:
            return signals.how_ended(await asyncio.wait_for(self.process.wait(), ENDING_S))
        except TimeoutError:
            return "it still runs, but has closed its link"

    async def end(self) -> None:
        """End it, if it has not ended; its workers, which serve nothing yet, end with it."""
        self.kill()
        if self.process is not None:
            with suppress(TimeoutError):  # In the kernel, uninterruptibly.
                await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)
        if self._line is not None:
            self._line.close()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()

    @property
    def pid(self) -> int:
        """Its process id; 0 without a process."""
        return self.process.pid if self.process else 0

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process is not None:
            self.process.signal(number)

    async def leave(self) -> None:
        """Tell it that it owns everything from now on.

        Raises:
            Ended: If it is gone.
        """
        assert self._line is not None, "start comes first"
        await self._line.send({"left": True})
        self._line.close()


class Predecessor:
    """The supervisor that has started this one for an upgrade.

    Args:
        descriptor: The socket towards it, owned from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def refuse(self, errors: Sequence[str]) -> None:
        """Report why this one cannot follow it. One that has left, or is gone, is not told."""
        if self._socket.fileno() < 0:
            return
        with suppress(OSError):
            self._socket.settimeout(REFUSE_TIMEOUT_S)
            for part in packets({"errors": list(errors) or ["it refuses, and does not say why"]}):
                self._socket.send(part)
        self._socket.close()

    async def inherit(self) -> Handover:
        """Report that this one can serve the file, and return what the other one hands over.

        Raises:
            SuccessionError: If it does not arrive, or is of an incompatible version.
        """
        line = SupervisorSocket(self._socket)
        await line.send(successor_hello())
        handover = Handover()
        message, descriptors = await line.receive()
        check_hello(message)
        while "given" not in message:
            handover.take(message, descriptors)
            if handover.legacy is not None:
                return handover
            message, descriptors = await line.receive()
        return _checked(handover)

    async def follow(self, control: str) -> None:
        """Report that this one is ready, and wait until the other one has left.

        Args:
            control: The control socket of this one.

        Raises:
            SuccessionError: If the other one has ended instead: then its workers wait for a new start, as after a kill.
        """
        line = SupervisorSocket(self._socket)
        await line.send({"has": True, "control": control})
        await line.receive()
        line.close()

    def close(self) -> None:
        """Close the link."""
        self._socket.close()


def _checked(handover: Handover) -> Handover:
    """Return the hand-over, unless a worker of an earlier upgrade is too old.

    Raises:
        SuccessionError: If one is.
    """
    for worker in handover.workers:
        if fault := mismatch(worker.hello):
            raise SuccessionError(f"worker pid {worker.pid}: {fault}: restart instead")
    return handover
