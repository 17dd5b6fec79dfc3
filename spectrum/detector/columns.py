"""Samples of the filter's ring buffer, or of workers, as columns of packets."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.packets import NO_APP, Packets
from spectrum.core.limits.rules import group_of
from spectrum.kernel.looks import FRAME_BYTES, HEADER_BYTES

# struct look of kernel/bpf/flows.h after the header of a record. Addresses are in network byte order.
_COMMON: list[tuple[str, type[np.generic] | str] | tuple[str, type[np.generic] | str, tuple[int]]] = [
    ("ring", np.uint8, (HEADER_BYTES,)),
    ("at_ns", np.uint64),
    ("payload", np.uint64),
    ("source", ">u8", (2,)),
    ("destination", ">u8", (2,)),
    ("bytes", np.uint32),
    ("reason", np.uint32),
    ("one_in", np.uint32),
    ("options", np.uint32),
    ("app", np.int32),
    ("source_port", np.uint16),
    ("destination_port", np.uint16),
    ("length", np.uint16),
    ("window", np.uint16),
    ("ident", np.uint16),
    ("version", np.uint8),
    ("protocol", np.uint8),
    ("ttl", np.uint8),
    ("tcp_flags", np.uint8),
    ("fragment", np.uint8),
    ("payload_bytes", np.uint8),
    ("state", np.uint8),
    ("known", np.uint8),
    ("served", np.uint8),
    ("unused", np.uint8),
    ("header", np.uint8, (FRAME_BYTES,)),
]
RECORD = np.dtype([*_COMMON, ("sequence", np.uint32), ("acknowledgement", np.uint32)])
# Workers do not know sequence numbers, and write the group of the app there.
WORKER_RECORD = np.dtype([*_COMMON, ("group", np.uint64)])

# Columns with a field of their own in the records; the others are derived, or have another type.
_SAME = (
    "version",
    "protocol",
    "source_port",
    "destination_port",
    "length",
    "ttl",
    "ident",
    "fragment",
    "tcp_flags",
    "window",
    "options",
    "payload",
    "payload_bytes",
    "state",
    "known",
    "served",
    "app",
)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Sampled packets, in order of arrival; all columns have the same length.

    Attributes:
        packets: Their columns.
        at_ns: Times of arrival, in ns of the monotonic clock.
        frame_bytes: Lengths of the whole frames.
        reason: Results: the index of the counter (`PinnedFilter.places`).
    """

    packets: Packets
    at_ns: NDArray[np.uint64]
    frame_bytes: NDArray[np.uint32]
    reason: NDArray[np.uint32]
    _records: NDArray[np.void]

    def __len__(self) -> int:
        return len(self._records)

    def header(self, row: int) -> bytes:
        """Return the first bytes of the frame of a row, `FRAME_BYTES` at most."""
        packet = self._records[row]
        return bytes(packet["header"][: int(packet["bytes"])])


class AppGroups:
    """Translates the numbers of apps in workers to those of the detector.

    Args:
        apps: By number the name, and the service, which begins with the transport.
    """

    def __init__(self, apps: Mapping[int, tuple[str, str]]) -> None:
        by_group = {group_of(name, serves.partition("/")[0]): number for number, (name, serves) in apps.items()}
        self._groups = np.array(sorted(by_group), np.uint64)
        self._numbers = np.array([by_group[group] for group in sorted(by_group)], np.int32)

    def numbers(self, groups: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the number of the app of each, `NO_APP` without one."""
        if not len(self._groups):
            return np.full(len(groups), NO_APP, np.int32)
        places = np.minimum(np.searchsorted(self._groups, groups), len(self._groups) - 1)
        return np.where(self._groups[places] == groups, self._numbers[places], np.int32(NO_APP))


def columns(records: bytes, groups: AppGroups | None = None) -> LookedAt:
    """Return the columns of records of `Looks.read` or, with `groups`, of `AllLooks.read`."""
    rows = np.frombuffer(records, RECORD if groups is None else WORKER_RECORD)
    found = {name: np.ascontiguousarray(rows[name]) for name in _SAME}
    found["stands_for"] = rows["one_in"].astype(np.float64)
    for name in ("sequence", "acknowledgement"):
        found[name] = np.ascontiguousarray(rows[name]) if groups is None else np.zeros(len(rows), np.uint32)
    if groups is not None:
        found["app"] = groups.numbers(np.ascontiguousarray(rows["group"]))
    for end in ("source", "destination"):
        found[f"{end}_high"], found[f"{end}_low"] = (rows[end][:, half].astype(np.uint64) for half in (0, 1))
    return LookedAt(
        Packets(found),
        np.ascontiguousarray(rows["at_ns"]),
        np.ascontiguousarray(rows["bytes"]),
        np.ascontiguousarray(rows["reason"]),
        rows,
    )
