"""What is fuzzed: every parser of bytes from the network. Each takes any bytes, and fails on a broken promise."""

import struct
from collections.abc import Callable

from spectrum.wire import client_hello, icmp, simple_proxy
from spectrum.wire.proxy_protocol import MAX_V2_BYTES, Header, ProxyHeaderError, TlvType, parse


def proxy_protocol(data: bytes) -> None:
    """PROXY v1 and v2: a header, a wish for more, or `ProxyHeaderError`; nothing else, and the same for every cut."""
    try:
        found = parse(data)
    except ProxyHeaderError:
        return
    if found is None:
        assert len(data) < MAX_V2_BYTES, "it waits for ever"
        return
    header, size = found
    assert 0 < size <= min(len(data), MAX_V2_BYTES)
    assert parse(data[:size]) == found, "what follows the header changes it"
    for cut in {size - 1, size // 2, 1}:
        if cut < size:
            assert parse(data[:cut]) is None, f"{cut} of {size} bytes are enough, or wrong"
    _round_trip(header)


def _round_trip(header: Header) -> None:
    """What was read can be written, and is read as the same."""
    try:
        written = header.serialise()
    except ProxyHeaderError:
        return  # stricter with what we send than with what we take
    again = parse(written)
    assert again is not None
    assert again[1] == len(written)
    assert _without_checksum(again[0]) == _without_checksum(header)


def _without_checksum(header: Header) -> tuple[object, ...]:
    tlvs = tuple(tlv for tlv in header.tlvs if tlv.type != TlvType.CRC32C)
    return header.version, header.command, header.transport, header.source, header.destination, tlvs


def simple_proxy_protocol(data: bytes) -> None:
    """Simple Proxy Protocol: its 38 bytes, or `SimpleProxyError`."""
    try:
        header = simple_proxy.parse(data)
    except simple_proxy.SimpleProxyError:
        assert len(data) < simple_proxy.HEADER_BYTES or struct.unpack_from("!H", data)[0] != simple_proxy.MAGIC
        return
    assert header.serialise() == data[: simple_proxy.HEADER_BYTES]


def icmp_messages(data: bytes) -> None:
    """Echo replies, and the checksum of any even number of bytes."""
    found = icmp.parse_echo_reply(data)
    assert found is None or len(found[2]) == len(data) - 8
    even = data[: len(data) & ~1]
    if len(even) >= 2:
        checksum = icmp.checksum(even)
        assert icmp.checksum(even + struct.pack("!H", checksum)) == 0


def tls_client_hello(data: bytes) -> None:
    """A ClientHello, a wish for more, or `ClientHelloError`; nothing else, and the same whatever follows."""
    try:
        found = client_hello.parse(data)
    except client_hello.ClientHelloError:
        return
    if found is None:
        assert len(data) < 5 + 6 * (client_hello.MAX_HELLO_BYTES + 4), "it waits for ever"
        return
    assert client_hello.parse(data + b"after") == found, "what follows changes it"
    assert found.server_name.isascii()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "proxy_protocol": proxy_protocol,
    "simple_proxy_protocol": simple_proxy_protocol,
    "icmp_messages": icmp_messages,
    "tls_client_hello": tls_client_hello,
}
