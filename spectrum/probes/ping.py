"""The icmp_ping monitor: an echo request is answered. One socket per family serves all probes."""

import asyncio
import errno
import secrets
import socket
import struct
import time
from itertools import count

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.target import ProbeFailure, ProbeTarget
from spectrum.wire.icmp import echo_request, parse_echo_reply

# linux/icmp.h and linux/icmpv6.h: filter of a raw socket, one bit per type that is left out.
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER = 255, 1, 1
_ECHO_REPLY, _ECHO_REPLY_V6 = 0, 129
# Replies return it; hosts that do not see the requests cannot forge replies.
COOKIE_BYTES = 8
RECEIVE_BUFFER_BYTES = 2**20
# Then other tasks of the loop run: a raw socket receives all echo replies to this machine.
READS_AT_ONCE = 256


class Pinger:
    """Sends echo requests and passes each reply to the probe that waits for it."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._sequence = count(1)
        self._cookie = secrets.token_bytes(COOKIE_BYTES)
        self._identifier = secrets.randbits(16)
        self._waiting: dict[tuple[str, int], asyncio.Future[None]] = {}

    async def probe(self, target: ProbeTarget) -> ProbeResult:
        """Probe once; the caller sets the timeout.

        Raises:
            OSError: If nothing can be sent there.
            ProbeFailure: If this process may not send echo requests.
        """
        loop = asyncio.get_running_loop()
        sock = self._socket(target.family)
        sequence = next(self._sequence) & 0xFFFF
        answered: asyncio.Future[None] = loop.create_future()
        key = target.address, sequence
        self._waiting[key] = answered
        began = time.monotonic()
        try:
            request = echo_request(target.family == socket.AF_INET6, self._identifier, sequence, self._cookie)
            sock.sendto(request, (target.address, 0))
            await answered
        finally:
            self._waiting.pop(key, None)
        return ProbeResult(True, rtt_s=time.monotonic() - began)

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        if family not in self._sockets:
            sock = _open(family)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            asyncio.get_running_loop().add_reader(sock.fileno(), self._read, sock)
            self._sockets[family] = sock
        return self._sockets[family]

    def _read(self, sock: socket.socket) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                message, sender = sock.recvfrom(2048)
            except OSError:  # no more, or the error of an earlier request
                return
            if sock.type == socket.SOCK_RAW and sock.family == socket.AF_INET:
                message = message[(message[0] & 0xF) * 4 :]  # skip the IP header
            reply = parse_echo_reply(message)
            if reply is None or reply[2] != self._cookie:
                continue
            answered = self._waiting.get((sender[0], reply[1]))
            if answered is not None and not answered.done():
                answered.set_result(None)

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()


def _open(family: socket.AddressFamily) -> socket.socket:
    """Return an unprivileged ICMP socket if net.ipv4.ping_group_range allows (icmp(7)), else a raw one."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)
    except OSError as exc:
        if exc.errno not in (errno.EACCES, errno.EPERM):
            raise
    try:
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError as exc:
        raise ProbeFailure("ping needs CAP_NET_RAW, or this group in net.ipv4.ping_group_range") from exc
    if family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", 0xFFFFFFFF & ~(1 << _ECHO_REPLY)))
    else:
        mask = bytearray(b"\xff" * 32)
        word, bit = divmod(_ECHO_REPLY_V6, 32)
        struct.pack_into("I", mask, word * 4, 0xFFFFFFFF & ~(1 << bit))
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, bytes(mask))
    return sock
