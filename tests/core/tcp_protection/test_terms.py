from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.ddos.expressions import Combination, Constant, FieldIn, Negation, holds, parse
from spectrum.core.tcp_protection.objects import FILTER_FIELDS
from spectrum.core.tcp_protection.terms import (
    ALL_ADDRESSES,
    ALL_PORTS,
    MAX_TERMS,
    Term,
    TooManyTerms,
    common,
    met_by,
    prefixes_of,
    span_of,
    terms_of,
    union,
    without,
    without_mapped,
)

FIELDS = ("ip.src", "ip.dst", "tcp.srcport", "tcp.dstport")
NUMBERS = st.integers(0, 40)
SPANS = st.lists(st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple), max_size=3).map(tuple)
LEAVES = st.builds(FieldIn, st.sampled_from(FIELDS), SPANS) | st.builds(Constant, st.booleans())
JOINS = st.sampled_from(["and", "or", "xor"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda part: (
        st.builds(Negation, part)
        | st.builds(
            Combination, st.sampled_from(["and", "or", "xor"]), st.lists(part, min_size=2, max_size=3).map(tuple)
        )
    ),
    max_leaves=5,
)


def is_of(term, packet):
    return all(any(low <= one <= high for low, high in spans) for one, spans in zip(packet, term, strict=True))


@given(EXPRESSIONS, st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_terms_hold_where_the_expression_does(expression, packet):
    known = {field: ((number, number),) for field, number in zip(FIELDS, packet, strict=True)}
    try:
        terms = terms_of(expression)
    except TooManyTerms:
        return
    assert any(is_of(term, packet) for term in terms) == holds(expression, known.get)


def test_alternatives_that_differ_in_one_set_are_one_term():
    some = parse(
        "tcp.dstport eq 22 and (ip.src eq 192.0.2.1 or ip.src eq 192.0.2.2 or ip.src eq 192.0.2.9)", FILTER_FIELDS
    )
    first = int(ip_address("192.0.2.0")) + (0xFFFF << 32)
    expected = Term(((first + 1, first + 2), (first + 9, first + 9)), ALL_ADDRESSES, ALL_PORTS, ((22, 22),))
    assert terms_of(some) == [expected]
    assert terms_of(parse("tcp.dstport eq 22 and tcp.dstport eq 23", FILTER_FIELDS)) == []


def test_an_expression_of_too_many_alternatives():
    pairs = [f"(tcp.srcport eq {3 * n} and tcp.dstport eq {3 * n})" for n in range(MAX_TERMS + 1)]
    for join in (" or ", " xor "):
        with pytest.raises(TooManyTerms, match="64 alternatives"):
            terms_of(parse(join.join(pairs), FILTER_FIELDS))
    odd = " xor ".join(f"tcp.{side}port eq {n}" for n in range(100) for side in ("src", "dst"))
    assert len(terms_of(parse(odd, FILTER_FIELDS, 9000))) == 2


@given(SPANS, SPANS, NUMBERS)
def test_sets(one, other, number):
    one, other = union(one), union(other)

    def is_in(spans):
        return any(low <= number <= high for low, high in spans)

    assert is_in(common(one, other)) == (is_in(one) and is_in(other))
    assert is_in(without(one, other)) == (is_in(one) and not is_in(other))
    assert is_in(union((*one, *other))) == (is_in(one) or is_in(other))
    assert all(a[1] + 1 < b[0] for a, b in pairwise(one))


@given(SPANS)
def test_prefixes_are_the_set(spans):
    spans = union(spans)
    found = list(prefixes_of(spans, 16))
    assert union((first, first + (1 << 16 - length) - 1) for length, first in found) == spans
    assert all(first % (1 << 16 - length) == 0 for length, first in found)
    assert list(prefixes_of(((0, 65535),), 16)) == [(0, 0)]


def test_met_by():
    assert met_by(Term(destination_port=((1, 5),)), Term(destination_port=((4, 9),))) == Term(
        destination_port=((4, 5),)
    )
    assert met_by(Term(destination_port=((1, 5),)), Term(destination_port=((6, 9),))) is None


def test_addresses():
    low, high = span_of(ip_network("192.0.2.0/24"))
    assert (low, high - low) == (0xFFFFC0000200, 255)
    assert list(without_mapped(span_of(ip_network("192.0.2.0/24")))) == [(low, high)]
    (first, last), (after, end) = without_mapped(span_of(ip_network("::/0")))
    assert (first, last, after, end) == (0, 0xFFFF00000000 - 1, 0xFFFFFFFFFFFF + 1, 2**128 - 1)
