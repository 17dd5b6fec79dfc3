"""Rules in their slots, and sets beside them, in the kernel."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from spectrum.core.filter_rules import FilterRule, PacketFacts, SetTerm
from spectrum.kernel.filter.rules import pack_values
from spectrum.kernel.pins import PinError

PACKET = PacketFacts(ip_address("192.0.2.1"), ip_address("192.0.2.2"), 17, (1, 2), 100, 64)


def test_automatic_rules_follow_all_others(matcher):
    pinned, renew, match = matcher
    numbers = renew({"ddos/a": FilterRule(), "b": FilterRule()})
    assert match(PACKET)[0] == numbers["b"]
    for owner in ("", "ddos/"):
        with pytest.raises(PinError, match="64 rules at most, and 64 of detection"):
            renew({f"{owner}{place}": FilterRule() for place in range(65)})
    numbers = renew(
        {f"{owner}{place}": FilterRule(ttl=(place, place)) for owner in ("", "ddos/") for place in range(64)}
    )
    assert match(replace(PACKET, ttl=63))[0] == numbers["63"]
    assert len(pinned.held()["ddos"].rules) == 64


def test_sets_are_written_once_and_go_with_their_rules(matcher):
    pinned, renew, _ = matcher
    one, other = (SetTerm("source", frozenset(range(first, first + 100))) for first in (0, 1000))

    def values():
        return len(list(pinned.maps["members"].items()))

    renew({"a": FilterRule(sets=(one, other)), "b": FilterRule(sets=(replace(one, negated=True),))})
    assert values() == 200
    held = pinned.held()["file"]
    assert held.sets == {"a": [pack_values(one), pack_values(other)], "b": [pack_values(one)]}
    renew({"a": FilterRule(sets=(one,))})
    assert values() == 200, "an undo goes back to them"
    renew({"a": FilterRule(sets=(one,))})
    assert values() == 100
    many = {
        f"{n}": FilterRule(sets=(SetTerm("options", frozenset(range(n << 20, (n << 20) + 4096))),)) for n in range(17)
    }
    with pytest.raises(PinError, match="65536 values at most in all sets"):
        renew(many)
    assert values() == 100
    renew({})
    renew({})
    assert values() == 0
