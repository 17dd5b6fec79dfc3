"""Which rules may match: never fewer than do, and hardly more."""

import random
import struct
from ipaddress import ip_network

from spectrum.core.filter_rules import FilterRule, SetTerm
from spectrum.core.packets import SLOTS
from spectrum.kernel.filter.rules import Slot, pack_rule, pack_values, set_name
from spectrum.kernel.filter.vectors import MAX_PLACES, PLACES, VECTORS_BYTES, pack_vectors

_HEAD = struct.Struct("=QQII16s")


def vectors(*rules):
    slots = [Slot.unpacked(pack_rule(rule)) for rule in rules]
    sets = {set_name(pack_values(one)): pack_values(one) for rule in rules for one in rule.sets}
    packed = pack_vectors([*slots, *[None] * (SLOTS - len(slots))], sets)
    assert len(packed) == VECTORS_BYTES
    low, high, count, has_sets, places = _HEAD.unpack_from(packed)
    tables = {}
    for n, place in enumerate(places[:count]):
        words = struct.unpack_from("=512Q", packed, _HEAD.size + n * 4096)
        tables[place] = [words[2 * value] | words[2 * value + 1] << 64 for value in range(256)]
    return low | high << 64, bool(has_sets), tables


def test_every_slot_has_a_place_of_its_own():
    assert sorted(PLACES) == list(range(SLOTS))


def test_a_byte_that_no_rule_names_is_not_looked_up():
    used, has_sets, tables = vectors(FilterRule(ttl=(7, 9)), FilterRule(protocol=(17, 17)))
    assert (used, has_sets) == (0b11, False)
    assert sorted(tables) == [67, 68]
    assert [value for value in range(256) if tables[68][value] & 1] == [7, 8, 9]
    assert {tables[68][value] >> 1 for value in range(256)} == {1}
    assert tables[67][17] == 0b11 and tables[67][6] == 0b01


def test_values_of_sets_are_looked_up_too():
    ttl = SetTerm("ttl", frozenset({63, 127}))
    start = SetTerm("payload[:2]", frozenset({0x4756, 0x4757}))
    source = SetTerm("source/24", frozenset({0xFFFFC00002, 0xFFFFC63364}))
    _, has_sets, tables = vectors(
        FilterRule(sets=(ttl, start)), FilterRule(sets=(SetTerm("ttl", ttl.values, True),)), FilterRule(sets=(source,))
    )
    assert has_sets
    assert [value for value in range(256) if tables[68][value] & 1] == [63, 127]
    assert [value for value in range(256) if not tables[68][value] & 2] == [63, 127]
    assert [value for value in range(256) if tables[47][value] & 1] == [0x47]
    assert [value for value in range(256) if tables[46][value] & 1] == [0x56, 0x57]
    assert [value for value in range(256) if tables[16][value] & 4] == [0xC0, 0xC6]


def test_the_bytes_that_tell_most_are_chosen():
    chance = random.Random(5)
    rules = [
        FilterRule(
            ip_network((chance.getrandbits(128), 128)),
            ip_network(("2001:db8::1", 128)),
            source_port=(one, one),
            payload=(chance.getrandbits(64), (1 << 64) - 1),
        )
        for one in range(100)
    ]
    _, _, tables = vectors(*rules)
    assert len(tables) == MAX_PLACES
    assert not set(tables) & set(range(24, 40)), "the destination is that of all"
