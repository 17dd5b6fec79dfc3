"""Rules in the form of the filter's program: struct slot of bpf/slots.h."""

import struct
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import product
from typing import NamedTuple, Self

from spectrum.core.filter_rules import (
    ACTIONS,
    ANY_NUMBER,
    FRAGMENTS,
    IDLE_BELOW,
    MAX_SET_VALUES,
    MAX_SETS,
    SET_FIELDS,
    SYN,
    SYN_MASK,
    FilterRule,
    SetTerm,
)
from spectrum.core.packets import PROTOCOLS
from spectrum.kernel.pins import Network, PinError, prefix_key

_SLOT = struct.Struct("=16s16s16s16sQQQQQQ32sII14H8BI4I")
SLOT_BYTES = _SLOT.size
_NUMBER = struct.Struct("=I")
_NUMBER_AT = 188
_NS_PER_S = 1_000_000_000
_NS_PER_DAY = 24 * 3600 * _NS_PER_S
# The longest time to the end of an automatic rule; packets that match postpone the end.
MOST_AUTOMATIC_NS = 31 * _NS_PER_DAY
_NOT_TRACKED = 3
_TCP = PROTOCOLS["tcp"]


class Slot(NamedTuple):
    """The fields of struct slot."""

    source: bytes
    source_mask: bytes
    destination: bytes
    destination_mask: bytes
    payload: int
    payload_mask: int
    sets: tuple[int, int]
    expires_ns: int
    packet_ns: int
    kinds: bytes
    options: int
    options_mask: int
    # Ranges of ports, lengths, windows, identifications, protocols and lifetimes.
    ranges: tuple[int, ...]
    tcp_flags: int
    tcp_mask: int
    set_fields: tuple[int, int]
    set_negated: tuple[int, int]
    action: int
    number: int
    # Sequence and acknowledgement numbers, each with its mask.
    sequences: tuple[int, int, int, int]

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """Return a slot from its bytes."""
        fields = _SLOT.unpack(packed)
        flags, mask, *terms, action, _ = fields[27:35]
        return cls._make(
            (
                *fields[:6],
                fields[6:8],
                *fields[8:13],
                fields[13:27],
                flags,
                mask,
                tuple(terms[:2]),
                tuple(terms[2:]),
                action,
                fields[35],
                fields[36:],
            )
        )

    def packed(self) -> bytes:
        """Return its bytes."""
        return _SLOT.pack(
            *self[:6],
            *self.sets,
            *self[7:9],
            *self[9:12],
            *self.ranges,
            self.tcp_flags,
            self.tcp_mask,
            *self.set_fields,
            *self.set_negated,
            self.action,
            0,
            self.number,
            *self.sequences,
        )


def pack_rule(rule: FilterRule) -> bytes:
    """Return a rule in the program's form, without its number; `pack_sets` returns the values of its sets."""
    ranges = (
        *((one or ANY_NUMBER) for one in (rule.source_port, rule.destination_port)),
        rule.length,
        rule.window or ANY_NUMBER,
        rule.ident or ANY_NUMBER,
        (_TCP, _TCP) if rule.has_sequence else rule.protocol,  # the program has 0 for what other packets lack
        rule.ttl,
    )
    mask, flags = rule.tcp_flags or (0, 0)
    if rule.action == "cookie":
        mask, flags = mask | SYN_MASK, flags & mask & ~SYN_MASK | SYN
    payload, payload_mask = rule.payload or (0, 0)
    sets = [(set_name(pack_values(one)), SET_FIELDS.index(one.field), one.negated) for one in rule.sets]
    names, fields, negated = zip(*sets, *[(0, 0, False)] * (MAX_SETS - len(sets)), strict=True)
    return Slot(
        *masked(rule.source),
        *masked(rule.destination),
        payload & payload_mask,
        payload_mask,
        names,
        rule.expires_ns,
        _NS_PER_S // rule.packets_per_second if rule.packets_per_second else 0,
        _kinds(rule, mask != 0 or rule.has_sequence),
        rule.options or 0,
        0 if rule.options is None else 0xFFFFFFFF,
        tuple(end for one in ranges for end in one),
        flags & mask,
        mask,
        fields,
        negated,
        ACTIONS.index(rule.action),
        0,
        (*_exact(rule.sequence), *_exact(rule.acknowledgement)),
    ).packed()


def _exact(number: int | None) -> tuple[int, int]:
    """Return a number of 32 bits and its mask."""
    return (0, 0) if number is None else (number, 0xFFFFFFFF)


def _kinds(rule: FilterRule, names_flags: bool) -> bytes:
    """Return a bit for each combination of few-valued facts; see kind_of of bpf/slots.h."""
    prefixes = [prefix.version for prefix in (rule.source, rule.destination) if prefix]
    versions = {4, 6}.intersection(*({one} for one in (*prefixes, rule.version) if one))
    flows: tuple[int, ...] = (0, 1, 2, _NOT_TRACKED)
    if rule.needs_flows:
        flows = tuple(range(IDLE_BELOW)) if rule.idle else flows[:-1]
    has_ports = names_flags or rule.source_port is not None or rule.destination_port is not None
    kinds = 0
    for version, fragment, flow, known, served, ports in product(
        versions,
        # All values of these bits, so that a rule without such a fact matches all kinds.
        range(4) if rule.fragment is None else FRAGMENTS[rule.fragment],
        flows,
        (False, True) if rule.known is None else (rule.known,),
        (False, True) if rule.served is None else (rule.served,),
        (True,) if has_ports else (False, True),
    ):
        kind = (version == 6) | fragment << 1 | flow << 3 | known << 5 | served << 6 | ports << 7
        kinds |= 1 << kind
    return b"".join(_NUMBER.pack(kinds >> shift & 0xFFFFFFFF) for shift in range(0, 256, 32))


# The kinds of packets of flows in use, and of unknown flows.
_IN_USE = tuple(
    sum(1 << bit for bit in range(32) if (first + bit) >> 3 & 3 >= IDLE_BELOW) for first in range(0, 256, 32)
)


def masked(prefix: Network | None) -> tuple[bytes, bytes]:
    """Return address and mask of a prefix, 16 bytes each."""
    if prefix is None:
        return bytes(16), bytes(16)
    bits, address = prefix_key(prefix)
    return address, ((1 << bits) - 1 << 128 - bits).to_bytes(16, "big")


def numbered(packed: bytes, number: int) -> bytes:
    """Return a packed rule with its number, the index of its counters."""
    return packed[:_NUMBER_AT] + _NUMBER.pack(number) + packed[_NUMBER_AT + _NUMBER.size :]


def grown(packed: bytes) -> bytes:
    """Return a rule of a previous version in the present form: new fields are at the end, and zeros match any value."""
    return packed.ljust(SLOT_BYTES, b"\0")


def pack_values(term: SetTerm) -> bytes:
    """Return the values of a set, in order."""
    return struct.pack(f"={len(term.values)}Q", *sorted(term.values))


def pack_sets(rules: Mapping[str, FilterRule]) -> dict[str, list[bytes]]:
    """Return the values of the sets of rules that have any, by the rules' names."""
    return {name: [pack_values(one) for one in rule.sets] for name, rule in rules.items() if rule.sets}


def set_name(values: bytes) -> int:
    """Return the name of a set in the program, a hash of its values: equal sets share one."""
    return int.from_bytes(blake2b(values, digest_size=8).digest(), "big") | 1


def check_rule(packed: bytes, sets: list[bytes]) -> None:
    """Validate a rule from another process.

    Raises:
        PinError: If it is invalid.
    """
    if len(packed) != SLOT_BYTES:
        raise PinError(f"a rule has {SLOT_BYTES} bytes")
    slot = Slot.unpacked(packed)
    if slot.action >= len(ACTIONS) or (slot.packet_ns > 0) != (ACTIONS[slot.action] in ("limit", "source-limit")):
        raise PinError("a rule of an unknown action, or a limit without a rate")
    names = [name for name in slot.sets if name]
    if [set_name(values) for values in sets] != names or any(len(one) % 8 for one in sets):
        raise PinError("a rule with other sets than it names")
    if any(len(one) > 8 * MAX_SET_VALUES for one in sets) or any(one >= len(SET_FIELDS) for one in slot.set_fields):
        raise PinError(f"a set has {MAX_SET_VALUES} values at most, of a field that there is")


def check_automatic(packed: bytes, now_ns: int) -> None:
    """Validate properties of automatic rules: an end, and no match of flows in use.

    Args:
        packed: The rule.
        now_ns: The monotonic clock.

    Raises:
        PinError: If it lacks one.
    """
    if len(packed) != SLOT_BYTES:
        raise PinError(f"a rule has {SLOT_BYTES} bytes")
    slot = Slot.unpacked(packed)
    if not 0 < slot.expires_ns <= now_ns + MOST_AUTOMATIC_NS:
        raise PinError(f"a rule for an attack ends within {MOST_AUTOMATIC_NS // _NS_PER_DAY} days")
    if any(word & in_use for word, in_use in zip(struct.unpack("=8I", slot.kinds), _IN_USE, strict=True)):
        raise PinError("a rule for an attack is about packets that belong to no flow in use")


def values_of(packed: bytes) -> Iterator[int]:
    """Return the values of a set."""
    return (value for (value,) in struct.iter_unpack("=Q", packed))
