"""The udp_icmp monitor: a ping, then a datagram; down only if the host reports the port as unreachable.

The report is read from the socket's error queue (ip(7), IP_RECVERR), which distinguishes an unreachable port from other
ICMP errors.
"""

import asyncio
import socket
import struct

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.ping import Pinger
from spectrum.probes.target import ProbeFailure, ProbeTarget, datagram_header

# linux/in.h, linux/in6.h, linux/errqueue.h; Python 3.11's socket module has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
# Type and code of "port unreachable": RFC 792; RFC 4443, section 3.1.
_PORT_UNREACHABLE = {_ORIGIN_ICMP: (3, 3), _ORIGIN_ICMP6: (1, 4)}
# Hosts limit the rate of ICMP errors, so one datagram may get no report.
DATAGRAMS = 3
MAX_ERRORS = 100
# Share of the probe's time to wait for a report after the ping; without one the origin is healthy.
LISTENING_PART = 0.8


async def probe(target: ProbeTarget, pinger: Pinger) -> ProbeResult:
    """Probe once. The round trip is that of the ping.

    Raises:
        OSError: If nothing can be sent there.
        ProbeFailure: If the port is unreachable.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    pinged = await pinger.probe(target)
    left_s = target.monitor.timeout_s * LISTENING_PART - (loop.time() - began)
    with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        _ask_for_errors(sock)
        sock.connect((target.address, target.port))
        payload = datagram_header(target, sock) + target.monitor.send.encode()
        heard = asyncio.Event()
        loop.add_reader(sock.fileno(), heard.set)
        try:
            for _ in range(DATAGRAMS):
                _send(sock, payload)
                try:
                    await asyncio.wait_for(heard.wait(), max(0.01, left_s / DATAGRAMS))
                    break
                except TimeoutError:
                    continue
        finally:
            loop.remove_reader(sock.fileno())
        if _is_unreachable(sock):
            raise ProbeFailure("port unreachable")
    return pinged


def _ask_for_errors(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def _send(sock: socket.socket, payload: bytes) -> None:
    try:
        sock.send(payload)
    except ConnectionRefusedError:
        pass  # the error is in the error queue, too


def _is_unreachable(sock: socket.socket) -> bool:
    """Return whether "port unreachable" is in the error queue; a flood of other errors is not read to its end."""
    for _ in range(MAX_ERRORS):
        try:
            _, controls, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return False
        for _, kind, content in controls:
            if kind in (_IP_RECVERR, _IPV6_RECVERR):
                # struct sock_extended_err of linux/errqueue.h
                _, origin, icmp_type, code = struct.unpack_from("IBBB", content)
                if _PORT_UNREACHABLE.get(origin) == (icmp_type, code):
                    return True
    return False
