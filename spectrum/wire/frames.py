"""Ethernet frames, as far as packets are told apart by them (RFC 791, RFC 8200, RFC 9293, RFC 768)."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_ETHERNET_BYTES, _IPV6_BYTES = 14, 40
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, 0x8100
_TCP, _UDP = 6, 17
_OFFSET = 0x1FFF
_FLAG_NAMES = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")


@dataclass(frozen=True, slots=True)
class Frame:
    """What the headers of a frame say.

    Attributes:
        source: Where the packet comes from.
        destination: Where it goes.
        protocol: The IP protocol's number.
        source_port: Of TCP and UDP; 0 where it has none, or they are not to be seen.
        destination_port: Likewise.
        length: Of the IP packet, in bytes.
        ttl: Time to live, or hop limit.
        tcp_flags: The names of those that are set.
    """

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    source_port: int
    destination_port: int
    length: int
    ttl: int
    tcp_flags: tuple[str, ...] = ()


def parse(data: bytes) -> Frame | None:
    """Return what the beginning of a frame says; None where it is no IP packet, or too short for its headers.

    One VLAN tag is looked behind. Behind IPv6 extension headers nothing is read.
    """
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    at = _ETHERNET_BYTES
    if len(data) < at:
        return None
    (kind,) = struct.unpack_from("!H", data, 12)
    if kind == _VLAN and len(data) >= at + 4:
        (kind,) = struct.unpack_from("!H", data, 16)
        at += 4
    if kind == _IPV4 and len(data) >= at + 20:
        first, _, length, _, offset, ttl, protocol = struct.unpack_from("!BBHHHBB", data, at)
        source, destination = IPv4Address(data[at + 12 : at + 16]), IPv4Address(data[at + 16 : at + 20])
        transport = at + 4 * (first & 0xF) if not offset & _OFFSET else len(data)
    elif kind == _IPV6 and len(data) >= at + _IPV6_BYTES:
        _, length, protocol, ttl = struct.unpack_from("!IHBB", data, at)
        length += _IPV6_BYTES
        source, destination = IPv6Address(data[at + 8 : at + 24]), IPv6Address(data[at + 24 : at + 40])
        transport = at + _IPV6_BYTES
    else:
        return None
    ports, flags = (0, 0), 0
    if protocol in (_TCP, _UDP) and len(data) >= transport + 4:
        ports = struct.unpack_from("!HH", data, transport)
    if protocol == _TCP and len(data) > transport + 13:
        flags = data[transport + 13]
    names = tuple(name for bit, name in enumerate(_FLAG_NAMES) if flags >> bit & 1)
    return Frame(source, destination, protocol, *ports, length, ttl, names)
