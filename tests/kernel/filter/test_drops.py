from ipaddress import ip_network

import pytest

from spectrum.core.filter_rules import FilterRule, SetTerm
from spectrum.kernel.filter.drops import Drops, keys_of, pack_drops, pack_prefixes
from spectrum.kernel.filter.rules import pack_rule, pack_values
from spectrum.kernel.pins import PinError

TERM = SetTerm("ttl", frozenset({1, 2}))


def test_drops_are_packed_with_the_sets_of_their_rules():
    drops = pack_drops(
        [ip_network("192.0.2.0/24")],
        {"a": [ip_network("2001:db8::/32")]},
        {"x": FilterRule(sets=(TERM,)), "y": FilterRule(ttl=(1, 1))},
    )
    assert drops.guard == pack_prefixes([ip_network("192.0.2.0/24")])
    assert list(drops.rules) == ["x", "y"]
    assert drops.sets == {"x": [pack_values(TERM)]}
    drops.check("file")
    drops.check("ddos")
    assert pack_drops() == Drops()


@pytest.mark.parametrize(
    ("drops", "says"),
    [
        (Drops(b"x"), "of a length that they do not have"),
        (Drops(lists={"a": b"\xff" * 20}), "is no prefix"),
        (Drops(lists={"": b""}), "is 1 to 63 bytes"),
        (Drops(rules={"api/a": pack_rule(FilterRule())}), "are those of another owner"),
        (Drops(rules={str(n): pack_rule(FilterRule()) for n in range(65)}), "there are 64 rules at most"),
        (Drops(rules={"a": bytes(207)}), "a rule has 208 bytes"),
        (Drops(rules={"a": pack_rule(FilterRule(sets=(TERM,)))}), "other sets than it names"),
        (Drops(sets={"a": [b""]}), "sets of rules that there are not"),
    ],
)
def test_what_another_process_sends_is_checked(drops, says):
    with pytest.raises(PinError, match=says):
        drops.check("file")


def test_prefixes_around_the_mapped_addresses_leave_these_out():
    assert len(keys_of([ip_network("::/0")])) == 96
    assert keys_of(pack_prefixes([ip_network("10.0.0.0/8")])) == keys_of([ip_network("10.0.0.0/8")])
