from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.address import mapped_bytes, paired_bytes, unmapped, unmapped_bytes, unmapped_network

ipv4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ipv6 = st.integers(0, 2**128 - 1).map(IPv6Address).filter(lambda address: not address.ipv4_mapped)


def mapped(address):
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


@given(ipv4)
def test_a_mapped_address_is_the_ipv4_one_in_every_form(address):
    assert unmapped(address) == unmapped(mapped(address)) == address
    assert unmapped_bytes(address.packed) == unmapped_bytes(mapped(address).packed) == address.packed
    assert mapped_bytes(address.packed) == mapped_bytes(mapped(address).packed) == mapped(address).packed


@given(ipv6)
def test_any_other_address_stays(address):
    assert unmapped(address) == address
    assert unmapped_bytes(address.packed) == mapped_bytes(address.packed) == address.packed


@pytest.mark.parametrize(
    "text",
    [
        "::192.0.2.1",  # IPv4-compatible
        "2002:c000:201::1",  # 6to4
        "64:ff9b::192.0.2.1",  # NAT64
        "64:ff9b:1::192.0.2.1",
        "::ffff:0:192.0.2.1",  # IPv4-translated
        "::fffe:192.0.2.1",
    ],
)
def test_what_holds_an_ipv4_address_and_is_none(text):
    assert unmapped(ip_address(text)) == ip_address(text)
    assert unmapped_bytes(ip_address(text).packed) == ip_address(text).packed
    assert unmapped_network(ip_network(text)) == ip_network(text)


@given(ipv4, st.integers(0, 32))
def test_a_prefix_of_mapped_addresses_is_an_ipv4_prefix(address, bits):
    network = IPv4Network((address, bits), strict=False)
    assert unmapped_network(ip_network((mapped(network.network_address), bits + 96))) == network
    assert unmapped_network(network) == network


@pytest.mark.parametrize("text", ["::/0", "::/80", "::fffe:0:0/95", "2001:db8::/96", "::/96"])
def test_a_prefix_with_other_addresses_in_it_is_of_ipv6(text):
    assert unmapped_network(ip_network(text)) == ip_network(text)


@given(ipv4 | ipv6, ipv4 | ipv6)
def test_a_pair_is_of_one_family_and_says_the_same(source, destination):
    pair = paired_bytes(source.packed, destination.packed)
    assert len(pair[0]) == len(pair[1]) == (4 if source.version == destination.version == 4 else 16)
    assert tuple(map(unmapped_bytes, pair)) == (source.packed, destination.packed)
