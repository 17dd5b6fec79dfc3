"""An upgrade: a supervisor starts its successor, which checks the file, and then leaves the workers to it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from spectrum.kernel import init, installation
from spectrum.kernel.installation import python as python_command
from spectrum.plane.handover import PROTOCOL

# The hidden option of `spectrum run` with the descriptor of `Predecessor`.
OPTION = "--succeed"
# A successor reads a file of 10,000 apps in three seconds.
READY_TIMEOUT_S = 60.0
MAX_MESSAGE_BYTES = 65536


class SuccessionError(Exception):
    """There is no successor; the message says why, a line for each fault."""


def arguments() -> list[str]:
    """Return the arguments of this process, without what made it a successor itself."""
    given = list(sys.argv[1:])
    while OPTION in given:
        place = given.index(OPTION)
        del given[place : place + 2]
    return given


class Successor:
    """The supervisor that is to follow this one.

    Attributes:
        process: Its process, once it is ready.
    """

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None

    async def start(self, python: str, command: Sequence[str]) -> None:
        """Start it with the interpreter `python`, and wait until it could serve the file.

        Raises:
            SuccessionError: If it can not; it has ended then.
        """
        if python == sys.executable and (fault := installation.fault()):
            raise SuccessionError(fault)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *python_command("spectrum", python),
                    *command,
                    OPTION,
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno(), *init.descriptors()],
                    env=environment,
                )
        except OSError as exc:
            ours.close()
            raise SuccessionError(f"{python}: {os.strerror(exc.errno or 0).lower()}") from exc
        try:
            answer = await asyncio.wait_for(self._answer(ours), READY_TIMEOUT_S)
            if errors := answer.get("errors"):
                raise SuccessionError("\n".join(errors))
            if answer.get("protocol") != PROTOCOL:
                raise SuccessionError("that version can not take sessions over from this one: restart instead")
        except BaseException as exc:  # cancelled, too: the daemon stops, and nobody is to follow it
            ours.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(exc, TimeoutError):
                raise SuccessionError(f"it was not ready within {READY_TIMEOUT_S:g} s") from exc
            raise
        self.process, self._socket = process, ours

    @property
    def pid(self) -> int:
        """Its process id; 0 where there is none."""
        return self.process.pid if self.process else 0

    async def _answer(self, ours: socket.socket) -> dict[str, Any]:
        data = await asyncio.get_running_loop().sock_recv(ours, MAX_MESSAGE_BYTES)
        if not data:
            raise SuccessionError("it ended at once; what it printed says why")
        answer: dict[str, Any] = json.loads(data)
        return answer

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def give_up(self) -> None:
        """End it: nothing is left to it."""
        assert self.process is not None, "start comes first"
        assert self._socket is not None, "start comes first"
        self._socket.close()
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def leave(self, workers: list[int]) -> None:
        """Let it take over these workers, which have no supervisor any more."""
        if self._socket is not None:
            self._socket.send(json.dumps({"workers": workers}).encode())
            self._socket.close()


class Predecessor:
    """The supervisor before this one, which has started it.

    Args:
        descriptor: The socket towards it, owned from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def refuse(self, errors: list[str]) -> None:
        """Say why this one can not follow it."""
        # Cut to fit a packet; the log has them all.
        kept = errors[:100]
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps({"errors": kept}).encode()[:MAX_MESSAGE_BYTES])
        self._socket.close()

    def follow(self) -> list[int]:
        """Say that this one can serve, and wait until the other is gone; return its workers."""
        self._socket.send(json.dumps({"protocol": PROTOCOL}).encode())
        data = self._socket.recv(MAX_MESSAGE_BYTES)
        self._socket.close()
        return list(json.loads(data)["workers"]) if data else []
