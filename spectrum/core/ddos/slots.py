"""Rules of detection as rules of the filter, which match the same packets.

A FilterRule adds: it matches only packets that belong to no flow in use, and `cookie` matches SYNs.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from math import ceil
from typing import Any

from spectrum.core.ddos.detector import FloodRule
from spectrum.core.ddos.packets import FIRST_FRAGMENT, LATER_FRAGMENT, WHOLE
from spectrum.core.ddos.predicates import Predicate, prefix_text
from spectrum.core.filter_rules import SET_FIELDS, FilterRule, SetTerm

_PAYLOAD_BITS = 64
_FRAGMENTS: Mapping[int, Any] = {WHOLE: False, FIRST_FRAGMENT: "first", LATER_FRAGMENT: "later"}


class NoSlot(ValueError):
    """The filter has no such rule; the message says why."""


def slot_of(rule: FloodRule, expires_ns: int) -> FilterRule:
    """Return a rule in the form of the filter.

    Args:
        rule: A rule for an attack.
        expires_ns: When it expires, on the monotonic clock.

    Raises:
        NoSlot: If the filter has no such rule.
    """
    exact = [one for one in rule.what.predicates if one.kind == "is"]
    fields: dict[str, Any] = {}
    # The most specific predicate of a field comes last.
    for predicate in sorted(exact, key=lambda one: _ORDER.get(one.field, 0)):
        fields |= _field(predicate)
    limit = max(1, ceil(rule.judgement.per_s)) if rule.action in ("limit", "source-limit") else 0
    sets = _sets(one for one in rule.what.predicates if one.kind != "is")
    try:
        return FilterRule(
            **fields,
            idle=True,
            sets=sets,
            action=rule.action.value,
            packets_per_second=limit,
            expires_ns=expires_ns,
        )
    except ValueError as exc:
        raise NoSlot(str(exc)) from exc


def _field(predicate: Predicate) -> Mapping[str, Any]:
    make = _FIELDS.get(predicate.field)
    if make is None:
        raise NoSlot(f"the filter has no condition on {predicate.field}")
    return make(predicate, predicate.values[0])


def _sets(predicates: Iterable[Predicate]) -> tuple[SetTerm, ...]:
    """Return the sets; several of one field and kind are merged."""
    found: dict[tuple[str, bool], frozenset[int]] = {}
    for one in predicates:
        negated = one.kind == "not in"
        key, values = (one.field, negated), frozenset(one.values)
        if one.field not in SET_FIELDS:
            raise NoSlot(f"the filter has no sets of {one.field}")
        if key not in found:
            found[key] = values
        else:
            found[key] = found[key] | values if negated else found[key] & values
    return tuple(SetTerm(field, values, negated) for (field, negated), values in found.items())  # type: ignore[arg-type]


def _payload(count: int) -> Callable[[Predicate, int], Mapping[str, Any]]:
    shift = _PAYLOAD_BITS - 8 * count
    mask = (1 << 8 * count) - 1 << shift
    return lambda _, value: {"payload": (value << shift, mask)}


def _span(field: str) -> Callable[[Predicate, int], Mapping[str, Any]]:
    return lambda _, value: {field: (value, value)}


def _source(predicate: Predicate, key: int) -> Mapping[str, Any]:
    if predicate.field != "source":
        return {"source": ip_network(prefix_text(predicate.field, key))}
    # For an IPv6 address the /64; the highest bit of a key marks IPv6.
    bits = 64 if key >> 63 else 32
    return {"source": ip_network(f"{predicate.example}/{bits}", strict=False)}


_FIELDS: Mapping[str, Callable[[Predicate, int], Mapping[str, Any]]] = {
    "version": lambda _, value: {"version": value},
    "destination": lambda predicate, _: {"destination": ip_network(predicate.example)},
    "source/16": _source,
    "source/24": _source,
    "source": _source,
    "protocol": _span("protocol"),
    "source_port": _span("source_port"),
    "destination_port": _span("destination_port"),
    "length": _span("length"),
    "window": _span("window"),
    "ident": _span("ident"),
    "ttl": _span("ttl"),
    "options": lambda _, value: {"options": value},
    "sequence": lambda _, value: {"sequence": value},
    "acknowledgement": lambda _, value: {"acknowledgement": value},
    "tcp_flags": lambda _, value: {"tcp_flags": (0xFF, value)},
    "fragment": lambda _, value: {"fragment": _FRAGMENTS[value]},
    "served": lambda _, value: {"served": bool(value)},
    "known": lambda _, value: {"known": bool(value)},
    "payload[:2]": _payload(2),
    "payload[:4]": _payload(4),
    "payload[:8]": _payload(8),
}
_ORDER = {field: place for place, field in enumerate(_FIELDS)}
