"""The first bytes of a client's connection, if they are read before an origin is chosen. The usual forms of PROXY
headers are read in few steps; others (TLVs, LOCAL, UNKNOWN, a part of a header, a fault) by `spectrum.wire.parse`,
which takes five times as long: 13 µs, where a whole session costs 110.
"""

from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct

from spectrum.wire import Command, ProxyHeaderError, TlvType, Transport, parse
from spectrum.wire.address import unmapped_bytes
from spectrum.wire.client_hello import ClientHello, ClientHelloError, ClientHelloTooLong, HelloReader
from spectrum.wire.proxy_protocol import pack_tlvs

_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21"
_INET = Struct("!4s4sHH")
_INET6 = Struct("!16s16sHH")
# Without version and command: family and transport, and the length of the addresses without TLVs.
_PLAIN_INET = b"\x11\x00\x0c"
_PLAIN_INET6 = b"\x21\x00\x24"
_FAMILIES = {b"TCP4": AF_INET, b"TCP6": AF_INET6}
# Section 2.1: the longest line, including its end.
_MAX_V1_BYTES = 107

# Not passed on: NOOP is padding, CRC32C is over the received header, SSL and NETNS describe the previous hop.
_HOP_TLVS = frozenset({TlvType.NOOP, TlvType.CRC32C, TlvType.SSL, TlvType.NETNS})

# Client, client port, edge, edge port, length of the header.
Plain = tuple[bytes, int, bytes, int, int]
# The same, and the TLVs that are passed on.
HeaderFields = tuple[bytes, int, bytes, int, int, bytes]


def read_header(data: bytes, client: bytes, client_port: int, edge: bytes, edge_port: int) -> HeaderFields | None:
    """Return the content of a PROXY header, or without one the addresses given; None if more bytes are needed.

    Raises:
        ProxyHeaderError: If it is malformed, or not for TCP.
    """
    plain = read_plain(data)
    if plain is not None:
        return (*plain, b"")
    parsed = parse(data)
    if parsed is None:
        return None
    header, size = parsed
    if header.transport is Transport.DGRAM:
        raise ProxyHeaderError("the header of a datagram, on a TCP connection")
    source, destination = header.source, header.destination
    if header.command is Command.PROXY and source and destination:
        address, towards = source.address, destination.address
        if isinstance(address, IPv4Address | IPv6Address) and isinstance(towards, IPv4Address | IPv6Address):
            client, client_port, edge, edge_port = address.packed, source.port, towards.packed, destination.port
    return (
        client,
        client_port,
        edge,
        edge_port,
        size,
        pack_tlvs(tlv for tlv in header.tlvs if tlv.type not in _HOP_TLVS),
    )


def header_needs(data: bytes) -> int:
    """Return the minimum number of bytes for `read_header`, which needed more than `data`."""
    if len(data) >= 16 and data.startswith(_V2[:12]):
        return 16 + int.from_bytes(data[14:16], "big")
    return len(data) + 1


def read_hello(reader: HelloReader, data: bytes) -> ClientHello | None:
    """Return server name and protocols of a ClientHello; None if more bytes are needed, nothing if it is not TLS.

    Args:
        reader: The state of reading this connection.
        data: All that the client sent.

    Raises:
        ClientHelloTooLong: If the ClientHello is longer than the limit.
    """
    try:
        return reader.read(data)
    except ClientHelloTooLong:
        raise
    except ClientHelloError:
        return ClientHello()


def read_plain(data: bytes) -> Plain | None:
    """Return the content of a TCP connection's header; None if it is incomplete or in another than the two plain forms.
    Addresses are unmapped, as by the codec.

    Addresses are unmapped, as the codec's are.
    """
    if data.startswith(_V2):
        kind = data[13:16]
        if kind == _PLAIN_INET and len(data) >= 28:
            client, edge, client_port, edge_port = _INET.unpack_from(data, 16)
            return client, client_port, edge, edge_port, 28
        if kind == _PLAIN_INET6 and len(data) >= 52:
            client, edge, client_port, edge_port = _INET6.unpack_from(data, 16)
            return unmapped_bytes(client), client_port, unmapped_bytes(edge), edge_port, 52
        return None
    end = data.find(b"\r\n", 0, _MAX_V1_BYTES)
    words = data[:end].split(b" ") if end > 0 else ()
    if len(words) != 6 or words[0] != b"PROXY" or words[1] not in _FAMILIES:
        return None
    _, family, client_text, edge_text, *ports = words
    try:
        client = inet_pton(_FAMILIES[family], client_text.decode("ascii"))
        edge = inet_pton(_FAMILIES[family], edge_text.decode("ascii"))
    except (OSError, ValueError):
        return None
    numbers = [int(port) for port in ports if port.isdigit() and len(port) < 6 and port[:1] != b"0"]
    if len(numbers) != 2 or max(numbers) > 0xFFFF:
        return None
    return unmapped_bytes(client), numbers[0], unmapped_bytes(edge), numbers[1], end + 2
