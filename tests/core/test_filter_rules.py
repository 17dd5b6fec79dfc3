"""What rules match, as a table; the program in the kernel is tested against it in tests/kernel/filter."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from spectrum.core.filter_rules import FilterRule, PacketFacts, SetTerm, judged, matches, set_key

UDP = PacketFacts(ip_address("192.0.2.1"), ip_address("198.51.100.2"), 17, (53, 7000), 100, 57, payload=0x4756 << 48)
TCP = replace(UDP, protocol=6, tcp_flags=0x02, window=5840, options=0x811C9DC5, payload=0, sequence=7)
SIX = replace(UDP, source=ip_address("2001:db8:1:2::1"), destination=ip_address("2001:db8::2"))
LATER = replace(UDP, ports=None, fragment=2, ident=9)
IN_USE = replace(TCP, flow=2, known=True, served=True)
OPENING = replace(TCP, flow=0)
ALL = {"UDP": UDP, "TCP": TCP, "SIX": SIX, "LATER": LATER, "IN_USE": IN_USE, "OPENING": OPENING}


def one_of(field, *values, negated=False):
    return {"sets": (SetTerm(field, frozenset(values), negated),)}


@pytest.mark.parametrize(
    ("rule", "those"),
    [
        ({}, "UDP TCP SIX LATER IN_USE OPENING"),
        ({"source": ip_network("192.0.2.0/24")}, "UDP TCP LATER IN_USE OPENING"),
        ({"source": ip_network("::/0")}, "SIX"),
        ({"destination": ip_network("2001:db8::2/128")}, "SIX"),
        ({"version": 6}, "SIX"),
        ({"protocol": (6, 6)}, "TCP IN_USE OPENING"),
        ({"source_port": (0, 65535)}, "UDP TCP SIX IN_USE OPENING"),
        ({"destination_port": (7001, 7002)}, ""),
        ({"tcp_flags": (0x12, 0x02)}, "TCP IN_USE OPENING"),
        ({"tcp_flags": (0x02, 0x00)}, "UDP SIX"),
        ({"fragment": True}, "LATER"),
        ({"fragment": "first"}, ""),
        ({"fragment": "later"}, "LATER"),
        ({"fragment": False}, "UDP TCP SIX IN_USE OPENING"),
        ({"window": (5840, 5840)}, "TCP IN_USE OPENING"),
        ({"ident": (9, 9)}, "LATER"),
        ({"sequence": 7}, "TCP IN_USE OPENING"),
        ({"sequence": 0}, ""),
        ({"acknowledgement": 0}, "TCP IN_USE OPENING"),  # UDP has none
        ({"options": 0}, "UDP SIX LATER"),
        ({"payload": (0x4700 << 48, 0xFF00 << 48)}, "UDP SIX LATER"),
        ({"length": (0, 99)}, ""),
        ({"ttl": (57, 57)}, "UDP TCP SIX LATER IN_USE OPENING"),
        ({"idle": True}, "OPENING"),
        ({"known": True}, "IN_USE"),
        ({"known": False}, "OPENING"),
        ({"served": False}, "OPENING"),
        (one_of("ttl", 56, 57), "UDP TCP SIX LATER IN_USE OPENING"),
        (one_of("ttl", 57, negated=True), ""),
        (one_of("payload[:2]", 0x4756), "UDP SIX LATER"),
        (one_of("payload[:2]", 0x4756, negated=True), "TCP IN_USE OPENING"),
        (one_of("options", 0x811C9DC5), "TCP IN_USE OPENING"),
        (one_of("source", 0xFFFFC0000201), "UDP TCP LATER IN_USE OPENING"),
        (one_of("source/24", 1 << 63 | 0x20010DB80001), "SIX"),
        ({"action": "cookie"}, "TCP IN_USE OPENING"),
        ({"action": "cookie", "protocol": (17, 17)}, ""),
    ],
)
def test_what_a_rule_matches(rule, those):
    assert " ".join(name for name, packet in ALL.items() if matches(FilterRule(**rule), packet)) == those


def test_the_first_rule_that_drops_decides_and_those_that_log_continue():
    rules = {
        "ended": FilterRule(expires_ns=5),
        "log": FilterRule(action="log"),
        "tcp": FilterRule(protocol=(6, 6)),
        "any": FilterRule(expires_ns=6),
    }
    assert judged(rules.items(), UDP, 5) == ("any", ["log"])
    assert judged(rules.items(), TCP, 4) == ("ended", [])
    assert judged(rules.items(), UDP, 6) == (None, ["log"])


def test_keys_of_sets_are_those_of_columns():
    assert set_key("source", UDP) == 0xFFFFC0000201
    assert set_key("source/24", UDP) == 0xFFFFC00002
    assert set_key("source", SIX) == 0xA0010DB800010002


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"action": "limit"}, "limit without packets_per_second"),
        ({"packets_per_second": 5}, "is for limit and source-limit, not for block"),
        ({"action": "cookie", "tcp_flags": (0x10, 0x10)}, "cookies are for SYNs"),
        ({"protocol": (17, 17), "acknowledgement": 0}, "sequence numbers exist in TCP"),
        ({"sets": (SetTerm("ttl", frozenset()),) * 3}, "2 sets at most, of 4096 values each"),
        ({"sets": (SetTerm("options", frozenset(range(4097))),)}, "2 sets at most, of 4096 values each"),
    ],
)
def test_invalid_rules(rule, says):
    with pytest.raises(ValueError, match=says):
        FilterRule(**rule)
