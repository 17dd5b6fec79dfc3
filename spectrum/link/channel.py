"""The channel between two processes: typed messages, and descriptors with them, over a UNIX socket.

SOCK_SEQPACKET keeps message boundaries and SCM_RIGHTS attached to its message (unix(7)), so there is no framing here.
What is larger than a packet (a snapshot) travels as a memory file's descriptor.

Each end begins with a `Hello`. If the versions do not fit, either end logs both, and closes.
"""

import asyncio
import logging
import math
import os
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from spectrum.kernel.descriptors import close_all
from spectrum.link.encoding import encode
from spectrum.link.versions import BEFORE_HELLO, Hello, mismatch

log = logging.getLogger(__name__)

# A packet must fit the socket's send buffer; the default (net.core.wmem_default) is 208 KiB.
MAX_PACKET_BYTES = 96 * 1024
# Half of the kernel's value: several packets fit, so that the other end wakes once for all of them. The kernel caps it
# at net.core.wmem_max (208 KiB by default).
SEND_BUFFER_BYTES = 208 * 1024
# Messages that are handled in one turn of the loop; counters of thousands of apps are many.
TURN_S = 0.001
# SCM_MAX_FD of the kernel is 253.
MAX_DESCRIPTORS = 250
# Bytes of packets kept for a peer that does not read, or that waits for a new supervisor. Records of sessions beyond
# it are dropped, and counted by the sender: about 14,000 fit.
MAX_WAITING_BYTES = 8 * 2**20
# Memory of a waiting packet besides its bytes: Python's objects.
PACKET_OVERHEAD_BYTES = 160

M = TypeVar("M")


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    made: list[int] = []
    try:
        for descriptor in descriptors:
            made.append(os.dup(descriptor))
    except OSError:
        close_all(made)
        raise
    return made


# The receive buffer, shared by all channels, which are read in one thread. If it were allocated per message, a process
# without memory could read none, and would retry in each turn of its loop.
_arrived = bytearray(MAX_PACKET_BYTES * 2)
_encoder = msgspec.msgpack.Encoder()


class Channel(Generic[M]):
    """One end of the channel.

    Args:
        sock: A connected SOCK_SEQPACKET socket; owned by this object.
        decoder: Decodes the messages of both ends, `Hello` among them.
        received: Called with each message and its descriptors, which it owns. At the limit of descriptors, a message
            arrives without any.
        closed: Called once when the other end has closed.
        drained: Called when all waiting messages have been sent.
        peer: The version of the other end, if this end was handed over by another process; None if unknown.

    Attributes:
        peer: The other end's version; None until its first message.
        refusal: Why the versions do not fit; the channel is then closed.
        gone: Whether the other end has stopped reading for good.
    """

    def __init__(
        self,
        sock: socket.socket,
        decoder: msgspec.msgpack.Decoder[M],
        received: Callable[[M, list[int]], None],
        closed: Callable[[], None],
        drained: Callable[[], None] = lambda: None,
        peer: Hello | None = None,
    ) -> None:
        self._socket = sock
        self._decoder = decoder
        self._received = received
        self._closed = closed
        self._drained = drained
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self._waiting_bytes = 0
        self._open = True
        self._paused = False
        self.gone = False
        self.peer = peer
        self.refusal = ""
        self._has_met = False
        self._undelivered: list[bytes] = []
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._take_some)
        if peer != BEFORE_HELLO:  # an older version would not understand it
            self._send(encode(_encoder, Hello()))

    def send(self, message: M, descriptors: Sequence[int] = (), droppable: bool = False) -> bool:
        """Send a message; return False if it was dropped.

        Descriptors are duplicated until they are sent, so the caller may close its own at once. A droppable message is
        dropped when the peer has stopped reading; nothing is sent on a closed channel, or when the other end is `gone`.

        Raises:
            OSError: If the kernel has no room for the message, or the process for the duplicates.
        """
        if not self._open:
            return False
        return self._send(encode(_encoder, message), descriptors, droppable)

    def _send(self, data: bytes, descriptors: Sequence[int] = (), droppable: bool = False) -> bool:
        if not self._waiting and self._transmit(data, descriptors):
            return not self.gone
        if droppable and self._waiting_bytes >= MAX_WAITING_BYTES:
            return False
        self._waiting.append((data, _duplicates(descriptors)))
        self._waiting_bytes += len(data) + PACKET_OVERHEAD_BYTES
        self._loop.add_writer(self._socket.fileno(), self._write)
        return True

    def _transmit(self, data: bytes, descriptors: Sequence[int]) -> bool:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([data], rights)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self.gone = True  # the reader will see the end
        return True

    def _write(self) -> None:
        while self._waiting:
            data, descriptors = self._waiting[0]
            if not self._transmit(data, descriptors):
                return
            if self.gone:
                break  # further messages are in `undelivered`
            self._waiting.popleft()
            self._waiting_bytes -= len(data) + PACKET_OVERHEAD_BYTES
            close_all(descriptors)
        self._loop.remove_writer(self._socket.fileno())
        if not self._waiting:
            self._drained()

    def pause(self) -> None:
        """Stop receiving until `resume`; meanwhile the end of the other process is not detected."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._socket.fileno())

    def resume(self) -> None:
        """Receive again."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._socket.fileno(), self._take_some)

    def _take_some(self) -> None:
        self._read(time.monotonic() + TURN_S)

    def _read(self, until: float = math.inf) -> None:
        while self._open and not self._paused:
            try:
                data, descriptors = self._receive()
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it closed with unread messages; reported once, before its own (unix_release_sock)
            if not data:
                self.close()
                self._closed()
                return
            try:
                message = self._decoder.decode(data)
            except msgspec.MsgspecError as exc:  # from another version, after an upgrade
                log.warning("a message that cannot be read: %s", exc)
                close_all(descriptors)
                continue
            if isinstance(message, Hello):
                self._meet(message)
            elif not self._has_met:
                self._meet(self.peer or BEFORE_HELLO)
            if not self._open:
                close_all(descriptors)
            elif not isinstance(message, Hello):
                self._received(message, descriptors)
            if time.monotonic() >= until:
                return

    def _meet(self, peer: Hello) -> None:
        """Check the other end's version; close if it does not fit."""
        self.peer, self._has_met = peer, True
        self.refusal = mismatch(peer)
        if self.refusal:
            log.error("refused: %s", self.refusal)
            self.close()
            self._closed()

    def _receive(self) -> tuple[memoryview, list[int]]:
        # Not socket.recv_fds, which drops its flags (CPython 3.11).
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        size, controls, flags, _ = self._socket.recvmsg_into([_arrived], room, socket.MSG_CMSG_CLOEXEC)
        data = memoryview(_arrived)[:size]
        received = array("i")
        for _, _, content in controls:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
        descriptors = received.tolist()
        if flags & socket.MSG_CTRUNC:  # the kernel drops descriptors beyond the limit (unix(7))
            log.error("out of descriptors: what came with a message is lost")
            close_all(descriptors)
            descriptors = []
        return data, descriptors

    def leave(self) -> None:
        """Close this end without loss: sent messages are received; later ones of the other end stay there."""
        if not self._open:
            return
        self._closed = lambda: None
        self._socket.shutdown(socket.SHUT_RDWR)
        self._read()
        self.close()

    def detach(self) -> None:
        """Close this end if another process has a copy of it, and continues the channel.

        Messages in the socket are received there; those that wait to be sent are dropped.
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
        """Whether this end is closed, by `close` or because the other end has closed."""
        return not self._open

    @property
    def waits(self) -> bool:
        """Whether messages wait to be sent."""
        return bool(self._waiting)

    def undelivered(self) -> list[M]:
        """Return the messages that waited to be sent when the channel closed, without their descriptors."""
        return [self._decoder.decode(data) for data in self._undelivered]

    def close(self) -> None:
        """Close this end; the other one detects it."""
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
