"""Rules in the kernel against those in Python (`spectrum.core.filter_rules`), over random rules and packets."""

import struct
import time
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from spectrum.core.filter_rules import (
    SET_FIELDS,
    FilterRule,
    PacketFacts,
    SetTerm,
    judged,
    set_key,
)
from spectrum.kernel.filter.rules import (
    SLOT_BYTES,
    Slot,
    check_automatic,
    check_rule,
    numbered,
    pack_rule,
    pack_sets,
    pack_values,
    set_name,
)
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import filesystem
from tests.properties import examples

__all__ = ["filesystem"]

COMMON = examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

seldom = st.integers(0, 7)
octet, number = st.sampled_from([0, 1, 2, 63, 64, 128, 255]), st.sampled_from([0, 1, 7, 53, 255, 256, 257, 1500, 65535])
payloads = st.sampled_from([0, 0x4756_0000_0000_0000, 0x4757_0102_0304_0506, 0xFFFF_FFFF_FFFF_FFFF])
options = st.sampled_from([0, 0x811C9DC5, 0x811C9D00, 7])
sequences = st.sampled_from([0, 1, 256, 0xCB007150, 0xCB007151, 0xFFFFFFFF])
FOUR = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "198.51.100.7", "0.0.0.0"]
SIX = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1", "::1", "fe80::1"]


def spans(values):
    return st.tuples(values, values).map(lambda ends: (min(ends), max(ends)))


@st.composite
def packets(draw):
    version = draw(st.sampled_from([FOUR, SIX]))
    protocol = draw(st.sampled_from([1, 6, 6, 17, 17, 47]))
    has_ports = protocol in (6, 17) and draw(st.booleans())
    is_tcp = has_ports and protocol == 6
    return PacketFacts(
        ip_address(draw(st.sampled_from(version))),
        ip_address(draw(st.sampled_from(version))),
        protocol,
        (draw(number), draw(number)) if has_ports else None,
        draw(number),
        draw(octet),
        draw(st.sampled_from([0, 0x02, 0x10, 0x12, 0x18])) if is_tcp else 0,
        draw(st.integers(0, 2)),
        draw(number) if is_tcp else 0,
        draw(number),
        draw(options) if is_tcp else 0,
        draw(payloads),
        draw(st.sampled_from([None, 0, 1, 2])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(sequences) if is_tcp else 0,
        draw(sequences) if is_tcp else 0,
    )


def prefixes(version):
    bits = [0, 8, 24, 31, 32] if version == 4 else [0, 32, 47, 64, 128]
    addresses = st.sampled_from(FOUR if version == 4 else SIX)
    return st.builds(lambda address, bits: ip_network((address, bits), strict=False), addresses, st.sampled_from(bits))


@st.composite
def terms(draw):
    field = draw(st.sampled_from(SET_FIELDS))
    keys = packets().map(lambda packet: set_key(field, packet))
    return SetTerm(field, frozenset(draw(st.lists(keys, max_size=4))), draw(st.booleans()))


@st.composite
def rules(draw):
    version = draw(st.sampled_from([4, 6]))

    def maybe(values, otherwise=None):
        return draw(values) if draw(seldom) == 0 else otherwise

    action = draw(st.sampled_from(["block", "block", "log", "cookie"]))
    sequence, acknowledgement = maybe(sequences), maybe(sequences)
    protocols = [(6, 6), (17, 17), (1, 17)] if sequence is acknowledgement is None else [(6, 6), (1, 17)]
    flags = maybe(st.tuples(st.sampled_from([0x02, 0x12, 0x10, 0x3F]), st.sampled_from([0x02, 0x10, 0x12, 0])))
    return FilterRule(
        maybe(prefixes(version)),
        maybe(prefixes(version)),
        maybe(st.sampled_from(protocols), (0, 255)),
        maybe(spans(number)),
        maybe(spans(number)),
        maybe(spans(number), (0, 65535)),
        maybe(spans(octet), (0, 255)),
        None if action == "cookie" else flags,
        maybe(st.sampled_from([True, False, "first", "later"])),
        version=maybe(st.sampled_from([4, 6])),
        window=maybe(spans(number)),
        ident=maybe(spans(number)),
        options=maybe(options),
        payload=maybe(st.tuples(payloads, st.sampled_from([0, 0xFFFF << 48, 0xF0 << 56, (1 << 64) - 1]))),
        idle=maybe(st.booleans(), False),
        known=maybe(st.booleans()),
        served=maybe(st.booleans()),
        sets=maybe(st.lists(terms(), min_size=1, max_size=2).map(tuple), ()),
        action=action,
        expires_ns=maybe(st.sampled_from([1, 1 << 62]), 0),
        sequence=sequence,
        acknowledgement=acknowledgement,
    )


@pytest.mark.hypothesis
def test_the_program_matches_as_python_does(matcher):
    pinned, renew, match = matcher
    seen = Counter()

    @COMMON
    @given(
        st.lists(rules(), max_size=30), st.lists(rules(), max_size=30), st.lists(packets(), min_size=20, max_size=60)
    )
    def agree(own, automatic, some):
        named = {f"r{place}": rule for place, rule in enumerate(own)}
        named |= {f"ddos/r{place}": rule for place, rule in enumerate(automatic)}
        numbers = renew(named)
        before, logged = pinned.counts(), Counter()
        for packet in some:
            name, counted = judged(named.items(), packet, time.monotonic_ns())
            logged.update(counted)
            expected = (None, False) if name is None else (numbers[name], named[name].action == "cookie")
            assert match(packet) == expected, (name, packet, named)
            seen[name is not None] += 1
        after = pinned.counts()
        assert logged == {
            name: packets - before[f"rule {name}"][0]
            for name in named
            if (packets := after[f"rule {name}"][0]) != before[f"rule {name}"][0]
        }

    agree()
    assert min(seen.values()) > 100


def test_a_slot_comes_back_as_it_went():
    rule = FilterRule(
        ip_network("192.0.2.0/24"),
        tcp_flags=(0x12, 0x02),
        payload=(0x4756 << 48, 0xFFFF << 48),
        options=7,
        sets=(SetTerm("ttl", frozenset({1, 2})), SetTerm("source", frozenset({5}), negated=True)),
        packets_per_second=1000,
        action="source-limit",
        expires_ns=99,
        sequence=0xCB007150,
        acknowledgement=0,
    )
    packed = pack_rule(rule)
    slot = Slot.unpacked(packed)
    assert slot.packed() == packed
    assert len(packed) == SLOT_BYTES
    assert (slot.payload, slot.options, slot.expires_ns, slot.packet_ns) == (0x4756 << 48, 7, 99, 1_000_000)
    assert slot.set_negated == (0, 1)
    assert slot.sequences == (0xCB007150, 0xFFFFFFFF, 0, 0xFFFFFFFF)
    assert Slot.unpacked(pack_rule(FilterRule())).sequences == (0, 0, 0, 0)
    assert Slot.unpacked(numbered(packed, 77)) == slot._replace(number=77)
    assert slot.sets == tuple(set_name(pack_values(term)) for term in rule.sets)
    assert pack_sets({"a": rule, "b": FilterRule()}) == {"a": [struct.pack("=QQ", 1, 2), struct.pack("=Q", 5)]}
    check_rule(packed, [pack_values(term) for term in rule.sets])


@pytest.mark.parametrize(
    ("change", "sets", "says"),
    [
        (lambda slot: slot.packed()[1:], [], "a rule has 208 bytes"),
        (lambda slot: slot._replace(action=6).packed(), [], "an unknown action"),
        (lambda slot: slot._replace(packet_ns=5).packed(), [], "a limit without a rate"),
        (lambda slot: slot._replace(action=2).packed(), [], "a limit without a rate"),
        (lambda slot: slot._replace(sets=(5, 0)).packed(), [], "other sets than it names"),
        (lambda slot: slot.packed(), [bytes(8)], "other sets than it names"),
        (lambda slot: slot._replace(sets=(set_name(bytes(7)), 0)).packed(), [bytes(7)], "other sets than it names"),
        (lambda slot: slot._replace(sets=(set_name(bytes(32776)), 0)).packed(), [bytes(32776)], "4096 values at most"),
        (lambda slot: slot._replace(set_fields=(5, 0)).packed(), [], "of a field that there is"),
    ],
)
def test_invalid_rules(change, sets, says):
    with pytest.raises(PinError, match=says):
        check_rule(change(Slot.unpacked(pack_rule(FilterRule()))), sets)


def test_automatic_rules_expire_and_spare_flows_in_use():
    day_ns = 24 * 3600 * 10**9
    check_automatic(pack_rule(FilterRule(idle=True, known=False, expires_ns=day_ns)), 5)
    for expires_ns in (0, 32 * day_ns):
        with pytest.raises(PinError, match="ends within 31 days"):
            check_automatic(pack_rule(FilterRule(idle=True, expires_ns=expires_ns)), 5)
    for rule in (FilterRule(expires_ns=9), FilterRule(served=False, expires_ns=9)):
        with pytest.raises(PinError, match="belong to no flow in use"):
            check_automatic(pack_rule(rule), 5)
    with pytest.raises(PinError, match="a rule has 208 bytes"):
        check_automatic(b"", 5)


PACKET = PacketFacts(ip_address("192.0.2.1"), ip_address("192.0.2.2"), 17, (1, 2), 100, 64)


def test_limits_are_of_all_together_or_of_each_source(matcher):
    _, renew, match = matcher
    others = [replace(PACKET, source=ip_address(f"198.51.100.{n}")) for n in range(20)]
    numbers = renew({"r": FilterRule(packets_per_second=1, action="limit")})
    assert [match(one)[0] for one in others] == [None] + [numbers["r"]] * 19
    numbers = renew({"s": FilterRule(packets_per_second=1, action="source-limit")})
    for one in others[:3]:  # those of a second may come at once
        assert [match(one)[0] for _ in range(9)] == [None] * 2 + [numbers["s"]] * 7


def test_what_comes_again_passes(matcher):
    _, renew, match = matcher
    numbers = renew({"r": FilterRule(action="retry", protocol=(17, 17))})
    others = [PACKET, replace(PACKET, ports=(1, 3)), replace(PACKET, source=ip_address("2001:db8::1"))]
    again = replace(PACKET, ports=(9, 2))
    for one in others:
        assert match(one)[0] == numbers["r"]
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline and match(others[0])[0] is not None:
        time.sleep(0.05)
    assert [match(one)[0] for one in others] == [None] * 3
    assert match(again)[0] == numbers["r"]


def test_a_rule_ends_by_itself(matcher):
    _, renew, match = matcher
    numbers = renew({"r": FilterRule(expires_ns=time.monotonic_ns() + 10**9)})
    assert match(PACKET)[0] == numbers["r"]
    time.sleep(1)
    assert match(PACKET)[0] is None


def test_many_rules_cost_what_one_does(matcher):
    _, renew, match = matcher

    def measured(count):
        renew(
            {f"{n}": FilterRule(protocol=(17, 17), source_port=(9 + n, 9 + n), length=(28, 1500)) for n in range(count)}
        )
        assert match(PACKET) == (None, False)
        return match.cost(PACKET)

    assert measured(64) < 4 * measured(1), "one by one they would cost 40 times as much"
