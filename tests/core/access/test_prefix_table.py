"""The table against a naive reference, and its faults."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.access.prefix_table import PrefixTable, PrefixTableBuilder


def make(entries):
    """A table of (network, rule, rank), and its lists."""
    builder = PrefixTableBuilder()
    for network, rule, rank in entries:
        network = ip_network(network)
        builder.add(network.network_address.packed, network.prefixlen, rule, rank)
    return PrefixTable(builder.build()), builder.lists


def rules_at(table, lists, address):
    return lists[table.find(ip_address(address).packed)]


def test_the_longest_prefix_first():
    table, lists = make([("10.0.0.0/8", 1, 0), ("10.1.0.0/16", 2, 0), ("10.1.2.3/32", 3, 1), ("2001:db8::/32", 4, 0)])
    assert rules_at(table, lists, "10.1.2.3") == (3, 2, 1)
    assert rules_at(table, lists, "10.1.2.4") == (2, 1)
    assert rules_at(table, lists, "10.2.0.0") == (1,)
    assert rules_at(table, lists, "11.0.0.0") == ()
    assert rules_at(table, lists, "9.255.255.255") == ()
    assert rules_at(table, lists, "2001:db8:ffff::") == (4,)
    assert rules_at(table, lists, "2001:db9::") == ()


def test_of_two_rules_for_one_prefix_the_higher_rank_then_the_lower_number():
    table, lists = make([("10.0.0.0/8", 2, 0), ("10.0.0.0/8", 3, 1), ("10.0.0.0/8", 1, 0), ("10.0.0.0/8", 3, 1)])
    assert rules_at(table, lists, "10.0.0.1") == (3, 1, 2)


def test_the_ends_of_the_address_space():
    entries = [
        ("0.0.0.0/0", 1, 0),
        ("255.255.255.255/32", 2, 0),
        ("0.0.0.0/32", 3, 0),
        ("::/0", 4, 0),
        ("ff00::/8", 5, 0),
    ]
    table, lists = make(entries)
    assert rules_at(table, lists, "255.255.255.255") == (2, 1)
    assert rules_at(table, lists, "255.255.255.254") == (1,)
    assert rules_at(table, lists, "0.0.0.0") == (3, 1)
    assert rules_at(table, lists, "::") == (4,)
    assert rules_at(table, lists, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") == (5, 4)


def test_nothing():
    table, lists = make([])
    assert (rules_at(table, lists, "192.0.2.1"), rules_at(table, lists, "2001:db8::")) == ((), ())
    assert len(table) == 2


# Few bits in few places, so that prefixes nest and touch.
ADDRESSES4 = st.integers(0, 255).map(lambda n: (n & 0xF0) << 24 | (n & 0xC) << 14 | n & 3)
ADDRESSES6 = st.integers(0, 255).map(lambda n: (n & 0xF0) << 120 | (n & 0xC) << 62 | n & 3)


@st.composite
def prefixes(draw):
    four = draw(st.booleans())
    width = 32 if four else 128
    bits = draw(st.integers(0, width))
    number = draw(ADDRESSES4 if four else ADDRESSES6) >> (width - bits) << (width - bits)
    return (number.to_bytes(width // 8, "big"), bits, draw(st.integers(1, 4)), draw(st.integers(0, 1)))


@given(
    st.lists(prefixes(), max_size=40),
    st.lists(ADDRESSES4.map(lambda n: n.to_bytes(4, "big")) | ADDRESSES6.map(lambda n: n.to_bytes(16, "big"))),
)
def test_against_a_naive_reference(entries, addresses):
    # A rule has one rank, as it has one action.
    entries = [(address, bits, rule, rule & 1) for address, bits, rule, _ in entries]
    builder = PrefixTableBuilder()
    for entry in entries:
        builder.add(*entry)
    table = PrefixTable(builder.build())
    edges = [address for address, *_ in entries]
    edges += [(int.from_bytes(a, "big") - 1 & (1 << 8 * len(a)) - 1).to_bytes(len(a), "big") for a in edges]
    for address in (*addresses, *edges):
        held = [e for e in entries if len(e[0]) == len(address) and _holds(e, address)]
        held.sort(key=lambda e: (-e[1], -e[3], e[2]))
        assert builder.lists[table.find(address)] == tuple(dict.fromkeys(rule for _, _, rule, _ in held))
        for rule in range(1, 5):
            longest = max((bits for _, bits, of, _ in held if of == rule), default=None)
            assert table.given(address, rule) == (None if longest is None else (longest, 0))


def _holds(entry, address):
    shift = 8 * len(address) - entry[1]
    return int.from_bytes(entry[0], "big") >> shift == int.from_bytes(address, "big") >> shift


def test_many_of_both_families():
    builder = PrefixTableBuilder()
    text = "".join(f"{n >> 8 & 255}.{n & 255}.{n * 7 & 255}.0/24\n2001:db8:{n:x}::/48\n" for n in range(20_000))
    count, faults = builder.add_lines(text.encode(), 1)
    assert (count, faults) == (40_000, [])
    table = PrefixTable(builder.build())
    for n in (0, 1, 77, 19_999):
        assert rules_at(table, builder.lists, f"2001:db8:{n:x}:1::1") == (1,)
    assert rules_at(table, builder.lists, "2001:db8:4e20::") == ()
    assert builder.lists == [(), (1,)]


def test_lines():
    builder = PrefixTableBuilder()
    text = b"""# a list
192.0.2.0/24 ; SBL1
  198.51.100.7\t# one

2001:db8::/32\r
::ffff:203.0.113.0/120
;
0.0.0.0/0"""
    assert builder.add_lines(text, 7) == (5, [])
    table = PrefixTable(builder.build())
    for address in ("192.0.2.255", "198.51.100.7", "2001:db8::1", "203.0.113.9"):
        assert rules_at(table, builder.lists, address) == (7,)
    assert rules_at(table, builder.lists, "2001:db9::") == ()
    given = {"192.0.2.255": (24, 2), "198.51.100.7": (32, 3), "2001:db8::1": (32, 5), "203.0.113.9": (24, 6)}
    assert {address: table.given(ip_address(address).packed, 7) for address in given} == given
    assert table.given(ip_address("192.0.2.1").packed, 8) is None


def test_of_a_prefix_that_stands_twice_the_first_line():
    builder = PrefixTableBuilder()
    builder.add_lines(b"192.0.2.0/24\n2001:db8::/32\n192.0.2.0/24\n2001:db8::/32\n", 1)
    builder.add(ip_address("192.0.2.0").packed, 24, 2, 0, 17)
    table = PrefixTable(builder.build())
    assert table.given(ip_address("192.0.2.9").packed, 1) == (24, 1)
    assert table.given(ip_address("192.0.2.9").packed, 2) == (24, 17)
    assert table.given(ip_address("2001:db8::9").packed, 1) == (32, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"192.0.2.1/24", "has bits behind its length"),
        (b"2001:db8::1/32", "has bits behind its length"),
        (b"192.0.2.0/33", "is not a prefix"),
        (b"2001:db8::/129", "is not a prefix"),
        (b"192.0.2.0/", "is not a prefix"),
        (b"192.0.2.0/-1", "is not a prefix"),
        (b"192.0.2.0/24x", "is not a prefix"),
        (b"192.0.2", "is not a prefix"),
        (b"example.com", "is not a prefix"),
        (b"\xff\xfe1\x00", "is not a prefix"),
        (b"1" * 100, "is not a prefix"),
    ],
)
def test_faulty_lines(line, message):
    builder = PrefixTableBuilder()
    count, [(number, said)] = builder.add_lines(b"# x\n" + line + b"\n192.0.2.0/24\n", 1)
    assert (count, number) == (1, 2)
    assert message in said


def test_so_many_faults_are_enough():
    count, faults = PrefixTableBuilder().add_lines(b"<html>\n" * 1000, 1)
    assert (count, len(faults)) == (0, 20)


@pytest.mark.parametrize(
    "wrong", [(b"123", 8, 1), (b"1234", 33, 1), (b"1234", 32, 0), (b"1234", 32, 2**24), (b"1234", 8, 1)]
)
def test_invalid_prefixes(wrong):
    with pytest.raises(ValueError):
        PrefixTableBuilder().add(*wrong)


def test_invalid_tables():
    good = PrefixTableBuilder().build()
    for wrong in (b"", b"x" * 100, good[:-1], b"x" + good[1:]):
        with pytest.raises(ValueError, match="not a table of prefixes"):
            PrefixTable(wrong)
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        PrefixTable(good).find(b"123")
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        PrefixTable(good).given(b"123", 1)
