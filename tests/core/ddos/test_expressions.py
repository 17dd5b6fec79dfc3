from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.ddos.expressions import (
    FIELDS,
    MAX_LENGTH,
    Constant,
    ExpressionError,
    Field,
    FieldIn,
    address_span,
    fields_of,
    holds,
    parse,
)

PACKET = {
    "ip.dst": "192.0.2.7",
    "ip.src": "2001:db8::1",
    "ip.proto.num": 6,
    "ip.len": 40,
    "ip.ttl": 64,
    "tcp.dstport": 443,
    "tcp.srcport": 5000,
    "tcp.flags": 0x12,
    "tcp.flags.syn": 1,
    "tcp.flags.ack": 1,
    "tcp.flags.fin": 0,
}


def facts(packet):
    """Return what is known of packets that are all as one."""

    def known(field):
        if field not in packet:
            return None
        value = packet[field]
        return (address_span(value),) if isinstance(value, str) else ((value, value),)

    return known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("false", False),
        ("ip.dst eq 192.0.2.7", True),
        ("ip.dst == 192.0.2.8", False),
        ("ip.dst != 192.0.2.8", True),
        ("ip.dst in {198.51.100.0/24 192.0.2.0/24}", True),
        ("ip.dst in {192.0.2.1..192.0.2.6}", False),
        ("ip.dst in {192.0.2.1..192.0.2.7}", True),
        ("ip.src in {2001:db8::/32}", True),
        ("ip.dst in {::/0}", False),
        ("ip.src in {0.0.0.0/0}", False),
        ("ip.src in {::/0}", True),
        ("ip.dst in {::ffff:192.0.2.0/120}", True),
        ("ip.proto.num in {6 17}", True),
        ("ip.len lt 40", False),
        ("ip.len <= 40", True),
        ("ip.len gt 39", True),
        ("ip.len >= 41", False),
        ("ip.len lt 0", False),
        ("ip.ttl in {1..63 65..255}", False),
        ("tcp.dstport ne 443", False),
        ("tcp.flags eq 0x12", True),
        ("tcp.flags.syn", True),
        ("not tcp.flags.syn", False),
        ("! tcp.flags.fin", True),
        ("tcp.flags.syn and not tcp.flags.ack", False),
        ("tcp.flags.syn && tcp.flags.ack", True),
        ("tcp.flags.fin || tcp.flags.ack", True),
        ("tcp.flags.syn xor tcp.flags.ack", False),
        ("tcp.flags.syn ^^ tcp.flags.fin", True),
        # and binds more than xor, xor more than or
        ("tcp.flags.syn or tcp.flags.fin and tcp.flags.fin", True),
        ("(tcp.flags.syn or tcp.flags.fin) and tcp.flags.fin", False),
        ("tcp.flags.syn xor tcp.flags.ack and tcp.flags.fin", True),
        ("tcp.flags.syn or tcp.flags.syn xor tcp.flags.syn", True),
        ("not tcp.flags.fin and tcp.flags.syn", True),
        # of these nothing is known
        ("udp.dstport eq 53", None),
        ("not udp.dstport eq 53", None),
        ("tcp.flags.syn or udp.dstport eq 53", True),
        ("tcp.flags.fin or udp.dstport eq 53", None),
        ("tcp.flags.fin and udp.dstport eq 53", False),
        ("tcp.flags.syn and udp.dstport eq 53", None),
        ("tcp.flags.syn xor udp.dstport eq 53", None),
    ],
)
def test_what_expressions_say(text, expected):
    assert holds(parse(text), facts(PACKET)) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (((100, 200),), True),
        (((100, 100), (1000, 1000)), None),
        (((1000, 1100),), False),
        (((190, 210),), None),
        ((), False),
        (None, None),
    ],
)
def test_a_field_that_may_be_several_numbers(known, expected):
    assert holds(parse("ip.len in {50..150 150..200}"), lambda field: ((100, 150),)) is True
    assert holds(parse("ip.len in {50..200}"), lambda field: known) is expected


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("", 1, "it is empty"),
        ("   ", 1, "it is empty"),
        ("ip.dts eq 192.0.2.1", 1, "did you mean ip.dst?"),
        ("http.host eq 1", 1, "known here: ip.dst"),
        (
            "tcp.flags.syn and cf.zone.name eq 1",
            19,
            "no cf.zone.name here, nor a zone; name an app by its ip.dst and its port",
        ),
        ("ip.dst", 7, "expected eq, ne, lt, le, gt, ge, in after ip.dst, found the end"),
        ("ip.dst 192.0.2.1", 8, "found '192.0.2.1'"),
        ("ip.dst eq", 10, "expected an address such as 192.0.2.1, found the end"),
        ("ip.dst eq 192.0.2.300", 11, "is not an address"),
        ("ip.dst eq 192.0.2.0/24", 11, "write ip.dst in {192.0.2.0/24}"),
        ("ip.dst in {192.0.2.1/24}", 12, "host bits"),
        ("ip.dst in {192.0.2.9..192.0.2.1}", 12, "begins with its lower end"),
        ("ip.dst in {192.0.2.9..::1}", 12, "two families"),
        ("ip.dst lt 192.0.2.1", 8, "compare it with eq, ne or in"),
        ("ip.dst in $office", 11, "lists cannot be named here"),
        ("ip.dst in 192.0.2.1", 11, "expected { with values"),
        ("ip.dst in {}", 12, "an empty set"),
        ("ip.dst in {192.0.2.1", 21, "or }, found the end"),
        ("tcp.dstport in {80, 443}", 19, "separated by spaces"),
        ("tcp.dstport in {80 and}", 20, "is not a number"),
        ("tcp.dstport eq 80..90", 16, "is more than one"),
        ("tcp.dstport eq 65536", 16, "at most 65535"),
        ("tcp.dstport eq 4_4", 16, "is not a number"),
        ("tcp.dstport eq \u0665", 16, "(decimal digits, or 0x and hexadecimal ones)"),
        ("tcp.dstport in {1..}", 17, "(decimal digits, or 0x and hexadecimal ones)"),
        ("ip.ttl eq 0x1ff", 11, "at most 255"),
        ("ip.ttl eq -1", 11, "is not a number"),
        ('ip.ttl eq "1"', 11, "no quotes"),
        ("ip.ttl = 1", 8, "write eq, or =="),
        ("ip.ttl matches 1", 8, "numbers and addresses"),
        ("tcp.flags.syn eq true", 15, "is set or not"),
        ("tcp.flags.syn tcp.flags.ack", 15, "expected and, or, xor, or the end"),
        ("tcp.flags.syn & tcp.flags.ack", 15, "write and, or &&"),
        ("tcp.flags.syn and", 18, "expected a field"),
        ("(tcp.flags.syn", 15, "expected ), found the end"),
        ("tcp.flags.syn)", 14, "found ')'"),
        ("and tcp.flags.syn", 1, "expected a field"),
        ("(" * 40 + "true" + ")" * 40, 33, "more than 32 parentheses"),
        ("not " * 40 + "true", 129, "more than 32 parentheses"),
        (" " * MAX_LENGTH + "true", MAX_LENGTH + 1, "4,004 characters; at most 4,000"),
    ],
)
def test_invalid_expressions_are_reported_with_their_place(text, position, part):
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert str(raised.value).startswith(f"at character {position}: ")
    assert part in str(raised.value)
    assert raised.value.position == position


def test_fields_and_length_are_the_callers():
    fields = {"tcp.srcport": FIELDS["tcp.srcport"], "n": Field(highest=1)}
    assert parse("tcp.srcport eq 1", fields) == FieldIn("tcp.srcport", ((1, 1),))
    assert parse("n gt 1", fields) == FieldIn("n", ())
    with pytest.raises(ExpressionError, match=r"there is no field ip\.src here"):
        parse("ip.src eq 192.0.2.1", fields)
    assert parse("true" + " " * 8_000, max_length=8_192) == Constant(True)


numbers = st.integers(0, 65535)
comparisons = st.one_of(
    st.tuples(st.just("ip.len"), st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), numbers),
    st.tuples(st.just("tcp.dstport"), st.just("in"), st.lists(numbers, min_size=1, max_size=5)),
    st.just(("tcp.flags.syn", "", "")),
)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or", "xor"]), inner, inner),
    ),
    max_leaves=12,
)
OPERATORS = {
    "eq": int.__eq__,
    "ne": int.__ne__,
    "lt": int.__lt__,
    "le": int.__le__,
    "gt": int.__gt__,
    "ge": int.__ge__,
}
JOINS = {"and": lambda a, b: a and b, "or": lambda a, b: a or b, "xor": lambda a, b: a != b}


def written(tree):
    """Return a tree as text, with every parenthesis."""
    match tree:
        case ("not", inner):
            return f"not ({written(inner)})"
        case ("and" | "or" | "xor" as how, left, right):
            return f"({written(left)}) {how} ({written(right)})"
        case (field, "in", values):
            return f"{field} in {{{' '.join(map(str, values))}}}"
        case (field, "", _):
            return field
        case (field, operator, value):
            return f"{field} {operator} {value}"


def computed(tree, packet):
    match tree:
        case ("not", inner):
            return not computed(inner, packet)
        case ("and" | "or" | "xor" as how, left, right):
            return JOINS[how](computed(left, packet), computed(right, packet))
        case (field, "in", values):
            return packet[field] in values
        case (field, "", _):
            return packet[field] == 1
        case (field, operator, value):
            return OPERATORS[operator](packet[field], value)


@given(trees, numbers, numbers, st.integers(0, 1))
def test_expressions_are_what_python_makes_of_them(tree, length, port, syn):
    packet = {"ip.len": length, "tcp.dstport": port, "tcp.flags.syn": syn}
    expression = parse(written(tree), max_length=100_000)
    assert holds(expression, facts(packet)) is computed(tree, packet)
    assert set(fields_of(expression)) <= set(packet)


@given(trees, numbers, st.lists(numbers, min_size=1, max_size=3))
def test_an_expression_over_several_packets_is_evaluated_for_each(tree, port, lengths):
    known = {"ip.len": tuple((one, one) for one in lengths), "tcp.dstport": ((port, port),)}
    told = holds(parse(written(tree), max_length=100_000), known.get)
    for length in lengths:
        for syn in (0, 1):
            packet = {"ip.len": length, "tcp.dstport": port, "tcp.flags.syn": syn}
            assert told is None or told is computed(tree, packet)


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text):
    position = 1
    try:
        parse(text)
    except ExpressionError as exc:
        position = exc.position
    assert 1 <= position <= len(text) + 1


@given(st.ip_addresses(), st.integers(0, 32))
def test_a_prefix_has_its_addresses(address, length):
    if address.version == 6 and address.ipv4_mapped:
        return  # it is one of IPv4
    prefix = ip_network(f"{address}/{length}", strict=False)
    assert holds(parse(f"ip.dst in {{{prefix}}}"), facts({"ip.dst": str(address)})) is True
    assert (
        holds(
            parse(f"ip.dst eq {address}"),
            facts({"ip.dst": str(ip_address(int(address) ^ 1 if address.version == 4 else int(address) ^ 1 << 64))}),
        )
        is False
    )
