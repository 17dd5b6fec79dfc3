"""Messages between a supervisor and its successor, which may be of another version: JSON, and descriptors.

The messages are frozen: tests compare their bytes. Keys may be added; a receiver ignores unknown ones.
"""

import asyncio
import errno
import json
import socket
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from spectrum.core.snapshot import ListenerKey
from spectrum.kernel.descriptors import close_all
from spectrum.link.channel import MAX_DESCRIPTORS
from spectrum.link.readiness import readable, writable
from spectrum.link.versions import BEFORE_HELLO, Hello, from_json, in_json, mismatch

BUSY_STEP_S = 0.01
# Longer messages are sent in several packets; all but the last one have this size.
PACKET_BYTES = 65536
MAX_MESSAGE_BYTES = 16 * 2**20


class SuccessionError(Exception):
    """There is no successor, or the predecessor has ended; the message has a line for each fault."""


class Ended(SuccessionError):
    """The other end has closed."""


@dataclass(frozen=True, slots=True)
class GivenWorker:
    """A worker that is handed over.

    Attributes:
        place: Its number.
        pid: Its process id.
        relieved: Whether it has left its listeners and flows already.
        channel: The supervisor's end of its channel.
        process: Its pidfd (pidfd_open(2)).
        hello: Its version.
    """

    place: int
    pid: int
    relieved: bool
    channel: int
    process: int
    hello: Hello = BEFORE_HELLO


@dataclass(slots=True)
class Handover:
    """What a supervisor hands over to its successor. Descriptors are the sender's; the receiver owns its copies.

    Attributes:
        workers: Its workers.
        flows: The memory files of workers' flows, by place, including those of workers that are being replaced.
        listeners: Listening sockets, with the number of the worker that serves them.
        servers: Listening sockets of the control socket and of the metrics, by address.
        names: The addresses of names.
        helper: A line to the privileged helper, for a successor that is not root and so cannot start one.
        api: Listening sockets of the control API, by address.
        legacy: Only of a version that hands over nothing: processes that can be taken over now, or in a moment.
    """

    workers: list[GivenWorker] = field(default_factory=list)
    flows: dict[int, int] = field(default_factory=dict)
    listeners: list[tuple[int, ListenerKey, int]] = field(default_factory=list)
    servers: dict[str, int] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    legacy: list[int] | None = None
    helper: int | None = None
    api: dict[str, int] = field(default_factory=dict)

    def messages(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield the messages to send."""
        for one in self.workers:
            told = {"place": one.place, "pid": one.pid, "relieved": one.relieved, **in_json(one.hello)}
            yield {"worker": told}, [one.channel, one.process]
        for place, descriptor in self.flows.items():
            yield {"flows": place}, [descriptor]
        for start in range(0, len(self.listeners), MAX_DESCRIPTORS):
            part = self.listeners[start : start + MAX_DESCRIPTORS]
            keys = [[place, msgspec.to_builtins(key)] for place, key, _ in part]
            yield {"listeners": keys}, [descriptor for _, _, descriptor in part]
        for where, descriptor in self.servers.items():
            yield {"server": where}, [descriptor]
        for where, descriptor in self.api.items():
            yield {"api": where}, [descriptor]
        if self.helper is not None:
            yield {"helper": True}, [self.helper]
        yield {"names": self.names}, []

    def take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Add the content of a message; unknown keys of a later version are ignored."""
        match message:
            case {"worker": told}:
                channel, process = descriptors
                place, pid, relieved = told["place"], told["pid"], told["relieved"]
                self.workers.append(GivenWorker(place, pid, relieved, channel, process, from_json(told)))
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
            case {"api": where}:
                (self.api[where],) = descriptors
            case {"helper": _}:
                (self.helper,) = descriptors
            case {"workers": pids}:
                self.legacy = list(pids)
            case _:
                close_all(descriptors)


def successor_hello() -> dict[str, Any]:
    """Return the first message of a successor: it can serve the file, and is ready for the hand-over.

    A predecessor of version 1 continues if `protocol` is 1.
    """
    own = Hello()
    return {"protocol": own.oldest, "waits": True, **in_json(own)}


def predecessor_hello() -> dict[str, Any]:
    """Return the first message of a predecessor; the hand-over follows."""
    return in_json(Hello())


def check_hello(message: dict[str, Any]) -> None:
    """Compare the version in the other end's first message with this one.

    Raises:
        SuccessionError: If they do not fit.
    """
    try:
        fault = mismatch(from_json(message))
    except ValueError as exc:
        raise SuccessionError(f"it says no version that is understood: {exc}") from exc
    if fault:
        raise SuccessionError(f"{fault}: restart instead")


class SupervisorSocket:
    """One end of the socket between the two: JSON objects of any length, with descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    async def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message; its descriptors stay open here.

        Raises:
            Ended: If the other end has closed.
        """
        *parts, last = packets(message)
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
                if exc.errno != errno.ETOOMANYREFS:  # too many are in flight for this user (unix(7))
                    raise Ended(f"it has ended ({exc.strerror})") from exc
                await asyncio.sleep(BUSY_STEP_S)
            else:
                return

    async def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Return the next message, and its descriptors.

        Raises:
            Ended: If the other end has closed.
            SuccessionError: If it is invalid, or cannot be received.
        """
        data, descriptors = b"", list[int]()
        try:
            while len(data) <= MAX_MESSAGE_BYTES:
                await readable(self._socket)
                try:
                    part, more = self._receive()
                except ConnectionResetError:
                    continue  # it closed with unread messages; reported once, before its own (unix_release_sock)
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
            close_all(descriptors)
            raise

    def _receive(self) -> tuple[bytes, list[int]]:
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array("i").itemsize)
        data, controls, flags, _ = self._socket.recvmsg(PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
        descriptors = array("i")
        for _, _, content in controls:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & socket.MSG_CTRUNC:
            close_all(descriptors)
            raise SuccessionError(
                "too many open files: the limit of descriptors is not enough (LimitNOFILE=, ulimit -n)"
            )
        return data, descriptors.tolist()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def packets(message: dict[str, Any]) -> list[bytes]:
    """Return the packets of a message."""
    data = json.dumps(message).encode()
    return [data[start : start + PACKET_BYTES] for start in range(0, len(data), PACKET_BYTES)]


def _decoded(data: bytes) -> dict[str, Any] | None:
    if not data.rstrip().endswith(b"}"):  # more packets follow
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _shown(data: bytes) -> str:
    return repr(data[:200].decode("utf-8", "replace"))
