"""Rules, lists and settings that a version before has pinned, with its maps: they hold on."""

import ctypes
import os
import struct
from ipaddress import ip_network

import pytest

from spectrum.core.filter_rules import FilterRule
from spectrum.kernel import libbpf
from spectrum.kernel.filter.attaching import load, remove
from spectrum.kernel.filter.drops import pack_prefixes
from spectrum.kernel.filter.names import packed_name
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.rules import numbered, pack_rule
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.libbpf import Map
from spectrum.kernel.pins import PinError, prefix_key, prepare
from tests.kernel.isolation import filesystem

__all__ = ["filesystem"]

HASH, ARRAY, PER_CPU_ARRAY, LRU_HASH, TRIE = 1, 2, 6, 9, 11
# Map, type, bytes of key and value, entries, flags.
MAPS = [
    ("blocked", TRIE, 20, 4, 1_000_000, 1),
    ("guarded", TRIE, 20, 4, 4096, 1),
    ("lists", HASH, 64, 4, 1024, 1),
    ("sources", LRU_HASH, 8, 8, 262144, 0),
    ("rules", ARRAY, 4, 104, 128, 0),
    ("paid", ARRAY, 4, 8, 64, 0),
    ("rule_names", HASH, 64, 4, 64, 1),
    ("counts", PER_CPU_ARRAY, 4, 16, 1095, 0),
    ("settings", ARRAY, 4, 56, 1, 0),
]
RULE = struct.Struct("=16s16s16s16s10HBBBBBBBxIQ")
ANY_PORT = (0, 65535)


def former_rule(number, source="", ports=(*ANY_PORT, *ANY_PORT), flags=(0, 0), fragment=(0, 0), rate=0, more=(0, 0)):
    bits, address = prefix_key(ip_network(source)) if source else (0, bytes(16))
    mask = ((1 << bits) - 1 << 128 - bits).to_bytes(16, "big")
    ranges = *ports, 28, 1500, 6, 17, 1, 64
    has_ports, version = more
    octets = *flags, *fragment, has_ports, version, 255 * bool(version)
    return RULE.pack(address, mask, bytes(16), bytes(16), *ranges, *octets, number, 10**9 // rate if rate else 0)


def pinned(folder, name, kind, key_bytes, value_bytes, entries, flags):
    library = libbpf._library()
    options = ctypes.create_string_buffer(struct.pack("=Q6I", 64, 0, 0, 0, 0, 0, flags).ljust(64, b"\0"))
    library.bpf_map_create.argtypes = (ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p)
    descriptor = library.bpf_map_create(kind, name.encode(), key_bytes, value_bytes, entries, options)
    assert descriptor >= 0
    assert library.bpf_obj_pin(descriptor, bytes(folder / f"filter_{name}")) == 0
    return Map(descriptor, key_bytes, value_bytes)


def number(value):
    return struct.pack("=I", value)


@pytest.fixture
def former(filesystem):
    """What a version before has pinned: a guard, a list, and rules in the second half of its table."""
    folder = prepare(filesystem)
    maps = {one[0]: pinned(folder, *one) for one in MAPS}
    maps["guarded"].set(pack_prefixes([ip_network("192.0.2.0/24")]), number(0))
    maps["lists"].set(packed_name("drop"), number(5))
    maps["blocked"].set(pack_prefixes([ip_network("198.51.100.0/24")]), number(5))
    rules = {
        "ports": former_rule(7, "203.0.113.0/24", (53, 53, *ANY_PORT), more=(1, 4)),
        "flags": former_rule(8, flags=(2, 18), more=(1, 0), rate=100),
        "api/fragments": former_rule(9, "2001:db8::/32", fragment=(1, 1), more=(0, 6)),
        "any-port": former_rule(10, more=(1, 0)),
    }
    for place, (name, packed) in enumerate(rules.items()):
        maps["rules"].set(number(64 + place), packed)
        maps["rule_names"].set(packed_name(name), packed[92:96])
    maps["settings"].set(number(0), struct.pack("=QQQQIIIIII", 1000, 5000, 0, 0, 1, 0, 0, 64, len(rules), 0))
    for one in maps.values():
        one.close()
    return filesystem


def test_what_was_pinned_holds_on(former):
    with pytest.raises(PinError, match="is not loaded"):
        PinnedFilter(former)
    load([], former)
    common = {"length": (28, 1500), "protocol": (6, 17), "ttl": (1, 64)}
    wanted = {
        "ports": (7, FilterRule(ip_network("203.0.113.0/24"), source_port=(53, 53), version=4, **common)),
        "flags": (8, FilterRule(tcp_flags=(18, 2), packets_per_second=100, action="limit", **common)),
        "fragments": (9, FilterRule(ip_network("2001:db8::/32"), fragment=True, version=6, **common)),
        "any-port": (10, FilterRule(source_port=ANY_PORT, **common)),
    }
    packed = {name: numbered(pack_rule(rule), place) for name, (place, rule) in wanted.items()}
    for _ in range(2):  # once and for all
        with PinnedFilter(former) as one:
            assert one.settings() == FilterSettings(1_000_000, 5, dry_run=True)
            held = one.held()
            assert one.counts()["rule ports"] == (0, 0)
        assert held["file"].guard == pack_prefixes([ip_network("192.0.2.0/24")])
        assert held["file"].lists == {"drop": pack_prefixes([ip_network("198.51.100.0/24")])}
        assert held["file"].rules == {name: packed[name] for name in ("ports", "flags", "any-port")}
        assert held["api"].rules == {"fragments": packed["fragments"]}
        assert not [name for name in os.listdir(prepare(former)) if "former" in name or name == "filter_rules"]
        load([], former)
    assert remove(former)


def test_none_of_it_goes_where_the_program_does_not_load(former, monkeypatch):
    def refused(*_):
        raise PinError("no room")

    before = sorted(os.listdir(prepare(former)))
    monkeypatch.setattr("spectrum.kernel.outgrown.load", refused)
    with pytest.raises(PinError, match="no room"):
        load([], former)
    assert sorted(os.listdir(prepare(former))) == before
