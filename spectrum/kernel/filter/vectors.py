"""Bit vectors of rules, by bytes of a packet's facts: struct vectors of bpf/slots.h.

Each byte that is looked up has a table: for each of its 256 values, a bit per rule that may match. The bytes chosen are
those that leave the fewest rules, for packets like those that the rules match.
"""

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from spectrum.core.filter_rules import SET_FIELDS
from spectrum.core.packets import SLOTS
from spectrum.kernel.filter.rules import Slot, values_of

MAX_PLACES = 15
_HEAD = struct.Struct("=QQII16s")
_TABLE_BYTES = 256 * SLOTS // 8
VECTORS_BYTES = _HEAD.size + MAX_PLACES * _TABLE_BYTES
# The slots of rules, in order: slot_of of bpf/slots.h.
_SEQUENCE = 0x03F79D71B4CB0A89
PLACES = [half + ((_SEQUENCE << bit & (1 << 64) - 1) >> 58) for half in (0, 64) for bit in range(64)]
# Offsets in struct facts of bpf/facts.h; numbers of several bytes are in host byte order.
_SOURCE, _DESTINATION, _PAYLOAD, _OPTIONS = 4, 24, 40, 48
# Ranges of ports, lengths, windows and identifications; of protocols and lifetimes.
_WIDE, _NARROW = (56, 58, 60, 62, 64), (67, 68)
_LIFETIME, _FLAGS, _KIND = 68, 69, 77
_SEQUENCE, _ACKNOWLEDGEMENT = 96, 100
_MAPPED = bytes(10) + b"\xff\xff"

_OCTETS = range(256)
# Allowed values of a rule, by byte offset.
Allowed = dict[int, Sequence[int]]


def pack_vectors(slots: Sequence[Slot | None], sets: Mapping[int, bytes]) -> bytes:
    """Return the tables of rules.

    Args:
        slots: The rules by their slots.
        sets: The values of sets by their names.
    """
    used = sum(1 << number for number, slot in enumerate(slots) if slot)
    tables: dict[int, list[int]] = {}
    named: dict[int, int] = {}
    for number, slot in enumerate(slots):
        for place, values in (_allowed(slot, sets) if slot else {}).items():
            named[place] = named.get(place, 0) | 1 << number
            table = tables.setdefault(place, [0] * 256)
            for value in values:
                table[value] |= 1 << number
    for place, table in tables.items():
        others = used & ~named[place]
        tables[place] = [mask | others for mask in table]
    places = sorted(tables, key=lambda place: sum(mask.bit_count() ** 2 for mask in tables[place]))[:MAX_PLACES]
    has_sets = any(slot and any(slot.sets) for slot in slots)
    head = _HEAD.pack(*_words(used), len(places), has_sets, bytes(places))
    packed = b"".join(_table(tables[place]) for place in places)
    return (head + packed).ljust(VECTORS_BYTES, b"\0")


def _words(mask: int) -> tuple[int, int]:
    return mask & (1 << 64) - 1, mask >> 64


def _table(masks: Sequence[int]) -> bytes:
    if sys.byteorder == "little":
        return b"".join(mask.to_bytes(SLOTS // 8, "little") for mask in masks)
    return b"".join(struct.pack("=QQ", *_words(mask)) for mask in masks)


def _allowed(slot: Slot, sets: Mapping[int, bytes]) -> Allowed:
    """Return the values that a rule allows, by byte offset; offsets with all values allowed are left out."""
    allowed: Allowed = {}
    for place, values in _parts(slot, sets):
        if len(values) < len(_OCTETS):
            allowed[place] = sorted(set(values).intersection(allowed[place])) if place in allowed else values
    return allowed


def _parts(slot: Slot, sets: Mapping[int, bytes]) -> Iterator[tuple[int, Sequence[int]]]:
    yield _KIND, _kinds(slot.kinds)
    yield from _address(_SOURCE, slot.source, slot.source_mask)
    yield from _address(_DESTINATION, slot.destination, slot.destination_mask)
    yield from _number(_PAYLOAD, 8, slot.payload, slot.payload_mask)
    yield from _number(_OPTIONS, 4, slot.options, slot.options_mask)
    yield from _number(_FLAGS, 1, slot.tcp_flags, slot.tcp_mask)
    yield from _number(_SEQUENCE, 4, *slot.sequences[:2])
    yield from _number(_ACKNOWLEDGEMENT, 4, *slot.sequences[2:])
    ends = list(zip(slot.ranges[::2], slot.ranges[1::2], strict=True))
    for place, (low, high) in zip(_WIDE, ends[: len(_WIDE)], strict=True):
        yield place + _octet(2, 1), _OCTETS[low >> 8 : (high >> 8) + 1]
        if low >> 8 == high >> 8:
            yield place + _octet(2, 0), _OCTETS[low & 0xFF : (high & 0xFF) + 1]
    for place, (low, high) in zip(_NARROW, ends[len(_WIDE) :], strict=True):
        yield place, _OCTETS[low : high + 1]
    for name, field, negated in zip(slot.sets, slot.set_fields, slot.set_negated, strict=True):
        if name in sets:
            yield from _set(SET_FIELDS[field], list(values_of(sets[name])), bool(negated))


@lru_cache(maxsize=256)
def _kinds(kinds: bytes) -> Sequence[int]:
    return [kind for kind in range(256) if kinds[_octet(4, kind >> 3)] >> (kind & 7) & 1]


def _octet(size: int, place: int) -> int:
    """Return the offset, in a number of some bytes, of the byte with weight 256 ** (place % size)."""
    within = place % size
    return place - within + (within if sys.byteorder == "little" else size - 1 - within)


def _address(start: int, address: bytes, mask: bytes) -> Iterator[tuple[int, Sequence[int]]]:
    # IPv4 is a property of the packet's kind.
    first = 12 if address[:12] == _MAPPED and mask[:12] == b"\xff" * 12 else 0
    for at in range(first, 16):
        if mask[at]:
            yield start + at, _masked(address[at], mask[at])


def _number(start: int, size: int, number: int, mask: int) -> Iterator[tuple[int, Sequence[int]]]:
    for place in range(size if mask else 0):
        octet = number >> 8 * place & 0xFF
        yield start + _octet(size, place), _masked(octet, mask >> 8 * place & 0xFF)


def _masked(octet: int, mask: int) -> Sequence[int]:
    if mask in (0, 0xFF):
        return (octet,) if mask else _OCTETS
    return [value for value in range(256) if value & mask == octet]


def _set(field: str, values: Sequence[int], negated: bool) -> Iterator[tuple[int, Sequence[int]]]:
    """Return the values of a set, by byte offset; none for IPv6, whose addresses differ in other bytes."""
    match field:
        case "ttl":
            yield _LIFETIME, sorted(set(range(256)) ^ set(values) if negated else values)
        case _ if negated:
            return
        case "payload[:2]":
            for place, shift in ((7, 8), (6, 0)):
                yield _PAYLOAD + _octet(8, place), _octets(values, shift)
        case "options":
            for place in range(4):
                yield _OPTIONS + _octet(4, place), _octets(values, 8 * place)
        case "source" | "source/24" if not any(value >> 63 for value in values):
            bits = 32 if field == "source" else 24
            for at in range(bits // 8):
                yield _SOURCE + 12 + at, _octets(values, bits - 8 * (at + 1))


def _octets(values: Sequence[int], shift: int) -> Sequence[int]:
    return sorted({value >> shift & 0xFF for value in values})
