"""What the supervisor and its privileged helper say to each other: a request, an answer, over a UNIX socket.

Both ends block, and there is no asyncio here: the helper is small, and the supervisor asks in a thread. An upgrade may
leave a helper as it is, so a message keeps its tag, and fields are only added, at the end, with a default.
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

# A supervisor leaves a helper alone that speaks another one.
PROTOCOL = 2
# A packet must fit the socket's send buffer; the default (net.core.wmem_default) is 208 KiB.
MAX_PACKET_BYTES = 96 * 1024
# What does not fit a packet comes as a memory file. A million prefixes are 20 MB, a million bindings 60.
MAX_BODY_BYTES = 256 * 2**20
# SCM_MAX_FD of the kernel is 253.
PACKET_DESCRIPTORS = 250
# A socket for each family and transport of as many services as the kernel's table has.
MAX_DESCRIPTORS = 4096
BUSY_STEP_S = 0.01
# The first byte of a packet: the message follows; more descriptors do; its first descriptor is the message's file.
_WHOLE, _MORE, _FILE = b"\0", b"\1", b"\2"


class LineError(Exception):
    """The other end is gone, or what it says is not understood; the message says what."""


class NotUnderstood(LineError):
    """What was said is no message of this version; the other end may say something else."""


class Greet(msgspec.Struct, array_like=True, tag=True):
    """First of all. Answered with `Greeting`."""


class Another(msgspec.Struct, array_like=True, tag=True):
    """A line for one more supervisor, the successor of this one. Answered with its descriptor."""


class SetFilter(msgspec.Struct, array_like=True, tag=True):
    """Filter as the file says. Answered with `Filtered`, where samples are taken with the ring buffer's descriptor."""

    interfaces: list[str]
    settings: FilterSettings
    drops: Drops


class SetDrops(msgspec.Struct, array_like=True, tag=True):
    """Let exactly this be dropped of an owner's, other than the file. Answered with `Filtered`, as `SetFilter` is."""

    owner: str
    drops: Drops


class UndoFilter(msgspec.Struct, array_like=True, tag=True):
    """Undo the last `SetFilter`; what other owners have set since stays. Answered with `Filtered`."""


class KeepFilter(msgspec.Struct, array_like=True, tag=True):
    """The last `SetFilter` will not be undone: what that takes is forgotten."""


class RemoveFilter(msgspec.Struct, array_like=True, tag=True):
    """Let everything pass. Answered with `Done`."""


class SetDetection(msgspec.Struct, array_like=True, tag=True):
    """Look at packets for attacks. Answered with `Detecting`, and where it is on with the ring buffer's descriptor.

    Attributes:
        idle_one_in: One of so many packets of flows that are not in use is looked at; 0 for none.
        used_one_in: Of the others. With none of both it is off.
        served: Where apps are served, by `pack_served`.
    """

    idle_one_in: int
    used_one_in: int
    served: bytes


class SetTcpProtection(msgspec.Struct, array_like=True, tag=True):
    """Judge TCP packets by exactly these policies, where the filter is on. Answered with `Done`."""

    policies: TcpPolicies


class SetFlowPrograms(msgspec.Struct, array_like=True, tag=True):
    """Judge datagrams by exactly these programs, where the filter is on. Answered with `Filtered`, without samples."""

    programs: FlowPrograms


class SetBindings(msgspec.Struct, array_like=True, tag=True):
    """Let services have exactly these bindings, and a socket each. Answered with `Done`.

    Attributes:
        services: Labels with protocols that `bindings` are all of; others' stay as they are.
        bindings: Labels, protocols, prefixes and ports.
        sockets: The label of each descriptor that comes with it: a listening TCP, or a bound UDP socket.
    """

    services: list[tuple[str, str]]
    bindings: list[tuple[str, str, str, int]]
    sockets: list[str]


class ChangeBinding(msgspec.Struct, array_like=True, tag=True):
    """Bind, or undo it. Answered with `Done`."""

    binds: bool
    binding: tuple[str, str, str, int]


class ShowBindings(msgspec.Struct, array_like=True, tag=True):
    """Answered with `Bound`."""


class ShowCounts(msgspec.Struct, array_like=True, tag=True):
    """What a program has counted: "filter" or "bindings". Answered with `Counted`.

    With `flow_programs.COSTS` of how many judgements of each the time was measured, and how many nanoseconds they took.
    """

    program: str


class SetOffload(msgspec.Struct, array_like=True, tag=True):
    """Move UDP flows in the kernel. Answered with `Offloaded`, and descriptors of the tables.

    Attributes:
        interfaces: Where datagrams of clients and origins come in.
        flows: So many can be known.
    """

    interfaces: list[str]
    flows: int


class RemoveOffload(msgspec.Struct, array_like=True, tag=True):
    """Move all flows in user space. Answered with `Done`."""


class EnlargeQueues(msgspec.Struct, array_like=True, tag=True):
    """Make the queues of UDP sockets, which come with it, as long as those of listeners. Answered with `Done`."""


Request = (
    Greet
    | Another
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
    """Who the helper is."""

    protocol: int
    pid: int


class Done(msgspec.Struct, array_like=True, tag=True):
    """It is done; `found` is whether there was something to do."""

    found: bool = True


class NotDone(msgspec.Struct, array_like=True, tag=True):
    """It cannot be done, and nothing has changed."""

    why: str


class Filtered(msgspec.Struct, array_like=True, tag=True):
    """The filter holds; where it is on, by which numbers it counts (`PinnedFilter.places`)."""

    places: dict[str, int]


class Detecting(msgspec.Struct, array_like=True, tag=True):
    """Packets are looked at; by which numbers the filter counts (`PinnedFilter.places`) as looks tell."""

    places: dict[str, int]


class Bound(msgspec.Struct, array_like=True, tag=True):
    """What `Bindings.document` returns."""

    document: dict[str, Any]


class Counted(msgspec.Struct, array_like=True, tag=True):
    """What a program has counted by name, with bytes where it counts these; nothing where it is not loaded."""

    counts: dict[str, tuple[int, int]]


class Offloaded(msgspec.Struct, array_like=True, tag=True):
    """The kernel moves flows; `fresh` are tables that nobody has yet."""

    fresh: bool


Answer = Greeting | Done | NotDone | Filtered | Detecting | Bound | Offloaded | Counted

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_Message = TypeVar("_Message")


class HelperLine:
    """One end of the socket between the two.

    Args:
        sock: A connected SOCK_SEQPACKET socket, owned from here on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def limit(self, timeout_s: float) -> None:
        """Let the other end be silent for so long, in the middle of something and before an answer."""
        self._socket.settimeout(timeout_s)

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def ask(self, request: Request, descriptors: Sequence[int] = ()) -> tuple[Answer, list[int]]:
        """Return the answer to a request, and the descriptors that came with it, which the caller owns.

        Args:
            request: What is asked.
            descriptors: What goes with it; they stay open here.

        Raises:
            LineError: If there is none. What an answer that is late would be the answer to is unknown: close the line.
        """
        self.send(request, descriptors)
        data, received = self._receive()
        return _decoded(_answers, data, received), received

    def listen(self) -> tuple[Request, list[int]]:
        """Return the next request, and its descriptors, which the caller owns.

        Raises:
            LineError: If the other end is gone, or what it says is not understood.
        """
        data, received = self._receive()
        return _decoded(_requests, data, received), received

    def send(self, message: Request | Answer, descriptors: Sequence[int] = ()) -> None:
        """Send a message; its descriptors stay open here.

        Raises:
            LineError: If the other end is gone, or takes nothing in time.
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
                if exc.errno != errno.ETOOMANYREFS:  # more are on their way than this user may have (unix(7))
                    raise LineError(_why(exc)) from exc
                time.sleep(BUSY_STEP_S)
            else:
                return

    def _receive(self) -> tuple[bytes, list[int]]:
        """Return what a message consists of."""
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
    """Return what a memory file holds: a copy, so that whoever sent it cannot change it any more."""
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
