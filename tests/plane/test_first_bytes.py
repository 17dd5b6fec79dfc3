"""The quick reader against the codec: what it reads, the codec reads alike; what it leaves is left whole."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.plane.first_bytes import header_needs, read_header, read_plain
from spectrum.wire import Command, Endpoint, Header, ProxyHeaderError, Tlv, Transport, parse
from spectrum.wire.address import mapped_bytes

FOUR = (Endpoint(ip_address("192.0.2.1"), 1001), Endpoint(ip_address("198.51.100.1"), 22))
SIX = (Endpoint(ip_address("2001:db8::1"), 1001), Endpoint(ip_address("2001:db8::2"), 65535))


@pytest.mark.parametrize("ends", [FOUR, SIX])
@pytest.mark.parametrize("version", [1, 2])
def test_the_plain_forms(version, ends):
    header = Header(version, *ends).serialise()
    told = (ends[0].address.packed, ends[0].port, ends[1].address.packed, ends[1].port, len(header))
    assert read_plain(header) == told
    assert read_plain(header + b"after") == told
    assert [read_plain(header[:n]) for n in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    "data",
    [
        Header(2, *FOUR, tlvs=(Tlv(1, b"h2"),)).serialise(),
        Header(2, *FOUR, transport=Transport.DGRAM).serialise(),
        Header(2, command=Command.LOCAL, transport=Transport.UNSPEC).serialise(),
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 0 1\r\n",  # the codec takes it
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1  2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%lo 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.² 1 2\r\n".encode(),
        b"SSH-2.0-x\r\n",
        b"",
    ],
)
def test_what_is_left_to_the_codec(data):
    assert read_plain(data) is None


PARTS = st.sampled_from(
    [b"PROXY ", b"TCP4", b"TCP6", b" ", b"192.0.2.1", b"::1", b"22", b"0", b"\r\n", b"\n", b"65536"]
)


@given(st.lists(PARTS, max_size=12).map(b"".join) | st.binary(max_size=60))
def test_nothing_is_read_that_the_codec_refuses_or_reads_otherwise(data):
    told = read_plain(data)
    if told is None:
        return
    try:
        header, size = parse(data)
    except (ProxyHeaderError, TypeError):
        pytest.fail(f"the codec does not read {data!r}")
    assert told == (
        header.source.address.packed,
        header.source.port,
        header.destination.address.packed,
        header.destination.port,
        size,
    )


addresses = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)
ends = st.builds(Endpoint, addresses, st.integers(1, 65535))


@given(ends, ends, st.sampled_from([b"", b"\xe0\0\1x"]))
def test_a_client_has_one_form_however_its_proxy_spells_it(source, destination, tlvs):
    as_ipv6 = [mapped_bytes(end.address.packed) for end in (source, destination)]
    texts = [str(IPv6Address(address)) for address in as_ipv6]
    line = f"PROXY TCP6 {texts[0]} {texts[1]} {source.port} {destination.port}\r\n".encode()
    size = struct.pack("!H", 36 + len(tlvs))
    ports = struct.pack("!HH", source.port, destination.port)
    block = b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + size + b"".join(as_ipv6) + ports + tlvs
    for data, told_tlvs in ((line, b""), (block, tlvs)):
        told = read_header(data, b"peer", 1, b"edge", 2)
        plain = (source.address.packed, source.port, destination.address.packed, destination.port, len(data))
        assert told == (*plain, told_tlvs)


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_part_of_a_header_needs(version):
    header = Header(version, *FOUR, tlvs=(Tlv(0xE4, bytes(300)),) if version == 2 else ()).serialise()
    for there in range(len(header)):
        assert read_header(header[:there], b"", 0, b"", 0) is None
        assert there < header_needs(header[:there]) <= len(header)
    if version == 2:
        assert header_needs(header[:16]) == len(header)
