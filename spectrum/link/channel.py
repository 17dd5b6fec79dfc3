"""The channel between supervisor and worker: typed messages, and descriptors with them, over a UNIX socket.

SOCK_SEQPACKET keeps message boundaries and SCM_RIGHTS attached to its message (unix(7)), so there is no framing here.
What is larger than a packet (a snapshot) travels as a memory file's descriptor. The tag of a message, its class's name
where none is given, is part of the protocol: a renamed class keeps it, for processes of the version before an upgrade.
"""

import asyncio
import logging
import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from spectrum.core.balancing.outliers import Signs
from spectrum.core.balancing.pools import Standing
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.snapshot import ListenerKey

log = logging.getLogger(__name__)

# A packet must fit the socket's send buffer; the default (net.core.wmem_default) is 208 KiB.
MAX_PACKET_BYTES = 96 * 1024
# SCM_MAX_FD of the kernel is 253.
MAX_DESCRIPTORS = 250
# Of names and addresses in one packet; a single name may have more, as many as an answer over TCP holds.
NAMES_BYTES = 48 * 1024
# Bytes of packets kept for a peer that does not read, or is gone until another one comes. Records of sessions beyond it
# are dropped, and counted by the sender: about 14,000 fit.
MAX_WAITING_BYTES = 8 * 2**20


class Sockets(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with as many descriptors: listening sockets for the next `Configure`."""

    keys: list[ListenerKey]


class Memory(msgspec.Struct, array_like=True, tag=True):
    """To a worker, first of all, with the descriptors of five memory files.

    They are for its own UDP flows, and for what all workers share: loads, affinities, census and rates.
    """

    worker: int
    workers: int
    max_affinities: int
    secret: int
    ipv4_bits: int
    ipv6_bits: int
    ipv4_wide_bits: int
    ipv6_wide_bits: int


class Offloading(msgspec.Struct, array_like=True, tag=True):
    """To a worker, before a `Configure`, with the kernel's tables of UDP flows: flows, tallies, leases.

    Another version are other tables. Without descriptors, and without places: the kernel moves none any more.
    """

    version: int = 0
    places: int = 0


class Started(msgspec.Struct, array_like=True, tag=True):
    """From a worker, first of all: it runs, and waits for what it is to serve."""


class Take(msgspec.Struct, array_like=True, tag=True):
    """To a worker whose supervisor is gone: there is a new one. It answers with `Sockets` and `Veteran`."""


class Veteran(msgspec.Struct, array_like=True, tag=True):
    """From a worker that is taken over: who it is. With the descriptor of its flows, unless it released them before."""

    number: int
    pid: int


class Release(msgspec.Struct, array_like=True, tag=True):
    """To a worker that is taken over: leave listeners and flows to the one that follows it.

    With a descriptor: through that socket go the sockets of flows. Its TCP sessions may go on for so many seconds, 0
    for as long as they last.
    """

    timeout_s: float


class Released(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it has."""


class Inherit(msgspec.Struct, array_like=True, tag=True):
    """To a worker that follows another one, with the descriptor from which it reads the sockets of flows."""


class Configure(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with two descriptors: memory files that hold a `Snapshot`, and the table of its access rules.

    It answers with `Applied` or `Refused`, in the order in which it was told.
    """

    generation: int = 0


class TicketKeysUpdate(msgspec.Struct, array_like=True, tag="Tickets"):
    """To a worker: the keys of TLS session tickets, the first of which encrypts."""

    keys: list[bytes]


class Names(msgspec.Struct, array_like=True, tag=True):
    """To a worker: the addresses of names, by `core.names.name_key`; from one that is taken over: those that it has."""

    addresses: dict[str, tuple[str, ...]]

    @classmethod
    def packets(cls, addresses: dict[str, tuple[str, ...]]) -> "Iterator[Names]":
        """Yield as many messages as it takes."""
        part: dict[str, tuple[str, ...]] = {}
        size = 0
        for name, known in addresses.items():
            # Each text has up to three bytes before it (the MessagePack specification, str format family).
            own = len(name.encode()) + sum(len(address) + 3 for address in known) + 8
            if part and size + own > NAMES_BYTES:
                yield cls(part)
                part, size = {}, 0
            part[name] = known
            size += own
        if part:
            yield cls(part)


class HealthUpdate(msgspec.Struct, array_like=True, tag="Health"):
    """To a worker: the standing of origins by number, and the latency of pools by name, as far as either changed."""

    standings: dict[int, Standing]
    latencies: dict[str, float]


class Ask(msgspec.Struct, array_like=True, tag=True):
    """To a worker: send measures now."""

    number: int


class Drain(msgspec.Struct, array_like=True, tag=True):
    """To a worker: stop accepting, let sessions end for so many seconds, then exit."""

    timeout_s: float


class Applied(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it serves this generation."""

    generation: int


class Refused(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it cannot serve this generation, and goes on with the one that it `serves`, 0 for none."""

    generation: int
    why: str
    serves: int


class Measures(msgspec.Struct, array_like=True, tag=True):
    """From a worker: what it counted since the last report. `last` ends the answer to ask `number` (0: not asked)."""

    number: int
    last: bool
    apps: dict[str, AppMeasures]
    worker: WorkerMeasures
    sessions: int
    stalled: bool
    held_bytes: int = 0
    offloaded: int = 0
    # Listeners that the kernel will not watch.
    deaf: int = 0


class Met(msgspec.Struct, array_like=True, tag=True):
    """From a worker: what clients met at origins since the last such message, by number."""

    signs: dict[int, Signs]


class Events(msgspec.Struct, array_like=True, tag=True):
    """From a worker: ended sessions, one JSON object per line."""

    count: int
    lines: bytes


Message = (
    Memory
    | Sockets
    | Configure
    | Names
    | TicketKeysUpdate
    | Offloading
    | HealthUpdate
    | Ask
    | Drain
    | Applied
    | Measures
    | Met
    | Events
    | Started
    | Take
    | Veteran
    | Release
    | Released
    | Inherit
    | Refused
)


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    made: list[int] = []
    try:
        for descriptor in descriptors:
            made.append(os.dup(descriptor))
    except OSError:
        close_all(made)
        raise
    return made


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Channel:
    """One end of the channel.

    Args:
        sock: A connected SOCK_SEQPACKET socket, owned from here on.
        received: Called with each message and its descriptors, which it owns. Where this process could not take all of
            them, at its limit, the message comes without any.
        closed: Called once when the other end is gone.
        drained: Called when all that waited to be sent has been.

    Attributes:
        gone: The other end takes nothing any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[Message, list[int]], None],
        closed: Callable[[], None],
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket = sock
        self._received = received
        self._closed = closed
        self._drained = drained
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self._waiting_bytes = 0
        self._open = True
        self.gone = False
        self._undelivered: list[bytes] = []
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: Message, descriptors: Sequence[int] = (), droppable: bool = False) -> bool:
        """Send a message; return False where it was dropped.

        Descriptors are duplicated until they are sent, so the caller may close its own at once. A droppable message is
        dropped when the peer has stopped reading; nothing is sent on a closed channel, or when the other end is `gone`.

        Raises:
            OSError: If the kernel has no room for the message, or the process for the duplicates.
        """
        if not self._open:
            return False
        data = _encoder.encode(message)
        if not self._waiting and self._transmit(data, descriptors):
            return not self.gone
        if droppable and self._waiting_bytes >= MAX_WAITING_BYTES:
            return False
        self._waiting.append((data, _duplicates(descriptors)))
        self._waiting_bytes += len(data)
        self._loop.add_writer(self._socket.fileno(), self._write)
        return True

    def _transmit(self, data: bytes, descriptors: Sequence[int]) -> bool:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([data], rights)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self.gone = True  # the reader sees the end
        return True

    def _write(self) -> None:
        while self._waiting:
            data, descriptors = self._waiting[0]
            if not self._transmit(data, descriptors):
                return
            if self.gone:
                break  # what waits is `undelivered`
            self._waiting.popleft()
            self._waiting_bytes -= len(data)
            close_all(descriptors)
        self._loop.remove_writer(self._socket.fileno())
        if not self._waiting:
            self._drained()

    def _read(self) -> None:
        while self._open:
            try:
                data, descriptors = self._receive()
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # the other end left without reading all; said once, before what it sent (unix_release_sock)
            if not data:
                self.close()
                self._closed()
                return
            try:
                message = _decoder.decode(data)
            except msgspec.MsgspecError as exc:  # of another version, after an upgrade
                log.warning("a message that can not be read: %s", exc)
                close_all(descriptors)
                continue
            self._received(message, descriptors)

    def _receive(self) -> tuple[bytes, list[int]]:
        # Not socket.recv_fds, which drops its flags (CPython 3.11).
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        data, controls, flags, _ = self._socket.recvmsg(MAX_PACKET_BYTES * 2, room, socket.MSG_CMSG_CLOEXEC)
        received = array("i")
        for _, _, content in controls:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
        descriptors = received.tolist()
        if flags & socket.MSG_CTRUNC:  # the kernel drops what does not fit the limit (unix(7))
            log.error("out of descriptors: what came with a message is lost")
            close_all(descriptors)
            descriptors = []
        return data, descriptors

    def leave(self) -> None:
        """Close this end without a loss: what the other one has sent is received, what it sends later it keeps."""
        if not self._open:
            return
        self._closed = lambda: None
        self._socket.shutdown(socket.SHUT_RDWR)
        self._read()
        self.close()

    def detach(self) -> None:
        """Close this end where another process has a copy of it, which goes on with the channel.

        What has been sent already is received; what waits to be sent is dropped.
        """
        if self._open:
            self._closed = lambda: None
            self._read()
            self.close()

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether this end is closed: its closing, or the other end's has been read."""
        return not self._open

    @property
    def waits(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting)

    def undelivered(self) -> list[Message]:
        """Return what waited to be sent when the channel closed, without its descriptors."""
        return [_decoder.decode(data) for data in self._undelivered]

    def close(self) -> None:
        """Close this end; the other one sees it."""
        if not self._open:
            return
        self._open = False
        self.gone = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        for _, descriptors in self._waiting:
            close_all(descriptors)
        self._undelivered = [data for data, _ in self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        self._socket.close()
