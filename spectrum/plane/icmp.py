"""Notifies clients by ICMP that their datagrams are too big, as a router on the path would."""

import logging
import socket
import struct
from socket import AF_INET, AF_INET6

from spectrum.plane.apps import address_text
from spectrum.wire.icmp import packet_too_big

log = logging.getLogger(__name__)

# linux/icmp.h and linux/icmpv6.h: filters, one bit per ICMP type, with which a raw socket receives nothing.
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER = 255, 1, 1


class IcmpAnswers:
    """Raw sockets for ICMP messages, opened on first use. Without CAP_NET_RAW there are none, which is logged."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket | None] = {}

    def tell(self, client: bytes, client_port: int, edge: bytes, edge_port: int, payload_bytes: int) -> None:
        """Send a client the longest payload that fits; failures are ignored."""
        family = AF_INET if len(client) == 4 else AF_INET6
        if family not in self._sockets:
            self._sockets[family] = _open(family)
        sock = self._sockets[family]
        if sock is None:
            return
        message = packet_too_big(client, client_port, edge, edge_port, payload_bytes)
        try:
            sock.sendto(message, (address_text(client), 0))
        except OSError as exc:
            log.debug("no ICMP answer to %s: %s", address_text(client), exc)

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            if sock is not None:
                sock.close()
        self._sockets.clear()


def _open(family: socket.AddressFamily) -> socket.socket | None:
    protocol = socket.IPPROTO_ICMP if family == AF_INET else socket.IPPROTO_ICMPV6
    try:
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    except PermissionError:
        log.warning("datagrams too big for an origin are counted, but their clients are not notified: no CAP_NET_RAW")
        return None
    if family == AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", 0xFFFFFFFF))
    else:
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, b"\xff" * 32)
    return sock
