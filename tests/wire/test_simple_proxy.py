from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.simple_proxy import HEADER_BYTES, SimpleProxyError, SimpleProxyHeader, pack, parse

addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
)
ports = st.integers(0, 65535)


def test_layout():
    header = SimpleProxyHeader(IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), 0x1234, 0x5678)
    expected = "56ec" + "00" * 10 + "ffffc0000201" + "20010db8" + "00" * 11 + "01" + "12345678"
    assert header.serialise() == bytes.fromhex(expected)


def test_a_mapped_address_is_the_ipv4_one():
    ends = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    mapped = [IPv6Address(f"::ffff:{end}") for end in ends]
    assert SimpleProxyHeader(*mapped, 1, 2) == SimpleProxyHeader(*ends, 1, 2)
    assert parse(pack(*(end.packed for end in mapped), 1, 2)).client_address == ends[0]


@given(st.builds(SimpleProxyHeader, addresses, addresses, ports, ports), st.binary(max_size=20))
def test_round_trip(header, payload):
    data = header.serialise()
    assert len(data) == HEADER_BYTES
    assert parse(data + payload) == header


@given(addresses, addresses, ports, ports)
def test_the_fast_way_writes_the_same(client, proxy, client_port, proxy_port):
    header = SimpleProxyHeader(client, proxy, client_port, proxy_port)
    assert pack(client.packed, proxy.packed, client_port, proxy_port) == header.serialise()


@given(st.binary(max_size=100))
def test_garbage_is_refused_or_read_back(data):
    try:
        header = parse(data)
    except SimpleProxyError:
        return
    assert header.serialise() == data[:HEADER_BYTES]


@pytest.mark.parametrize("data", [b"", b"\x56\xec", bytes(38), b"\x56\xec" + bytes(35)])
def test_malformed_is_refused(data):
    with pytest.raises(SimpleProxyError):
        parse(data)
