"""Conditions of rules on packets: a conjunction of predicates, each on one field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import numpy as np

from spectrum.core.ddos.packets import MAPPED, Mask, Packets
from spectrum.core.packets import PROTOCOLS, TCP_FLAGS

# Fields that packets without ports do not have.
OF_PORTS = ("source_port", "destination_port", "tcp_flags")
OF_TCP = ("sequence", "acknowledgement")
OF_SOURCES = ("source", "source/24", "source/16")
Kind = Literal["is", "in", "not in"]
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on one field.

    Attributes:
        field: A column of `Packets`, or a derived one.
        kind: The comparison.
        values: The operands; one for `is`.
        example: For addresses: one of them as text; a key does not contain a whole IPv6 address.
    """

    field: str
    kind: Kind
    values: tuple[int, ...]
    example: str = ""

    def match(self, packets: Packets) -> Mask:
        """Return the rows that match."""
        column = packets[self.field]
        if self.kind == "is":
            found = np.asarray(column == column.dtype.type(self.values[0]))
            # As in the filter: packets without ports or flags do not match port 0, or no flags.
            if self.field in (*OF_PORTS, *OF_TCP) and not self.values[0]:
                found &= packets["has_ports"]
            if self.field in OF_TCP and not self.values[0]:
                found &= packets["protocol"] == PROTOCOLS["tcp"]
            return found
        if column.dtype == np.uint8:
            table = np.zeros(256, bool)
            table[list(self.values)] = True
            found = table[column]
        else:
            found = np.isin(column, np.array(self.values, column.dtype))
        return np.asarray(~found if self.kind == "not in" else found)

    def __str__(self) -> str:
        if self.kind == "is":
            shown = _SHOWN.get(self.field)
            return shown(self, self.values[0]) if shown else f"{_name(self)} {self.values[0]}"
        some = ", ".join(_bare(self, value) for value in self.values[:8])
        more = f" and {len(self.values) - 8} more" if len(self.values) > 8 else ""
        return f"{_name(self)} {self.kind} {{{some}{more}}}"


@dataclass(frozen=True, slots=True)
class Conjunction:
    """A conjunction of predicates."""

    predicates: tuple[Predicate, ...] = ()

    def match(self, packets: Packets) -> Mask:
        """Return the rows that match."""
        found = np.ones(len(packets), bool)
        for predicate in self.predicates:
            found &= predicate.match(packets)
        return found

    @property
    def excludes(self) -> bool:
        """Whether it excludes values that the profile has seen."""
        return any(one.kind == "not in" for one in self.predicates)

    @property
    def sources(self) -> "Conjunction":
        """Its conditions on the source, which hold for all packets of a flow."""
        return Conjunction(tuple(one for one in self.predicates if one.field in OF_SOURCES and one.kind != "not in"))

    @property
    def key(self) -> frozenset[tuple[str, str, tuple[int, ...]]]:
        """A key that is equal for later fingerprints of the same attack: sets of values differ a little."""
        return frozenset((one.field, one.kind, one.values if one.kind == "is" else ()) for one in self.predicates)

    def __str__(self) -> str:
        return ", ".join(map(str, self.predicates)) or "any packet"


_NAMES = {
    "length/8": "length, in units of 8 bytes,",
    "payload[0]": "first payload byte",
    "payload[1]": "second payload byte",
    "payload[:2]": "payload's first 2 bytes",
    "payload[:4]": "payload's first 4 bytes",
    "payload[:8]": "payload's first 8 bytes",
    "source/16": "source's /16 (IPv6: /32)",
    "source/24": "source's /24 (IPv6: /48)",
}
_HEX = {
    "payload[0]": 2,
    "payload[1]": 2,
    "payload[:2]": 4,
    "payload[:4]": 8,
    "payload[:8]": 16,
    "options": 8,
    "ident": 4,
}


def _name(predicate: Predicate) -> str:
    return _NAMES.get(predicate.field, predicate.field.replace("_", " "))


def _bare(predicate: Predicate, value: int) -> str:
    digits = _HEX.get(predicate.field)
    if digits:
        return f"{value:0{digits}x}"
    if predicate.field in ("source/24", "source/16"):
        return prefix_text(predicate.field, value)
    return _flags(value) if predicate.field == "tcp_flags" else str(value)


def _flags(value: int) -> str:
    return "+".join(name for name, bit in TCP_FLAGS.items() if value & bit) or "no flags"


def prefix_text(field: str, key: int) -> str:
    """Return the prefix that a key of `source/24` or `source/16` stands for."""
    bits4, bits6 = (24, 48) if field == "source/24" else (16, 32)
    if key >> 63:
        high = (key & (1 << 63) - 1) << (64 - bits6) & (1 << 64) - 1
        return f"{IPv6Address(high << 64)}/{bits6}"
    return f"{IPv4Address((key & (1 << bits4) - 1) << (32 - bits4))}/{bits4}"


def address_text(version: int, high: int, low: int) -> str:
    """Return an address as text."""
    if version == 4:
        return str(IPv4Address(low ^ MAPPED))
    return str(IPv6Address(high << 64 | low))


_SHOWN: Mapping[str, Callable[[Predicate, int], str]] = {
    "version": lambda _, value: f"IPv{value}",
    "protocol": lambda _, value: f"protocol {_PROTOCOL_NAMES.get(value, value)}",
    "destination": lambda predicate, _: f"to {predicate.example}",
    "source": lambda predicate, _: f"from {predicate.example}",
    "source/16": lambda predicate, value: f"from {prefix_text(predicate.field, value)}",
    "source/24": lambda predicate, value: f"from {prefix_text(predicate.field, value)}",
    "served": lambda _, value: "to an app's address and port" if value else "to an address and port without an app",
    "known": lambda _, value: "from a known source" if value else "from an unknown source",
    "fragment": lambda _, value: ("no fragment", "first fragment", "later fragment")[value],
    "tcp_flags": lambda _, value: f"TCP {_flags(value)}",
    "length": lambda _, value: f"{value} bytes",
    "payload[:2]": lambda _, value: f"payload begins {value:04x}",
    "payload[:4]": lambda _, value: f"payload begins {value:08x}",
    "payload[:8]": lambda _, value: f"payload begins {value:016x}",
    "payload[0]": lambda _, value: f"first payload byte {value:02x}",
    "payload[1]": lambda _, value: f"second payload byte {value:02x}",
    "options": lambda _, value: f"TCP options {value:08x}",
    "ident": lambda _, value: f"IP id {value:04x}",
    "sequence": lambda _, value: f"TCP sequence number {value}",
    "acknowledgement": lambda _, value: f"TCP acknowledgement number {value}",
}
