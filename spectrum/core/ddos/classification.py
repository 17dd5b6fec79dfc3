"""Classification of an attack as an instance of a managed rule, and its fields for overrides."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import numpy as np

from spectrum.core.ddos.expressions import Span, Spans, address_span
from spectrum.core.ddos.managed import (
    BY_REF,
    FLAG_FIELDS,
    NAMED_PROTOCOLS,
    RULES,
    ManagedRule,
    Range,
    Signature,
)
from spectrum.core.ddos.packets import SHAKEN, WHOLE, Column, Mask, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate, prefix_text
from spectrum.core.packets import PROTOCOLS

# The share of an attack's packets that must have the signature of a managed rule.
SHARE = 0.6
# The share that one destination must get for an attack on one destination.
_ONE_DESTINATION = 0.5
_NAMED = tuple(NAMED_PROTOCOLS)
_PLAIN = frozenset({"version", "protocol", "destination", "destination_port", "served", "fragment", "known"})


def classify(what: Conjunction, packets: Packets, pulses: int = 0) -> ManagedRule:
    """Return the managed rule that an attack is an instance of.

    Args:
        what: The common properties of its packets.
        packets: Samples of them.
        pulses: How often it came, ended and came again.
    """
    weights = packets["stands_for"] / max(float(packets["stands_for"].sum()), 1.0)
    for rule in RULES:
        signature = rule.signature
        if signature is None or not _about_all(signature, what, packets, weights, pulses):
            continue
        if float(weights[has_signature(signature, packets)].sum()) >= SHARE:
            return rule
    return BY_REF["GENERIC-0003"]


def _about_all(signature: Signature, what: Conjunction, packets: Packets, weights: Column, pulses: int) -> bool:
    """Return whether an attack as a whole has the properties of a signature."""
    if pulses < signature.pulses:
        return False
    if signature.is_plain and not {one.field for one in what.predicates} <= _PLAIN:
        return False
    if signature.shaken and float(weights[packets["state"] == SHAKEN].sum()) < signature.shaken:
        return False
    return not signature.destinations or _is_spread(packets, weights, signature.destinations)


def _is_spread(packets: Packets, weights: Column, least: int) -> bool:
    values, inverse = np.unique(packets["destination"], return_inverse=True)
    if len(values) < least:
        return False
    return float(np.bincount(inverse, weights).max()) < _ONE_DESTINATION


def has_signature(signature: Signature, packets: Packets) -> Mask:
    """Return which packets have a signature."""
    found = np.ones(len(packets), bool)
    for holds in _conditions(signature, packets):
        found &= holds
    return found


def _conditions(signature: Signature, packets: Packets) -> Iterator[Mask]:
    if signature.protocols:
        yield np.isin(packets["protocol"], signature.protocols)
    if signature.is_other:
        yield ~np.isin(packets["protocol"], _NAMED)
    if signature.version:
        yield packets["version"] == signature.version
    if signature.fragment is not None:
        yield (packets["fragment"] != WHOLE) == signature.fragment
    if signature.source_ports:
        yield _within(packets["source_port"], signature.source_ports)
    if signature.destination_ports:
        yield _within(packets["destination_port"], signature.destination_ports)
    if signature.lengths:
        yield _within(packets["length"], (signature.lengths,))
    if signature.tcp_flags:
        mask, flags = signature.tcp_flags
        yield packets["tcp_flags"] & mask == flags
    if signature.windows:
        yield np.isin(packets["window"], signature.windows)
    if signature.idents:
        yield np.isin(packets["ident"], signature.idents)
    if signature.options is not None:
        yield (packets["options"] != 0) == signature.options
    if signature.payloads:
        yield _begins(packets, signature.payloads)
    if signature.served is not None:
        yield (packets["served"] == 1) == signature.served


def _within(column: Column, ranges: tuple[Range, ...]) -> Mask:
    found = np.zeros(len(column), bool)
    for low, high in ranges:
        found |= (column >= low) & (column <= high)
    return found


def _begins(packets: Packets, payloads: tuple[bytes, ...]) -> Mask:
    found = np.zeros(len(packets), bool)
    for payload in payloads:
        size = len(payload)
        value = np.uint64(int.from_bytes(payload))
        found |= (packets["payload_bytes"] >= size) & (packets["payload"] >> np.uint64(64 - 8 * size) == value)
    return found


# --- fields of expressions ----------------------------------------------------------------------------------------


def shared_fields(what: Conjunction) -> Mapping[str, Spans]:
    """Return the fields of expressions with common values in an attack's packets, and these values."""
    by_field = {one.field: one for one in what.predicates if one.kind != "not in"}
    found: dict[str, Spans] = {}
    for field, name in (("protocol", "ip.proto.num"), ("length", "ip.len"), ("ttl", "ip.ttl")):
        if field in by_field:
            found[name] = _exactly(by_field[field])
    if "length" not in by_field and "length/8" in by_field:
        found["ip.len"] = tuple((8 * value, 8 * value + 7) for value in by_field["length/8"].values)
    for name, fields in (("ip.dst", ("destination",)), ("ip.src", ("source", "source/24", "source/16"))):
        known = next((by_field[field] for field in fields if field in by_field), None)
        if known is not None and (known.example or known.field != "destination"):
            found[name] = tuple(_addresses(known))
    found.update(_of_transport(by_field))
    return found


def _of_transport(by_field: Mapping[str, Predicate]) -> Iterator[tuple[str, Spans]]:
    """Yield the fields of TCP and UDP: packets of another protocol cannot have them."""
    protocols = by_field["protocol"].values if "protocol" in by_field else ()
    ports = {"srcport": by_field.get("source_port"), "dstport": by_field.get("destination_port")}
    for transport in ("tcp", "udp"):
        if protocols and PROTOCOLS[transport] not in protocols:
            yield from ((f"{transport}.{port}", ()) for port in ports)
        elif protocols == (PROTOCOLS[transport],):
            yield from ((f"{transport}.{port}", _exactly(known)) for port, known in ports.items() if known)
    flags = by_field.get("tcp_flags")
    is_other = bool(protocols) and PROTOCOLS["tcp"] not in protocols
    for field, name in (("sequence", "tcp.seq"), ("acknowledgement", "tcp.ack")):
        if is_other:
            yield name, ()
        elif field in by_field:
            yield name, _exactly(by_field[field])
    if is_other or (flags is not None and protocols == (PROTOCOLS["tcp"],)):
        values = () if flags is None or is_other else flags.values
        yield "tcp.flags", tuple((value, value) for value in values)
        for name, flag in FLAG_FIELDS.items():
            bits = {int(value & flag > 0) for value in values}
            yield name, tuple((bit, bit) for bit in sorted(bits))


def _exactly(predicate: Predicate) -> Spans:
    return tuple((value, value) for value in predicate.values)


def _addresses(predicate: Predicate) -> Iterator[Span]:
    if predicate.example:
        # Sources of IPv6 are distinguished by their first 64 bits.
        is_prefix = predicate.field == "source" and ":" in predicate.example
        text = str(IPv6Network(f"{predicate.example}/64", strict=False)) if is_prefix else predicate.example
        yield address_span(text)
        return
    for value in predicate.values:
        yield address_span(prefix_text(predicate.field, value)) if "/" in predicate.field else _source(value)


def _source(key: int) -> Span:
    """Return the address of a key of `source`, or the /64; the highest bit marks IPv6."""
    if key >> 63:
        return address_span(f"{IPv6Address((key & (1 << 63) - 1) << 64)}/64")
    return address_span(str(IPv4Address(key & 0xFFFFFFFF)))
