"""Sampled packets as columns of numbers: the input of detection. A row is a sampled packet, with fields of its headers,
the first bytes of its payload, and the state of its flow at that time. Addresses are two numbers of 64 bits, IPv4 ones
as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spectrum.core.packets import PROTOCOLS

Column = NDArray[Any]
Mask = NDArray[np.bool_]

OPENING, SHAKEN, IN_USE = 0, 1, 2
WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT = 0, 1, 2
NO_APP = -1

# The columns of a packet. `stands_for` is the number of packets that a sample stands for, `state` that of its flow
# (only openings; handshake complete; both ends have sent data), `known` whether its source had a flow in use within a
# day, `served` whether an app listens on its destination, `app` which one.
COLUMNS: Mapping[str, type[np.generic]] = {
    "stands_for": np.float64,
    "version": np.uint8,
    "source_high": np.uint64,
    "source_low": np.uint64,
    "destination_high": np.uint64,
    "destination_low": np.uint64,
    "protocol": np.uint8,
    "source_port": np.uint16,
    "destination_port": np.uint16,
    "length": np.uint16,
    "ttl": np.uint8,
    "ident": np.uint16,
    "fragment": np.uint8,
    "tcp_flags": np.uint8,
    "window": np.uint16,
    "options": np.uint32,
    "sequence": np.uint32,
    "acknowledgement": np.uint32,
    "payload": np.uint64,
    "payload_bytes": np.uint8,
    "state": np.uint8,
    "known": np.uint8,
    "served": np.uint8,
    "app": np.int32,
}
# A bit of keys of IPv6 addresses, so that none equals one of IPv4.
_SIX = np.uint64(1 << 63)
MAPPED = 0xFFFF << 32


def _prefix(bits4: int, bits6: int) -> Callable[["Packets"], Column]:
    def derive(packets: "Packets") -> Column:
        four = packets["source_low"] >> np.uint64(32 - bits4)
        six = (packets["source_high"] >> np.uint64(64 - bits6)) | _SIX
        return np.where(packets["version"] == 4, four, six)

    return derive


def _payload(count: int) -> Callable[["Packets"], Column]:
    def derive(packets: "Packets") -> Column:
        return packets["payload"] >> np.uint64(64 - 8 * count)

    return derive


def _payload_byte(place: int) -> Callable[["Packets"], Column]:
    def derive(packets: "Packets") -> Column:
        return (packets["payload"] >> np.uint64(56 - 8 * place)).astype(np.uint8)

    return derive


def _has_ports(packets: "Packets") -> Column:
    protocols = packets["protocol"]
    has = (protocols == PROTOCOLS["tcp"]) | (protocols == PROTOCOLS["udp"])
    return np.asarray(has & (packets["fragment"] != LATER_FRAGMENT))


def _destination(packets: "Packets") -> Column:
    mixed = (packets["destination_high"] * np.uint64(0x9E3779B97F4A7C15) ^ packets["destination_low"]) | _SIX
    return np.where(packets["version"] == 4, packets["destination_low"], mixed)


# Derived columns, computed on demand.
DERIVED: Mapping[str, Callable[["Packets"], Column]] = {
    "destination": _destination,
    "has_ports": _has_ports,
    "source/16": _prefix(16, 32),
    "source/24": _prefix(24, 48),
    "source": _prefix(32, 64),
    "length/8": lambda packets: np.minimum(packets["length"] >> 3, 255).astype(np.uint8),
    "payload[0]": _payload_byte(0),
    "payload[1]": _payload_byte(1),
    "payload[:2]": _payload(2),
    "payload[:4]": _payload(4),
    "payload[:8]": _payload(8),
}


class Packets:
    """Rows of sampled packets.

    Args:
        columns: Each of `COLUMNS`, all of one length.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = dict(columns)
        self._length = len(columns["version"])

    @classmethod
    def none(cls) -> Self:
        """Return no rows."""
        return cls({name: np.empty(0, kind) for name, kind in COLUMNS.items()})

    @classmethod
    def joined(cls, parts: Sequence["Packets"]) -> Self:
        """Return the rows of all parts, in their order."""
        if not parts:
            return cls.none()
        return cls({name: np.concatenate([part[name] for part in parts]) for name in COLUMNS})

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> Column:
        """Return a column, or a derived one."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = DERIVED[name](self)
        return found

    def where(self, mask: NDArray[np.generic]) -> "Packets":
        """Return the rows that a mask selects, or those with some indexes."""
        places = np.flatnonzero(mask) if mask.dtype == bool else mask  # found once, not in each column
        return Packets({name: column[places] for name, column in self._columns.items()})

    def replaced(self, **columns: Column) -> "Packets":
        """Return the same rows with other columns."""
        return Packets({name: self._columns[name] for name in COLUMNS} | columns)
