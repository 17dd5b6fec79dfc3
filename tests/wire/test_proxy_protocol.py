from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.proxy_protocol import (
    MAX_V2_BYTES,
    V2_SIGNATURE,
    Command,
    Endpoint,
    Header,
    ProxyHeaderError,
    Tlv,
    TlvType,
    Transport,
    UnixPath,
    pack_tlvs,
    parse,
    v2_header,
)

A4, B4 = Endpoint(IPv4Address("192.0.2.7"), 56324), Endpoint(IPv4Address("198.51.100.1"), 443)
A6, B6 = Endpoint(IPv6Address("2001:db8::7"), 1), Endpoint(IPv6Address("2001:db8::1"), 65535)
V2 = V2_SIGNATURE
CASES = [
    (Header(1, A4, B4), b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"),
    (Header(1, A6, B6), b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n"),
    (Header(1, transport=Transport.UNSPEC), b"PROXY UNKNOWN\r\n"),
    (Header(2, A4, B4), V2 + b"\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"),
    (Header(2, A6, B6), V2 + b"\x21\x21\x00\x24" + A6.address.packed + B6.address.packed + b"\x00\x01\xff\xff"),
    (
        Header(2, A4, B4, transport=Transport.DGRAM),
        V2 + b"\x21\x12\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb",
    ),
    (Header(2, command=Command.LOCAL, transport=Transport.UNSPEC), V2 + b"\x20\x00\x00\x00"),
    (Header(2, transport=Transport.UNSPEC), V2 + b"\x21\x00\x00\x00"),
    (
        Header(2, Endpoint(UnixPath(b"/a")), Endpoint(UnixPath(b"/run/b.sock"))),
        V2 + b"\x21\x31\x00\xd8" + b"/a".ljust(108, b"\0") + b"/run/b.sock".ljust(108, b"\0"),
    ),
    (
        Header(2, A4, B4, tlvs=(Tlv(TlvType.ALPN, b"h2"), Tlv(TlvType.NOOP, b""), Tlv(0xE0, b"own"))),
        V2
        + b"\x21\x11\x00\x1a\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb\x01\x00\x02h2\x04\x00\x00\xe0\x00\x03own",
    ),
]


@pytest.mark.parametrize(("header", "data"), CASES)
def test_round_trip(header, data):
    assert header.serialise() == data
    assert parse(data) == (header, len(data))  # whole
    assert [parse(data[:n]) for n in range(len(data))] == [None] * len(data)  # every prefix
    assert parse(data + b"after") == (header, len(data))  # payload untouched


def test_unknown_with_addresses_is_unknown():
    line = b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"
    assert parse(line) == (Header(1, transport=Transport.UNSPEC), len(line))


MAPPED_A, MAPPED_B = (IPv6Address(f"::ffff:{end.address}") for end in (A4, B4))


@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c633:6401 56324 443\r\n", A4, B4),
        (b"PROXY TCP6 0:0:0:0:0:ffff:192.0.2.7 2001:db8::1 56324 65535\r\n", A4, B6),
        (b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 443\r\n", A6, B4),
        (V2 + b"\x21\x21\x00\x24" + MAPPED_A.packed + MAPPED_B.packed + b"\xdc\x04\x01\xbb", A4, B4),
        (V2 + b"\x21\x22\x00\x24" + MAPPED_A.packed + B6.address.packed + b"\xdc\x04\xff\xff", A4, B6),
    ],
)
def test_mapped_addresses_are_ipv4_ones(data, source, destination):
    header, length = parse(data)
    assert (header.source, header.destination, length) == (source, destination, len(data))
    assert parse(header.serialise())[0] == header


def test_a_pair_of_two_families_is_told_as_ipv6():
    words = Header(1, A4, B6).serialise().decode().split(" ")
    assert (words[1], IPv6Address(words[2]), words[3:]) == ("TCP6", MAPPED_A, ["2001:db8::1", "56324", "65535\r\n"])
    told = V2 + b"\x21\x21\x00\x24" + MAPPED_A.packed + B6.address.packed + b"\xdc\x04\xff\xff"
    assert Header(2, A4, B6).serialise() == told


def test_local_with_addresses_ignores_them():
    data = V2 + b"\x20\x11\x00\x0c" + bytes(12)
    assert parse(data) == (Header(2, command=Command.LOCAL, transport=Transport.UNSPEC), len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY UNKNOWN bare\nfeed\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
        b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n",
        b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 " + b"f" * 120,
        V2 + b"\x11",  # version 1 in a version 2 header
        V2 + b"\x22",  # no such command
        V2 + b"\x21\x41",  # no such family
        V2 + b"\x21\x13",  # no such transport
        V2 + b"\x21\x11\x00\x0b",  # too short for addresses
        V2 + b"\x21\x11\xff\xff",  # longer than we accept
        V2 + b"\x21\x11\x00\x0e" + bytes(14),  # two bytes are no TLV
        V2 + b"\x21\x11\x00\x10" + bytes(12) + b"\x04\x00\x02x",  # TLV past the end
        V2 + b"\x21\x11\x00\x13" + bytes(12) + b"\x03\x00\x04\x00\x00\x00\x00",  # wrong checksum
        V2 + b"\x21\x11\x00\x11" + bytes(12) + b"\x03\x00\x02\x00\x00",  # short checksum
        V2 + b"\x21\x11\x00\x10" + bytes(12) + b"\x02\x00\x01\xff",  # authority not UTF-8
        V2 + b"\x21\x11\x00\x0f" + bytes(12) + b"\x01\x00\x00",  # empty ALPN
        V2 + b"\x21\x11\x00\x12" + bytes(12) + b"\x20\x00\x03abc",  # short SSL
    ],
)
def test_malformed_is_refused(data):
    with pytest.raises(ProxyHeaderError):
        parse(data)


def test_a_checksum_is_written_and_checked():
    header = Header(2, A4, B4, tlvs=(Tlv(TlvType.UNIQUE_ID, b"abc"), Tlv(TlvType.CRC32C, bytes(4))))
    data = header.serialise()
    parsed, length = parse(data)
    assert length == len(data)
    assert parsed.tlv(TlvType.UNIQUE_ID) == b"abc"
    assert parsed.tlv(TlvType.CRC32C) not in (None, bytes(4))
    assert parsed.serialise() == data
    for at in range(16, len(data)):
        broken = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ProxyHeaderError):
            parse(broken)


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": 3},
        {"version": 1, "source": A4},
        {"version": 2, "source": A4, "destination": Endpoint(UnixPath(b"/b"))},
        {"version": 1, "source": A4, "destination": B4, "tlvs": (Tlv(4, b""),)},
        {"version": 1, "command": Command.LOCAL, "transport": Transport.UNSPEC},
        {"version": 1, "source": A4, "destination": B4, "transport": Transport.DGRAM},
        {"version": 1, "source": Endpoint(UnixPath(b"/a")), "destination": Endpoint(UnixPath(b"/b"))},
        {"version": 2, "source": A4, "destination": B4, "transport": Transport.UNSPEC},
        {"version": 2, "transport": Transport.STREAM},
        {"version": 2, "source": A4, "destination": B4, "tlvs": (Tlv(TlvType.UNIQUE_ID, bytes(129)),)},
        {"version": 2, "source": A4, "destination": B4, "tlvs": (Tlv(256, b""),)},
    ],
)
def test_headers_that_cannot_exist(arguments):
    with pytest.raises(ProxyHeaderError):
        Header(**arguments)


def test_endpoints_that_cannot_exist():
    with pytest.raises(ProxyHeaderError):
        Endpoint(IPv4Address("1.2.3.4"), 65536)
    with pytest.raises(ProxyHeaderError):
        UnixPath(bytes(109))
    with pytest.raises(ProxyHeaderError):
        UnixPath(b"a\0")


def test_too_many_tlvs_are_refused():
    with pytest.raises(ProxyHeaderError):
        Header(2, A4, B4, tlvs=(Tlv(0xE0, bytes(MAX_V2_BYTES)),)).serialise()


@pytest.mark.parametrize(
    ("endpoint", "text"), [(A4, "192.0.2.7:56324"), (A6, "[2001:db8::7]:1"), (Endpoint(UnixPath(b"/a")), "unix:/a")]
)
def test_endpoint_text(endpoint, text):
    assert str(endpoint) == text


def test_fast_path_writes_what_headers_do():
    tlvs = (Tlv(TlvType.AUTHORITY, b"example.org"),)
    for a, b in ((A4, B4), (A6, B6), (A4, B6), (A6, B4)):
        fast = v2_header(Transport.STREAM, a.address.packed, b.address.packed, a.port, b.port, pack_tlvs(tlvs))
        assert fast == Header(2, a, b, tlvs=tlvs).serialise()


ports = st.integers(0, 65535)
tlv_values = {
    TlvType.ALPN: st.binary(min_size=1, max_size=255),
    TlvType.AUTHORITY: st.text(max_size=60).map(str.encode),
    TlvType.UNIQUE_ID: st.binary(max_size=128),
    TlvType.NOOP: st.binary(max_size=20),
}
tlvs = st.one_of(
    *(st.builds(Tlv, st.just(int(kind)), values) for kind, values in tlv_values.items()),
    st.builds(Tlv, st.integers(0xE0, 0xEF), st.binary(max_size=300)),
)


@st.composite
def headers(draw):
    version = draw(st.sampled_from([1, 2]))
    addresses = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)
    ends = [Endpoint(draw(addresses), draw(ports)) for _ in range(2)]
    if version == 1:
        return Header(1, *ends) if draw(st.booleans()) else Header(1, transport=Transport.UNSPEC)
    transport = draw(st.sampled_from([Transport.STREAM, Transport.DGRAM]))
    return Header(2, *ends, transport=transport, tlvs=tuple(draw(st.lists(tlvs, max_size=4))))


@given(headers(), st.binary(max_size=50))
def test_any_header_round_trips(header, payload):
    data = header.serialise()
    assert parse(data + payload) == (header, len(data))
    for cut in {0, 1, 11, 12, 15, 16, len(data) // 2, len(data) - 1}:
        if cut < len(data):
            assert parse(data[:cut]) is None


@given(
    st.one_of(
        st.binary(max_size=200), st.binary(max_size=100).map(V2.__add__), st.binary(max_size=110).map(b"PROXY ".__add__)
    )
)
def test_garbage_never_surprises(data):
    try:
        parsed = parse(data)
    except ProxyHeaderError:
        return
    if parsed is not None:
        header, length = parsed
        assert 0 < length <= len(data)
        assert parse(header.serialise())[0] == header
