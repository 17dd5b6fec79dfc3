"""Simple Proxy Protocol: 38 bytes before every datagram (Cloudflare Spectrum, simple-proxy-protocol-header).

Magic 0x56EC, client address, proxy address (16 bytes each, IPv4 as IPv4-mapped IPv6), client port, proxy port; all in
network byte order. The origin puts the same 38 bytes, unchanged, before each reply.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from spectrum.wire.address import mapped_bytes, unmapped

MAGIC = 0x56EC
HEADER_BYTES = 38

_LAYOUT = struct.Struct("!H16s16sHH")


class SimpleProxyError(ValueError):
    """The datagram does not begin with a Simple Proxy Protocol header."""


@dataclass(frozen=True, slots=True)
class SimpleProxyHeader:
    """The client's address and port, and those of the proxy that it sent to.

    Addresses are unmapped: an IPv4 client has an IPv4 address, however the header encodes it.
    """

    client_address: IPv4Address | IPv6Address
    proxy_address: IPv4Address | IPv6Address
    client_port: int
    proxy_port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "client_address", unmapped(self.client_address))
        object.__setattr__(self, "proxy_address", unmapped(self.proxy_address))

    def serialise(self) -> bytes:
        """Return the 38 bytes."""
        return pack(self.client_address.packed, self.proxy_address.packed, self.client_port, self.proxy_port)


def parse(datagram: bytes) -> SimpleProxyHeader:
    """Return the header at the start of `datagram`; the payload follows at `HEADER_BYTES`.

    Raises:
        SimpleProxyError: If the datagram is too short or has another magic number.
    """
    if len(datagram) < HEADER_BYTES:
        raise SimpleProxyError(f"{len(datagram)} bytes are too few for a header of {HEADER_BYTES}")
    magic, client, proxy, client_port, proxy_port = _LAYOUT.unpack_from(datagram)
    if magic != MAGIC:
        raise SimpleProxyError(f"magic number {magic:#06x} is not {MAGIC:#06x}")
    return SimpleProxyHeader(IPv6Address(client), IPv6Address(proxy), client_port, proxy_port)


def pack(client: bytes, proxy: bytes, client_port: int, proxy_port: int) -> bytes:
    """Return the 38 bytes for addresses of 4 or 16 bytes in network byte order."""
    return _LAYOUT.pack(MAGIC, mapped_bytes(client), mapped_bytes(proxy), client_port, proxy_port)
