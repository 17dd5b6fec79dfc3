from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.prefixes import PrefixSet

networks4 = st.builds(lambda a, n: ip_network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32))
networks6 = st.builds(
    lambda a, n: ip_network((a.to_bytes(16, "big"), n), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
)


@given(st.lists(st.one_of(networks4, networks6), max_size=8), st.data())
def test_says_what_ipaddress_says(networks, data):
    prefixes = PrefixSet(networks)
    edges = [edge for n in networks for edge in (n.network_address, n.broadcast_address)]
    near = [type(e)((int(e) + d) % 2**e.max_prefixlen) for e in edges for d in (-1, 0, 1)]
    near.append(ip_address(data.draw(st.integers(0, 2**32 - 1))))
    for address in near:
        assert (address.packed in prefixes) == any(address in n for n in networks if n.version == address.version)


def test_an_empty_set_contains_nothing():
    assert bytes(4) not in PrefixSet([])
    assert bytes(16) not in PrefixSet([])
