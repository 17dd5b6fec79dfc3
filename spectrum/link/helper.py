"""Messages between the supervisor and its privileged helper: requests and answers over a UNIX socket.

Both ends block, without asyncio: the helper is small, and the supervisor asks in a thread. An upgrade may keep the
running helper, so a message keeps its tag, and fields are only added, at the end, with a default.
"""

import errno
import os
import socket
import time
from array import array
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter.drops import Drops
from spectrum.kernel.filter.flow_programs import FlowPrograms
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.filter.tcp_protection import TcpPolicies
from spectrum.link.encoding import encode

# The version of the protocol; a supervisor does not use a helper of another one.
PROTOCOL = 3
# A packet must fit the socket's send buffer; the default (net.core.wmem_default) is 208 KiB.
MAX_PACKET_BYTES = 96 * 1024
# Limit of messages in memory files, for those larger than a packet. A million prefixes are 20 MB, a million bindings
# 60.
MAX_BODY_BYTES = 256 * 2**20
# SCM_MAX_FD of the kernel is 253.
PACKET_DESCRIPTORS = 250
# Limit of sockets: one for each family and transport of as many services as the kernel's table has.
MAX_DESCRIPTORS = 4096
BUSY_STEP_S = 0.01
# The first byte of a packet: a message follows; further descriptors follow; the message is in the first descriptor.
_WHOLE, _MORE, _FILE = b"\0", b"\1", b"\2"


class LineError(Exception):
    """The other end has closed, or its message is invalid; the text has the reason."""


class NotUnderstood(LineError):
    """The message is not one of this version; the next one may be."""


class Greet(msgspec.Struct, array_like=True, tag=True):
    """The first message. Answered with `Greeting`."""


class OpenLine(msgspec.Struct, array_like=True, tag="Another"):
    """Open a line for one more supervisor, the successor of this one. Answered with its descriptor."""


class SetFilter(msgspec.Struct, array_like=True, tag=True):
    """Apply the file's filter. Answered with `Filtered`, with samples also with the ring buffer's descriptor."""

    interfaces: list[str]
    settings: FilterSettings
    drops: Drops


class SetDrops(msgspec.Struct, array_like=True, tag=True):
    """Replace the drops of an owner other than the file. Answered with `Filtered`, as `SetFilter`."""

    owner: str
    drops: Drops


class UndoFilter(msgspec.Struct, array_like=True, tag=True):
    """Undo the last `SetFilter`; later changes by other owners stay. Answered with `Filtered`."""


class KeepFilter(msgspec.Struct, array_like=True, tag=True):
    """The last `SetFilter` will not be undone: forget the former state."""


class RemoveFilter(msgspec.Struct, array_like=True, tag=True):
    """Remove the filter. Answered with `Done`."""


class SetDetection(msgspec.Struct, array_like=True, tag=True):
    """Configure detection. Answered with `Detecting`, and if it is on with the ring buffer's descriptor.

    Attributes:
        idle_one_in: The sampling interval of packets of flows that are not in use; 0 for no samples.
        used_one_in: That of other packets. If both are 0, detection is off.
        served: The addresses and ports of apps, by `pack_served`.
    """

    idle_one_in: int
    used_one_in: int
    served: bytes


class SetTcpProtection(msgspec.Struct, array_like=True, tag=True):
    """Replace the policies of TCP protection, if the filter is on. Answered with `Done`."""

    policies: TcpPolicies


class SetFlowPrograms(msgspec.Struct, array_like=True, tag=True):
    """Replace the flow programs, if the filter is on. Answered with `Filtered`, without samples."""

    programs: FlowPrograms


class SetBindings(msgspec.Struct, array_like=True, tag=True):
    """Replace the bindings of services, and their sockets. Answered with `Done`.

    Attributes:
        services: Labels with protocols for which `bindings` are complete; bindings of others stay.
        bindings: Labels, protocols, prefixes and ports.
        sockets: The label of each of the message's descriptors: a listening TCP, or a bound UDP socket.
    """

    services: list[tuple[str, str]]
    bindings: list[tuple[str, str, str, int]]
    sockets: list[str]


class ChangeBinding(msgspec.Struct, array_like=True, tag=True):
    """Add a binding, or remove it. Answered with `Done`."""

    binds: bool
    binding: tuple[str, str, str, int]


class ShowBindings(msgspec.Struct, array_like=True, tag=True):
    """Answered with `Bound`."""


class ShowCounts(msgspec.Struct, array_like=True, tag=True):
    """Return the counters of a program: "filter" or "bindings". Answered with `Counted`.

    With `flow_programs.COSTS` the number of measured judgements of each flow program, and their time in ns.
    """

    program: str


class SetOffload(msgspec.Struct, array_like=True, tag=True):
    """Forward UDP flows in the kernel. Answered with `Offloaded`, and descriptors of the tables.

    Attributes:
        interfaces: The interfaces of clients' and origins' datagrams.
        flows: The size of the tables.
    """

    interfaces: list[str]
    flows: int


class RemoveOffload(msgspec.Struct, array_like=True, tag=True):
    """Stop forwarding UDP flows in the kernel. Answered with `Done`."""


class EnlargeQueues(msgspec.Struct, array_like=True, tag=True):
    """Enlarge the receive buffers of the message's UDP sockets to those of listeners. Answered with `Done`."""


Request = (
    Greet
    | OpenLine
    | SetFilter
    | SetDrops
    | UndoFilter
    | KeepFilter
    | RemoveFilter
    | SetDetection
    | SetTcpProtection
    | SetFlowPrograms
    | SetBindings
    | ChangeBinding
    | ShowBindings
    | SetOffload
    | RemoveOffload
    | EnlargeQueues
    | ShowCounts
)


class Greeting(msgspec.Struct, array_like=True, tag=True):
    """The helper's version."""

    protocol: int
    pid: int


class Done(msgspec.Struct, array_like=True, tag=True):
    """The request was carried out; `found` is whether there was something to do."""

    found: bool = True


class NotDone(msgspec.Struct, array_like=True, tag=True):
    """The request failed, and nothing has changed."""

    why: str


class Filtered(msgspec.Struct, array_like=True, tag=True):
    """The filter is applied; if it is on, with the indexes of its counters (`PinnedFilter.places`)."""

    places: dict[str, int]


class Detecting(msgspec.Struct, array_like=True, tag=True):
    """Detection is configured; with the indexes of the filter's counters (`PinnedFilter.places`) in samples."""

    places: dict[str, int]


class Bound(msgspec.Struct, array_like=True, tag=True):
    """The document of `Bindings.document`."""

    document: dict[str, Any]


class Counted(msgspec.Struct, array_like=True, tag=True):
    """The counters of a program by name, with bytes where it counts them; empty if it is not loaded."""

    counts: dict[str, tuple[int, int]]


class Offloaded(msgspec.Struct, array_like=True, tag=True):
    """The kernel forwards flows; `fresh` is whether the tables are new."""

    fresh: bool


Answer = Greeting | Done | NotDone | Filtered | Detecting | Bound | Offloaded | Counted

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_Message = TypeVar("_Message")


class HelperLine:
    """One end of the socket between the two.

    Args:
        sock: A connected SOCK_SEQPACKET socket; owned by this object.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def limit(self, timeout_s: float) -> None:
        """Set the timeout within a message and before an answer."""
        self._socket.settimeout(timeout_s)

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def ask(self, request: Request, descriptors: Sequence[int] = ()) -> tuple[Answer, list[int]]:
        """Return the answer to a request, and its descriptors, which the caller owns.

        Args:
            request: The request.
            descriptors: Its descriptors; they stay open here.

        Raises:
            LineError: If there is no answer. A late answer could be mistaken for that of the next request: close the
                line.
        """
        self.send(request, descriptors)
        data, received = self._receive()
        return _decoded(_answers, data, received), received

    def listen(self) -> tuple[Request, list[int]]:
        """Return the next request, and its descriptors, which the caller owns.

        Raises:
            LineError: If the other end has closed, or its message is invalid.
        """
        data, received = self._receive()
        return _decoded(_requests, data, received), received

    def send(self, message: Request | Answer, descriptors: Sequence[int] = ()) -> None:
        """Send a message; its descriptors stay open here.

        Raises:
            LineError: If the other end has closed, or does not read in time.
        """
        body = encode(_encoder, message)
        if len(body) < MAX_PACKET_BYTES:
            self._send_all(_WHOLE + body, list(descriptors))
            return
        file = os.memfd_create("helper", os.MFD_CLOEXEC)
        try:
            left = memoryview(body)
            while left:
                left = left[os.write(file, left) :]
            self._send_all(_FILE, [*descriptors, file])
        finally:
            os.close(file)

    def _send_all(self, last: bytes, descriptors: list[int]) -> None:
        while len(descriptors) > PACKET_DESCRIPTORS:
            self._send(_MORE, descriptors[:PACKET_DESCRIPTORS])
            del descriptors[:PACKET_DESCRIPTORS]
        self._send(last, descriptors)

    def _send(self, packet: bytes, descriptors: list[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        while True:
            try:
                self._socket.sendmsg([packet], rights)
            except OSError as exc:
                if exc.errno != errno.ETOOMANYREFS:  # too many are in flight for this user (unix(7))
                    raise LineError(_why(exc)) from exc
                time.sleep(BUSY_STEP_S)
            else:
                return

    def _receive(self) -> tuple[bytes, list[int]]:
        """Return the bytes and descriptors of a message."""
        received: list[int] = []
        try:
            while True:
                packet, more = self._receive_packet()
                received += more
                kind, data = packet[:1], packet[1:]
                if not kind:
                    raise LineError("it has ended")
                if len(received) > MAX_DESCRIPTORS + 1:
                    raise LineError(f"more than {MAX_DESCRIPTORS} descriptors with a message")
                if kind == _WHOLE:
                    return data, received
                if kind == _FILE and received:
                    return _read_file(received.pop()), received
                if kind != _MORE:
                    raise LineError("a packet of an unknown kind")
        except BaseException:
            close_all(received)
            raise

    def _receive_packet(self) -> tuple[bytes, list[int]]:
        room = socket.CMSG_SPACE(PACKET_DESCRIPTORS * array("i").itemsize)
        try:
            data, controls, flags, _ = self._socket.recvmsg(MAX_PACKET_BYTES + 1, room, socket.MSG_CMSG_CLOEXEC)
        except OSError as exc:
            raise LineError(_why(exc)) from exc
        descriptors = array("i")
        for _, _, content in controls:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            close_all(descriptors)
            raise LineError("out of descriptors: what came with a message is lost (LimitNOFILE=, ulimit -n)")
        return data, descriptors.tolist()


def _read_file(file: int) -> bytes:
    """Return the content of a memory file: a copy, which the sender cannot change any more."""
    try:
        size = os.fstat(file).st_size
        if size > MAX_BODY_BYTES:
            raise LineError(f"a message of more than {MAX_BODY_BYTES} bytes")
        parts, at = [], 0
        while at < size and (part := os.pread(file, size - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)
    except OSError as exc:
        raise LineError(_why(exc)) from exc
    finally:
        os.close(file)


def _why(exc: OSError) -> str:
    if isinstance(exc, TimeoutError):
        return "it does not answer"
    return f"it is gone ({(exc.strerror or str(exc)).lower()})"


def _decoded(decoder: msgspec.msgpack.Decoder[_Message], data: bytes, received: list[int]) -> _Message:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as exc:
        close_all(received)
        raise NotUnderstood(f"what it says is not understood: {exc}") from exc
