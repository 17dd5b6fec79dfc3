import math
from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.balancing.clients import client_key
from spectrum.core.balancing.rendezvous import Rendezvous, bucket_of

CLIENTS = [client_key(b"x", n.to_bytes(4, "big")) for n in range(100_000)]
MASK = 2**64 - 1


def equal(count):
    return [(f"origin-{n}", 1.0) for n in range(count)]


def owners(members):
    rendezvous = Rendezvous(members)
    return [rendezvous.find(key) for key in CLIENTS]


def finalise(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def twin(members, key, usable=None):
    """The same in Python, with nothing remembered."""
    salt, best = finalise((key >> 48) + 0x9E3779B97F4A7C15 & MASK), (0.0, -1)
    for i, (name, weight) in enumerate(members):
        seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        fraction = ((finalise(seed ^ salt) >> 11) + 0.5) / 2**53
        if weight > 0 and (usable is None or usable[i]) and weight / -math.log(fraction) > best[0]:
            best = weight / -math.log(fraction), i
    return best[1]


MEMBERS = st.lists(st.tuples(st.text(max_size=5), st.sampled_from([0.0, 0.01, 0.5, 1.0])), max_size=12)


@given(MEMBERS, st.lists(st.integers(0, MASK), max_size=5), st.data())
def test_as_its_twin(members, keys, data):
    rendezvous = Rendezvous(members)
    usable = data.draw(st.lists(st.booleans(), min_size=len(members), max_size=len(members)))
    for key in keys * 2:  # the second time from memory
        assert rendezvous.find(key) == twin(members, key)
        assert rendezvous.find_among(key, bytes(usable)) == twin(members, key, usable)


@pytest.mark.parametrize("count", [2, 3, 10, 100])
@pytest.mark.parametrize("by", ["health", "the file"])
def test_a_loss_moves_only_its_own_clients(count, by):
    before, lost = owners(equal(count)), count // 2
    if by == "health":
        rendezvous, usable = Rendezvous(equal(count)), bytes(n != lost for n in range(count))
        after = [rendezvous.find_among(key, usable) for key in CLIENTS]
    else:
        after = [n if n < lost else n + 1 for n in owners([m for n, m in enumerate(equal(count)) if n != lost])]
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert all(old == lost for old, _ in moved)
    assert len(moved) / len(CLIENTS) <= 1 / count + 0.01
    assert len({new for _, new in moved}) == count - 1  # and they are spread over the others


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 1], [0.7, 0.3], [1, 0.5, 0, 0.01], [1.0] * 20])
def test_shares_are_the_weights(weights):
    found = Counter(owners([(f"o{n}", weight) for n, weight in enumerate(weights)]))
    for n, weight in enumerate(weights):
        assert found[n] / len(CLIENTS) == pytest.approx(weight / sum(weights), abs=0.01)


def test_the_homes_are_the_same_everywhere():
    """Numbers that another release may not change: it would move every client."""
    rendezvous = Rendezvous(equal(10))
    assert [rendezvous.find(key) for key in CLIENTS[:8]] == FIRST_OWNERS
    assert bucket_of(CLIENTS[0]) == CLIENTS[0] >> 48


FIRST_OWNERS = [3, 2, 7, 6, 1, 7, 9, 6]


def test_limits():
    with pytest.raises(ValueError, match="65535 members"):
        Rendezvous(equal(65535))
    with pytest.raises(ValueError, match="1 bytes for 2 members"):
        Rendezvous(equal(2)).find_among(1, b"x")
