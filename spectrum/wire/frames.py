"""The headers of Ethernet frames, as far as packets are classified by them (RFC 791, RFC 8200, RFC 9293, RFC 768)."""

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
    """The fields of a frame's headers.

    Attributes:
        source: The source address.
        destination: The destination address.
        protocol: The number of the IP protocol.
        source_port: Of TCP and UDP; 0 without ports, or if they are cut off.
        destination_port: Likewise.
        length: The length of the IP packet, in bytes.
        ttl: Time to live, or hop limit.
        tcp_flags: The names of the flags that are set.
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
    """Parse the begin of a frame; return None if it is not an IP packet, or too short for its headers.

    One VLAN tag is skipped. IPv6 extension headers are not.
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
