"""An upgrade: a supervisor starts its successor, gives it all that it needs, and leaves once that one has it.

The successor says that it can serve the file, gets copies of the descriptors by which the other one serves, prepares
everything else, and says that it has it. Until then nothing is given up: the one before goes on as if nothing had
happened, and stays where its successor refuses, ends or is silent.
"""

import asyncio
import errno
import json
import os
import socket
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from spectrum.core.snapshot import ListenerKey
from spectrum.kernel import init, installation
from spectrum.kernel.installation import python as python_command
from spectrum.link.handover import PROTOCOL, readable, writable

# The hidden option of `spectrum run` with the descriptor of `Predecessor`.
OPTION = "--succeed"
# A successor reads a file of 10,000 apps in three seconds.
READY_TIMEOUT_S = 60.0
# It opens what is new, and starts its workers.
TAKE_TIMEOUT_S = 60.0
REFUSE_TIMEOUT_S = 10.0
# One that was killed is reaped by then.
END_TIMEOUT_S = 5.0
BUSY_STEP_S = 0.01
# A message that is longer is sent in several packets; all but its last one have this size.
PACKET_BYTES = 65536
MAX_MESSAGE_BYTES = 16 * 2**20
# SCM_MAX_FD of the kernel is 253.
MAX_DESCRIPTORS = 250


class SuccessionError(Exception):
    """There is no successor, or no predecessor any more; the message says why, a line for each fault."""


class Ended(SuccessionError):
    """The other end is closed."""


def arguments() -> list[str]:
    """Return the arguments of this process, without what made it a successor itself."""
    given = list(sys.argv[1:])
    while OPTION in given:
        place = given.index(OPTION)
        del given[place : place + 2]
    return given


@dataclass(frozen=True, slots=True)
class GivenWorker:
    """A worker that is handed over.

    Attributes:
        place: Its number.
        pid: Its process.
        relieved: It has left its listeners and flows already.
        channel: The supervisor's end of its channel.
        process: The process, by pidfd_open(2).
    """

    place: int
    pid: int
    relieved: bool
    channel: int
    process: int


@dataclass(slots=True)
class Heritage:
    """What a supervisor gives to its successor. Descriptors are the giver's, and become the taker's own.

    Attributes:
        workers: Its workers.
        flows: The memory files of workers' flows, by place; those of a worker that is being replaced, too.
        listeners: Listening sockets, with the number of the worker that serves them.
        servers: Listening sockets of the control socket and of the metrics, by where they listen.
        names: The addresses of names.
        legacy: Only of a version that gives nothing: processes that wait to be taken over, or will in a moment.
    """

    workers: list[GivenWorker] = field(default_factory=list)
    flows: dict[int, int] = field(default_factory=dict)
    listeners: list[tuple[int, ListenerKey, int]] = field(default_factory=list)
    servers: dict[str, int] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    legacy: list[int] | None = None

    def messages(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield what is sent."""
        for one in self.workers:
            told = {"place": one.place, "pid": one.pid, "relieved": one.relieved}
            yield {"worker": told}, [one.channel, one.process]
        for place, descriptor in self.flows.items():
            yield {"flows": place}, [descriptor]
        for start in range(0, len(self.listeners), MAX_DESCRIPTORS):
            part = self.listeners[start : start + MAX_DESCRIPTORS]
            keys = [[place, msgspec.to_builtins(key)] for place, key, _ in part]
            yield {"listeners": keys}, [descriptor for _, _, descriptor in part]
        for where, descriptor in self.servers.items():
            yield {"server": where}, [descriptor]
        yield {"names": self.names}, []

    def take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Enter what a message brings."""
        match message:
            case {"worker": told}:
                self.workers.append(GivenWorker(told["place"], told["pid"], told["relieved"], *descriptors))
            case {"listeners": keys}:
                self.listeners += [
                    (place, msgspec.convert(key, ListenerKey), descriptor)
                    for (place, key), descriptor in zip(keys, descriptors, strict=True)
                ]
            case {"flows": place}:
                (self.flows[place],) = descriptors
            case {"names": names}:
                self.names |= {name: tuple(addresses) for name, addresses in names.items()}
            case {"server": where}:
                (self.servers[where],) = descriptors
            case {"workers": pids}:
                self.legacy = list(pids)


class _SupervisorSocket:
    """One end of the socket between the two: JSON objects of any length, with descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    async def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message; its descriptors stay open here.

        Raises:
            Ended: If nobody is at the other end.
        """
        *parts, last = _parts(message)
        for part in parts:
            await self._send(part, ())
        await self._send(last, descriptors)

    async def _send(self, part: bytes, descriptors: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        while True:
            try:
                self._socket.sendmsg([part], rights)
            except BlockingIOError:
                await writable(self._socket)
            except OSError as exc:
                if exc.errno != errno.ETOOMANYREFS:  # more are on their way than this user may have (unix(7))
                    raise Ended(f"it has ended ({exc.strerror})") from exc
                await asyncio.sleep(BUSY_STEP_S)
            else:
                return

    async def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Return the next message, and the descriptors that came with it.

        Raises:
            Ended: If the other end is closed.
            SuccessionError: If what comes is no message, or cannot be taken.
        """
        data, descriptors = b"", list[int]()
        try:
            while len(data) <= MAX_MESSAGE_BYTES:
                await readable(self._socket)
                try:
                    part, more = self._receive()
                except ConnectionResetError:
                    continue  # it ended without reading all; said once, before what it sent (unix_release_sock)
                descriptors += more
                if not part:
                    raise SuccessionError(f"it ended in the middle of {_shown(data)}") if data else Ended("it ended")
                data += part
                message = _decoded(data)
                if message is not None:
                    return message, descriptors
                if len(part) < PACKET_BYTES:
                    raise SuccessionError(f"it said what is not understood: {_shown(data)}")
            raise SuccessionError(f"it said more than {MAX_MESSAGE_BYTES} bytes at once")
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def _receive(self) -> tuple[bytes, list[int]]:
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array("i").itemsize)
        data, controls, flags, _ = self._socket.recvmsg(PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
        descriptors = array("i")
        for _, _, content in controls:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & socket.MSG_CTRUNC:
            for descriptor in descriptors:
                os.close(descriptor)
            raise SuccessionError(
                "too many open files: the limit of descriptors is not enough (LimitNOFILE=, ulimit -n)"
            )
        return data, descriptors.tolist()

    def close(self) -> None:
        self._socket.close()


def _parts(message: dict[str, Any]) -> list[bytes]:
    data = json.dumps(message).encode()
    return [data[start : start + PACKET_BYTES] for start in range(0, len(data), PACKET_BYTES)]


def _decoded(data: bytes) -> dict[str, Any] | None:
    if not data.rstrip().endswith(b"}"):  # it goes on
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _shown(data: bytes) -> str:
    return repr(data[:200].decode("utf-8", "replace"))


class Successor:
    """The supervisor that is to follow this one.

    Attributes:
        process: Its process, while there is one.
        control: The control socket that it serves, known once it has all that it needs.
    """

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.control = ""
        self._line: _SupervisorSocket | None = None

    async def start(self, python: str, command: Sequence[str]) -> None:
        """Start it with the interpreter `python`, and wait until it could serve the file.

        Raises:
            SuccessionError: If it cannot; it has ended then.
        """
        if python == sys.executable and (fault := installation.fault()):
            raise SuccessionError(fault)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line = _SupervisorSocket(ours)
        environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        try:
            with theirs:
                self.process = await asyncio.create_subprocess_exec(
                    *python_command("spectrum", python),
                    *command,
                    OPTION,
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno(), *init.descriptors()],
                    env=environment,
                )
        except OSError as exc:
            self._line.close()
            raise SuccessionError(f"{python}: {(exc.strerror or str(exc)).lower()}") from exc
        answer = await self._hear(READY_TIMEOUT_S, "was not ready")
        if answer.get("protocol") != PROTOCOL or not answer.get("waits"):
            await self.end()
            raise SuccessionError("that version cannot take sessions over from this one: restart instead")

    async def give(self, heritage: Heritage) -> None:
        """Give it what it needs of this one, and wait until it has all that it needs.

        Raises:
            SuccessionError: If it does not get so far; it has ended then.
        """
        assert self._line is not None, "start comes first"
        try:
            async with asyncio.timeout(TAKE_TIMEOUT_S):
                for message, descriptors in heritage.messages():
                    await self._line.send(message, descriptors)
                await self._line.send({"given": True})
        except (Ended, TimeoutError):
            pass  # what it says next tells why
        answer = await self._hear(TAKE_TIMEOUT_S, "had not all that it needs")
        self.control = str(answer.get("control", ""))

    async def _hear(self, timeout_s: float, what: str) -> dict[str, Any]:
        """Return its next message.

        Raises:
            SuccessionError: If it refuses, ends, or is silent; it has ended then.
        """
        assert self._line is not None, "start comes first"
        try:
            async with asyncio.timeout(timeout_s):
                answer, descriptors = await self._line.receive()
            for descriptor in descriptors:  # it has none for us
                os.close(descriptor)
            if errors := answer.get("errors"):
                raise SuccessionError("\n".join(map(str, errors)) if isinstance(errors, list) else str(errors))
        except TimeoutError as exc:
            await self.end()
            raise SuccessionError(f"it {what} within {timeout_s:g} s") from exc
        except Ended as exc:
            await self.end()
            raise SuccessionError("it ended at once; what it printed says why") from exc
        except BaseException:
            await self.end()
            raise
        return answer

    async def end(self) -> None:
        """End it, if it has not; its workers, which serve nothing yet, end with it."""
        self.kill()
        if self.process is not None:
            with suppress(TimeoutError):  # in the kernel, uninterruptibly
                await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)
        if self._line is not None:
            self._line.close()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()

    @property
    def pid(self) -> int:
        """Its process id; 0 where there is none."""
        return self.process.pid if self.process else 0

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def leave(self) -> None:
        """Tell it that from now on everything is its own.

        Raises:
            Ended: If it is gone.
        """
        assert self._line is not None, "start comes first"
        await self._line.send({"left": True})
        self._line.close()


class Predecessor:
    """The supervisor before this one, which has started it.

    Args:
        descriptor: The socket towards it, owned from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def refuse(self, errors: Sequence[str]) -> None:
        """Say why this one cannot follow it. One that has left, or is gone, is told nothing."""
        if self._socket.fileno() < 0:
            return
        with suppress(OSError):
            self._socket.settimeout(REFUSE_TIMEOUT_S)
            for part in _parts({"errors": list(errors) or ["it refuses, and does not say why"]}):
                self._socket.send(part)
        self._socket.close()

    async def inherit(self) -> Heritage:
        """Say that this one can serve the file, and return what it gets for that.

        Raises:
            SuccessionError: If it does not come.
        """
        line = _SupervisorSocket(self._socket)
        await line.send({"protocol": PROTOCOL, "waits": True})
        heritage = Heritage()
        try:
            while True:
                message, descriptors = await line.receive()
                if "given" in message:
                    return heritage
                heritage.take(message, descriptors)
                if heritage.legacy is not None:
                    return heritage
        except Ended:
            if heritage.workers or heritage.listeners:
                raise
            return Heritage(legacy=[])  # of a version that says nothing where it has no workers

    async def follow(self, control: str) -> None:
        """Say that this one has all that it needs, and wait until the other one has left.

        Args:
            control: The control socket of this one.

        Raises:
            SuccessionError: If the other one has ended instead: its workers wait for a new start then, as of one that
                was killed.
        """
        line = _SupervisorSocket(self._socket)
        await line.send({"has": True, "control": control})
        await line.receive()
        line.close()

    def close(self) -> None:
        """Say nothing more."""
        self._socket.close()
