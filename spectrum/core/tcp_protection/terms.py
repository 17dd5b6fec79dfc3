"""Expressions about TCP packets as alternatives of four sets each, which the kernel can look up. A set of addresses or
ports is a sorted tuple of ranges that neither overlap nor touch.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from itertools import product
from typing import NamedTuple

from spectrum.core.ddos.expressions import Combination, Constant, Expression, FieldIn, Negation, Span, Spans

ALL_ADDRESSES: Spans = ((0, 2**128 - 1),)
ALL_PORTS: Spans = ((0, 2**16 - 1),)
MAX_TERMS = 64
_MAPPED = 0xFFFF << 32
# Bits of an address; of a port.
ADDRESS_BITS, PORT_BITS = 128, 16


class TooManyTerms(ValueError):
    """An expression has more alternatives than the kernel's tables can hold."""


class Term(NamedTuple):
    """Packets whose addresses and ports are each in a set."""

    source: Spans = ALL_ADDRESSES
    destination: Spans = ALL_ADDRESSES
    source_port: Spans = ALL_PORTS
    destination_port: Spans = ALL_PORTS


_PLACES = {"ip.src": 0, "ip.dst": 1, "tcp.srcport": 2, "tcp.dstport": 3}


def terms_of(expression: Expression) -> list[Term]:
    """Return alternatives, one of which matches if the expression does.

    Raises:
        TooManyTerms: If there are more than `MAX_TERMS`.
    """
    return _terms(expression, True)


def _terms(expression: Expression, wanted: bool) -> list[Term]:
    match expression:
        case Constant(value):
            return [Term()] if value == wanted else []
        case FieldIn(field, spans):
            place = _PLACES[field]
            whole = Term()[place]
            found = union(spans) if wanted else without(whole, union(spans))
            return [Term()._replace(**{Term._fields[place]: found})] if found else []
        case Negation(part):
            return _terms(part, not wanted)
        case Combination("xor", parts):
            return _odd([(_terms(part, True), _terms(part, False)) for part in parts], wanted)
        case Combination(how, parts):
            found_of = [_terms(part, wanted) for part in parts]
            return _any(found_of) if (how == "or") == wanted else _all(found_of)


def _odd(parts: list[tuple[list[Term], list[Term]]], wanted: bool) -> list[Term]:
    """Return the packets for which an odd number of parts match, each given with its negation; or an even number."""
    odd, even = parts[0]
    for holds, fails in parts[1:]:
        odd, even = (
            _any([_all([odd, fails]), _all([even, holds])]),
            _any([_all([odd, holds]), _all([even, fails])]),
        )
    return odd if wanted else even


def _any(parts: Iterable[list[Term]]) -> list[Term]:
    found: list[Term] = []
    for part in parts:
        for term in part:
            _add(found, term)
    return _bounded(found)


def _all(parts: Iterable[list[Term]]) -> list[Term]:
    found = [Term()]
    for part in parts:
        both: list[Term] = []
        for one, other in product(found, part):
            if (met := met_by(one, other)) is not None:
                _add(both, met)
                _bounded(both)
        found = both
    return found


def _add(found: list[Term], term: Term) -> None:
    """Add an alternative, or merge it with one that differs in one set: lists of addresses become one."""
    for at, one in enumerate(found):
        differing = [place for place in range(4) if one[place] != term[place]]
        if len(differing) < 2:
            for place in differing:
                found[at] = one._replace(**{Term._fields[place]: union((*one[place], *term[place]))})
            return
    found.append(term)


def _bounded(found: list[Term]) -> list[Term]:
    if len(found) > MAX_TERMS:
        raise TooManyTerms(
            f"it expands to more than {MAX_TERMS} alternatives of addresses and ports; split it, or use sets"
        )
    return found


def met_by(one: Term, other: Term) -> Term | None:
    """Return the intersection of two terms; None if it is empty."""
    sets = [common(mine, others) for mine, others in zip(one, other, strict=True)]
    return Term(*sets) if all(sets) else None


# --- sets ---------------------------------------------------------------------------------------------------------


def union(spans: Iterable[Span]) -> Spans:
    """Return the union of ranges, which may overlap."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return tuple(found)


def common(one: Spans, other: Spans) -> Spans:
    """Return the intersection of two sets."""
    found: list[Span] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            found.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def without(one: Spans, other: Spans) -> Spans:
    """Return the difference of two sets."""
    found: list[Span] = []
    for low, high in one:
        for begin, end in other:
            if end < low or begin > high:
                continue
            if low < begin:
                found.append((low, begin - 1))
            low = end + 1
        if low <= high:
            found.append((low, high))
    return tuple(found)


def span_of(prefix: IPv4Network | IPv6Network) -> Span:
    """Return the addresses of a prefix, those of IPv4 as ::ffff:a.b.c.d."""
    mapped = _MAPPED if prefix.version == 4 else 0
    return int(prefix.network_address) + mapped, int(prefix.broadcast_address) + mapped


def without_mapped(span: Span) -> Iterator[Span]:
    """Yield the addresses of an IPv6 prefix without IPv4-mapped ones; others unchanged."""
    low, high = span
    end = _MAPPED + 0xFFFFFFFF
    if low < _MAPPED and end < high:
        yield from ((low, _MAPPED - 1), (end + 1, high))
    else:
        yield span


def prefixes_of(spans: Spans, bits: int) -> Iterator[tuple[int, int]]:
    """Yield the minimum of prefixes that cover a set of numbers of a number of bits: length, and first number."""
    for begin, high in spans:
        low = begin
        while low <= high:
            size = min((low & -low).bit_length() - 1 if low else bits, (high - low + 1).bit_length() - 1)
            yield bits - size, low
            low += 1 << size
