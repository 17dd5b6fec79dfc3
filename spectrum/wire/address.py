"""The canonical form of an IP address: IPv4 is never written as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).

A dual-stack socket reports IPv4 peers as `::ffff:192.0.2.1`, and proxies pass that on. Rules, limits and records have
addresses of four or of sixteen bytes, so every address that enters is converted here, or in `engine/sockets.pxd`.

Only mapped addresses are converted. Others that contain an IPv4 address stay IPv6 addresses: IPv4-compatible
`::192.0.2.1` is deprecated and unverified (RFC 4291, section 2.5.5.1); 6to4 `2002::/16` contains the address of a
site's router, not of the client (RFC 3056); NAT64 `64:ff9b::/96` that of an IPv4 host behind a translator (RFC 6052).
Converting those would let a client choose its IPv4 address.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAPPED_PREFIX = bytes(10) + b"\xff\xff"
# `::ffff:0:0/96`
_MAPPED_BITS = 96


def unmapped(address: IPAddress) -> IPAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 one, any other address unchanged."""
    return (address.version == 6 and address.ipv4_mapped) or address


def unmapped_network(network: IPNetwork) -> IPNetwork:
    """Return the IPv4 prefix inside a prefix of IPv4-mapped addresses, any other one unchanged.

    A shorter prefix than `::ffff:0:0/96`, such as `::/0`, is a prefix of IPv6 only.
    """
    if network.version == 6 and network.prefixlen >= _MAPPED_BITS:
        first = network.network_address.ipv4_mapped
        if first is not None:
            return IPv4Network((first, network.prefixlen - _MAPPED_BITS))
    return network


def unmapped_bytes(address: bytes) -> bytes:
    """Return an address of 4 or 16 bytes in network byte order, an IPv4-mapped one as 4 bytes."""
    return address[12:] if address.startswith(MAPPED_PREFIX) else address


def mapped_bytes(address: bytes) -> bytes:
    """Return an address of 4 or 16 bytes as 16 bytes, IPv4 mapped, for formats without a family."""
    return MAPPED_PREFIX + address if len(address) == 4 else address


def paired_bytes(source: bytes, destination: bytes) -> tuple[bytes, bytes]:
    """Return two addresses for a PROXY header: if they are of two families, both as IPv6.

    HAProxy does the same in version 2 (`make_proxy_line_v2`).
    """
    if len(source) == len(destination):
        return source, destination
    return mapped_bytes(source), mapped_bytes(destination)
