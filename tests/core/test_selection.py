from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.names import Service
from spectrum.core.selection import Candidate, name_rotations, rotations, service_rotations


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


def firsts(*services):
    return Counter(order[0].address for order in service_rotations([Service(*service) for service in services]))


def test_services_by_priority_then_weight():
    orders = service_rotations([Service(20, 0, 9, "c"), Service(10, 10, 1, "a"), Service(10, 30, 2, "b")])
    assert [[candidate.address for candidate in order] for order in orders] == [
        ["b", "a", "c"],
        ["b", "a", "c"],
        ["a", "b", "c"],
        ["b", "a", "c"],
    ]
    assert orders[0] == (Candidate("b", 2, False), Candidate("a", 1, False), Candidate("c", 9, False))


@pytest.mark.parametrize(
    ("services", "shares"),
    [
        ([], {}),
        ([(0, 0, 1, "a"), (0, 0, 1, "b")], {"a": 1, "b": 1}),
        ([(0, 65535, 1, "a"), (0, 65535, 1, "b")], {"a": 1, "b": 1}),
        ([(0, 99, 1, "a"), (0, 0, 1, "b")], {"a": 100, "b": 1}),
        ([(0, 1000, 1, "a"), (0, 500, 1, "b"), (1, 9, 1, "c")], {"a": 67, "b": 33}),
    ],
)
def test_shares_of_services(services, shares):
    assert firsts(*services) == shares


@given(
    st.lists(
        st.builds(Service, st.integers(0, 3), st.integers(0, 65535), st.integers(1, 3), st.sampled_from("abcdefgh")),
        unique_by=lambda service: service.address,
        max_size=8,
    )
)
def test_every_order_has_every_service_the_lowest_priority_first(services):
    priorities = {service.address: service.priority for service in services}
    orders = service_rotations(services)
    assert len(orders) <= 110
    assert {order[0].address for order in orders} == {
        service.address for service in services if service.priority == min(priorities.values())
    }
    for order in orders:
        assert sorted(candidate.address for candidate in order) == sorted(priorities)
        found = [priorities[candidate.address] for candidate in order]
        assert found == sorted(found)
