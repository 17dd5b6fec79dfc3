"""The one form of an IP address: IPv4 is never spelt as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2).

A dual-stack socket names its IPv4 peers `::ffff:192.0.2.1`, and proxies pass that on. Rules, limits and records know
addresses of four or of sixteen bytes, so every door by which an address enters brings it to one form here, or in
`engine/sockets.pxd`.

Only mapped addresses are IPv4 ones. Others that hold an IPv4 address are IPv6 addresses in their own right and stay as
they are: IPv4-compatible `::192.0.2.1` is deprecated and may be anybody (RFC 4291, section 2.5.5.1); 6to4 `2002::/16`
holds the address of a site's router, not of the client (RFC 3056); NAT64 `64:ff9b::/96` holds that of an IPv4 host
behind a translator (RFC 6052). To believe those would let a client choose the IPv4 address that it is taken for.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAPPED_PREFIX = bytes(10) + b"\xff\xff"
# `::ffff:0:0/96`
_MAPPED_BITS = 96


def unmapped(address: IPAddress) -> IPAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 one, any other address as it is."""
    return (address.version == 6 and address.ipv4_mapped) or address


def unmapped_network(network: IPNetwork) -> IPNetwork:
    """Return the IPv4 prefix inside a prefix of IPv4-mapped addresses, any other one as it is.

    A shorter prefix than `::ffff:0:0/96`, such as `::/0`, holds IPv6 addresses besides and is of IPv6 alone.
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
    """Return an address of 4 or 16 bytes as 16 bytes, for a format that has no room for families."""
    return MAPPED_PREFIX + address if len(address) == 4 else address


def paired_bytes(source: bytes, destination: bytes) -> tuple[bytes, bytes]:
    """Return two addresses as a PROXY header tells them: both of one family, where they are of two both as IPv6.

    HAProxy does the same in version 2 (`make_proxy_line_v2`).
    """
    if len(source) == len(destination):
        return source, destination
    return mapped_bytes(source), mapped_bytes(destination)
