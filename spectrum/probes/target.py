"""Targets of probes, and the first steps of all probes over TCP."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from spectrum.core.balancing.objects import Monitor
from spectrum.wire import simple_proxy
from spectrum.wire.proxy_protocol import Command, Header, Transport, v1_line

# The proxy is the client itself (section 2.2).
_LOCAL = Header(2, None, None, Command.LOCAL, Transport.UNSPEC).serialise()


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """An address under a monitor.

    Attributes:
        monitor: Its monitor.
        address: An IP address.
        port: 0 for a ping.
        host: The origin's own Host header for HTTP; empty for the monitor's, or the address.
        name: The origin's host name, if it has one.
        header: The PROXY header that is sent first: off, v1, v2, or simple.
    """

    monitor: Monitor
    address: str
    port: int
    host: str = ""
    name: str = ""
    header: str = "off"

    @property
    def family(self) -> socket.AddressFamily:
        """The family of its address."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


class ProbeFailure(Exception):
    """The origin failed a probe; the message says how, in a few words."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


async def connect(target: ProbeTarget) -> tuple[socket.socket, float]:
    """Return a connection to the target, its PROXY header sent, and the time of the handshake in seconds.

    Raises:
        OSError: If it cannot connect; the caller sets the timeout.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        await loop.sock_connect(sock, (target.address, target.port))
        rtt_s = time.monotonic() - began
        if target.header != "off":
            await loop.sock_sendall(sock, _stream_header(target, sock))
    except BaseException:
        sock.close()
        raise
    return sock, rtt_s


def _stream_header(target: ProbeTarget, sock: socket.socket) -> bytes:
    """Return the header of a local connection: LOCAL in version 2 (section 2.2), own address in version 1."""
    if target.header == "v2":
        return _LOCAL
    here, there = sock.getsockname(), sock.getpeername()
    return v1_line(target.family == socket.AF_INET6, here[0], there[0], here[1], there[1])


def datagram_header(target: ProbeTarget, sock: socket.socket) -> bytes:
    """Return the header before the payload of a UDP probe."""
    if target.header == "v2":
        return _LOCAL
    if target.header != "simple":
        return b""
    here, there = sock.getsockname(), sock.getpeername()
    return simple_proxy.pack(ip_address(here[0]).packed, ip_address(there[0]).packed, here[1], there[1])


@contextmanager
def translated() -> Iterator[None]:
    """Return a context that turns system errors into failures of the probe."""
    try:
        yield
    except OSError as exc:
        raise ProbeFailure((os.strerror(exc.errno) if exc.errno else str(exc)).lower()) from exc
    except EOFError as exc:
        raise ProbeFailure("closed before it answered") from exc
