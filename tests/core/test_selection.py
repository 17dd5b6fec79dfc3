from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.selection import Candidate, name_rotations, rotations


def test_each_origin_is_first_once_and_all_follow():
    orders = rotations([("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)])
    assert [order[0].port for order in orders] == [1, 2, 3]
    assert all({candidate.port for candidate in order} == {1, 2, 3} for order in orders)
    assert not any(candidate.staggered for order in orders for candidate in order)


def test_families_interleave_ipv6_first():
    (first, second) = name_rotations(["192.0.2.1", "2001:db8::1", "2001:db8::2"], 80)
    assert first == (
        Candidate("2001:db8::1", 80, False),
        Candidate("192.0.2.1", 80, True),
        Candidate("2001:db8::2", 80, True),
    )
    assert [candidate.address for candidate in second] == ["2001:db8::2", "192.0.2.1", "2001:db8::1"]


def test_nothing_known_is_no_order():
    assert rotations([]) == []
    assert name_rotations([], 80) == []


@given(st.lists(st.ip_addresses().map(str), unique=True, max_size=8))
def test_every_order_has_every_address(addresses):
    for order in name_rotations(addresses, 1):
        assert sorted(candidate.address for candidate in order) == sorted(addresses)
        assert [candidate.staggered for candidate in order] == [False] + [True] * (len(order) - 1)
