"""ICMP: the answer to a datagram that is too big for the path (RFC 1191; RFC 4443, section 3.2), and echo (RFC 792)."""

import struct

IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, UDP_HEADER_BYTES = 20, 40, 8

_UDP = 17
_DONT_FRAGMENT = 0x4000
_DESTINATION_UNREACHABLE, _FRAGMENTATION_NEEDED = 3, 4
_PACKET_TOO_BIG = 2
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_ECHO_REQUEST_V6, _ECHO_REPLY_V6 = 128, 129


def packet_too_big(client: bytes, client_port: int, edge: bytes, edge_port: int, payload_bytes: int) -> bytes:
    """Return the ICMP message, from its type on, that tells a client the longest payload of datagrams to the edge.

    It quotes the headers of a datagram one byte too long, by which the client's kernel finds the socket.

    Args:
        client: The client's address, 4 or 16 bytes; the message is ICMP or ICMPv6 accordingly.
        client_port: The port that the client sent from.
        edge: The address that it sent to, as long as `client`.
        edge_port: The port that it sent to.
        payload_bytes: The longest payload that fits.

    The checksum of ICMPv6 is left to the kernel (RFC 3542, section 3.1).
    """
    udp_bytes = UDP_HEADER_BYTES + payload_bytes
    udp = struct.pack("!HHHH", client_port, edge_port, min(udp_bytes + 1, 0xFFFF), 0)
    if len(client) == 16:
        quoted = struct.pack("!IHBB16s16s", 6 << 28, min(udp_bytes + 1, 0xFFFF), _UDP, 64, client, edge)
        return struct.pack("!BBHI", _PACKET_TOO_BIG, 0, 0, IPV6_HEADER_BYTES + udp_bytes) + quoted + udp
    mtu = IPV4_HEADER_BYTES + udp_bytes
    layout = "!BBHHHBBH4s4s"
    fields = (0x45, 0, min(mtu + 1, 0xFFFF), 0, _DONT_FRAGMENT, 64, _UDP)
    quoted = struct.pack(layout, *fields, checksum(struct.pack(layout, *fields, 0, client, edge)), client, edge)
    kind = (_DESTINATION_UNREACHABLE, _FRAGMENTATION_NEEDED)
    body = struct.pack("!HH", 0, min(mtu, 0xFFFF)) + quoted + udp
    return struct.pack("!BBH", *kind, checksum(struct.pack("!BBH", *kind, 0) + body)) + body


def checksum(data: bytes) -> int:
    """Return the Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total ^ 0xFFFF


def echo_request(ipv6: bool, identifier: int, sequence: int, data: bytes) -> bytes:
    """Return an echo request (RFC 792; RFC 4443, section 4.1) of an even number of bytes of `data`."""
    kind, body = (_ECHO_REQUEST_V6 if ipv6 else _ECHO_REQUEST), struct.pack("!HH", identifier, sequence) + data
    # The kernel computes the checksum of ICMPv6, and of unprivileged ICMP sockets.
    own = 0 if ipv6 else checksum(struct.pack("!BBH", kind, 0, 0) + body)
    return struct.pack("!BBH", kind, 0, own) + body


def parse_echo_reply(message: bytes) -> tuple[int, int, bytes] | None:
    """Return identifier, sequence and data of an echo reply of either family; None for any other message."""
    if len(message) < 8 or message[0] not in (_ECHO_REPLY, _ECHO_REPLY_V6) or message[1]:
        return None
    identifier, sequence = struct.unpack_from("!HH", message, 4)
    return identifier, sequence, message[8:]
