from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ddos.score import learned
from spectrum.core.ddos.detector import FloodRule, RuleWritten
from spectrum.core.ddos.judging import Action, Judgement
from spectrum.core.ddos.managed import RULES
from spectrum.core.ddos.mining import EQUALS, EXCLUSIONS
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import COLUMNS, IN_USE, LATER_FRAGMENT, MAPPED, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate, address_text
from spectrum.core.ddos.slots import NoSlot, slot_of
from spectrum.core.filter_rules import PacketFacts, SetTerm, matches
from spectrum.simulation.vectors import flood

SYN, SYN_ACK = 0x02, 0x12


def flood_rule(what, action=Action.BLOCK, per_s=0.0):
    judged = Judgement(action, per_s, "a test")
    return FloodRule(1, what, judged, RULES[0], Ruling("default", "block"), judged, 0, 9e3, 0.0, 0.0)


def facts(packets, row):
    """Return what the filter knows of a packet that was sampled."""
    one = {name: int(packets[name][row]) for name in COLUMNS}
    six = one["version"] == 6
    source, destination = (
        IPv6Address(one[f"{end}_high"] << 64 | one[f"{end}_low"]) if six else IPv4Address(one[f"{end}_low"] ^ MAPPED)
        for end in ("source", "destination")
    )
    has_ports = one["protocol"] in (6, 17) and one["fragment"] != LATER_FRAGMENT
    same = ("protocol", "length", "ttl", "tcp_flags", "fragment", "window", "ident", "options", "payload")
    same += ("sequence", "acknowledgement")
    return PacketFacts(
        source,
        destination,
        ports=(one["source_port"], one["destination_port"]) if has_ports else None,
        flow=one["state"],
        known=bool(one["known"]),
        served=bool(one["served"]),
        **{name: one[name] for name in same},
    )


def agree(rule, packets):
    """Tell whether a rule matches the same packets as its slot."""
    slot = slot_of(rule, 5)
    expected = rule.what.match(packets) & (packets["state"] != IN_USE)
    if rule.action is Action.COOKIE:
        expected &= (packets["protocol"] == 6) & (packets["tcp_flags"] & SYN_ACK == SYN) & packets["has_ports"]
    return [matches(slot, facts(packets, row)) for row in range(len(packets))] == expected.tolist()


def column(chance, name, count):
    values = {
        "version": (4, 6),
        "protocol": (1, 6, 17, 47),
        "length": (40, 60),
        "ttl": (0, 64),
        "ident": (0, 7),
        "fragment": (0, 0, 0, 1, 2),
        "tcp_flags": (0, 2, 16, 18),
        "payload": (0, 0x4142434445464748, 0x4142434400000000, 0x4142000000000000),
        "payload_bytes": (0, 8),
        "state": (0, 1, 2),
        "known": (0, 1),
        "served": (0, 1),
        "app": (-1, 0),
        "options": (0, 0xDEADBEEF),
        "window": (0, 5840),
        "sequence": (0, 7),
        "acknowledgement": (0, 1 << 31),
        "source_port": (0, 53),
        "destination_port": (0, 53),
    }.get(name, (1,))
    return np.array(values, COLUMNS[name])[chance.integers(0, len(values), count)]


def any_packets(seed, count=60):
    """Return packets that agree in much."""
    chance = np.random.default_rng(seed)
    columns = {name: column(chance, name, count) for name in COLUMNS}
    six = columns["version"] == 6
    for end in ("source", "destination"):
        four = MAPPED + (10 << 24) + np.array([1, 2, 0x101, 0x10001], np.uint64)[chance.integers(0, 4, count)]
        high = np.array([0x20010DB800010001, 0x20010DB800010002, 0x20010DB9 << 32], np.uint64)
        columns[f"{end}_high"] = np.where(six, high[chance.integers(0, 3, count)], np.uint64(0))
        columns[f"{end}_low"] = np.where(six, chance.integers(1, 3, count).astype(np.uint64), four)
    tcp = columns["protocol"] == 6
    ports = (tcp | (columns["protocol"] == 17)) & (columns["fragment"] != LATER_FRAGMENT)
    for name in ("tcp_flags", "window", "options", "sequence", "acknowledgement"):
        columns[name] *= tcp & ports
    for name in ("source_port", "destination_port"):
        columns[name] *= ports
    columns["ident"] *= ~six
    return Packets(columns)


def predicate(packets, field, row):
    example = ""
    if field in ("source", "destination"):
        example = address_text(*(int(packets[name][row]) for name in ("version", f"{field}_high", f"{field}_low")))
    return Predicate(field, "is", (int(packets[field][row]),), example)


@given(
    st.integers(0, 1000),
    st.integers(0, 59),
    st.lists(st.sampled_from(sorted(EQUALS)), max_size=4, unique=True),
    st.lists(st.sampled_from([*sorted(EXCLUSIONS), "source/24"]), max_size=2),
    st.sampled_from(sorted(Action)),
)
def test_a_rule_of_the_filter_matches_what_the_rule_says(seed, row, fields, sets, action):
    packets = any_packets(seed)
    predicates = [predicate(packets, field, row) for field in fields]
    for field in sets:
        kind = "in" if field == "source/24" else "not in"
        predicates.append(Predicate(field, kind, tuple({int(one) for one in packets[field][row % 7 :: 9]})))
    rule = flood_rule(Conjunction(tuple(predicates)), action, 7.2)
    flags = next((int(packets[field][row]) for field in fields if field == "tcp_flags"), SYN)
    is_other = "protocol" in fields and packets["protocol"][row] != 6
    if action is Action.COOKIE and flags & SYN_ACK != SYN:
        with pytest.raises(NoSlot, match="cookies are for SYNs"):
            slot_of(rule, 5)
    elif is_other and {"sequence", "acknowledgement"} & set(fields):
        with pytest.raises(NoSlot, match="sequence numbers exist in TCP"):
            slot_of(rule, 5)
    else:
        assert agree(rule, packets)


@pytest.mark.parametrize(
    "name",
    [
        *("fragments", "icmp_flood", "gre_flood", "syn_random", "syn_sequence", "ack_constant"),
        *("udp_random", "v6_udp", "mirai_udpplain", "game_replay"),
    ],
)
def test_what_is_written_for_an_attack_has_a_slot(name):
    world, detector = learned(3)
    for number in range(3):
        packets = flood(world, name, 400_000, 0.25, 100)
        events = detector.look(packets, 0.25, 1000 + number / 4)
    assert detector.rules, events
    fresh = flood(world, name, 400, 1.0, 1)
    for rule in detector.rules:
        assert agree(rule, fresh) and agree(rule, any_packets(1))
    assert all(isinstance(one, RuleWritten) or one.why for one in events)


def test_all_of_it():
    what = Conjunction(
        (
            Predicate("payload[:2]", "not in", (1, 2)),
            Predicate("payload[:2]", "not in", (2, 3)),
            Predicate("source/24", "in", (4, 5)),
            Predicate("source/24", "in", (5, 6)),
            Predicate("source/16", "is", (0xFFFF << 16 | 10 << 8,)),
            Predicate("source", "is", (MAPPED | 10 << 24 | 1,), "10.0.0.1"),
        )
    )
    slot = slot_of(flood_rule(what, Action.SOURCE_LIMIT, 3.2), 77)
    assert slot.sets == (
        SetTerm("payload[:2]", frozenset({1, 2, 3}), True),
        SetTerm("source/24", frozenset({5})),
    )
    assert (str(slot.source), slot.idle, slot.action) == ("10.0.0.1/32", True, "source-limit")
    assert (slot.packets_per_second, slot.expires_ns) == (4, 77)
    assert slot_of(flood_rule(what, Action.LIMIT), 0).packets_per_second == 1


@pytest.mark.parametrize(
    ("predicates", "why"),
    [
        ([Predicate("length/8", "is", (1,))], "no condition on length/8"),
        ([Predicate("length", "in", (1, 2))], "no sets of length"),
        ([Predicate(one, "not in", (1,)) for one in ("options", "ttl", "source")], "2 sets at most"),
    ],
)
def test_what_has_no_slot(predicates, why):
    with pytest.raises(NoSlot, match=why):
        slot_of(replace(flood_rule(Conjunction()), what=Conjunction(tuple(predicates))), 0)
