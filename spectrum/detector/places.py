"""The places of packets' sources, by MaxMind DB files: thousands of addresses at once.

numpy walks the search tree of a file bit by bit for all addresses together: 0.5 µs per address, also if all differ, as
in a flood. See https://maxmind.github.io/MaxMind-DB/. The library decodes each record once.
"""

import mmap
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import maxminddb
import numpy as np
from maxminddb.reader import Reader
from numpy.typing import NDArray

from spectrum.core.ddos.packets import Packets

UNKNOWN = "unknown"
# Records that are decoded per call, 30 µs each: files of cities have one per city. Further ones are unknown then.
MOST_NEW = 200
MOST_KEPT = 65_536
_MAPPED_BITS = 96


class PlaceFileError(Exception):
    """A file is not a MaxMind DB, or cannot be read; the message has the reason."""


class _Mapped:
    """A buffer with the interface of a file, for the library, without a copy."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data

    def read(self) -> mmap.mmap:
        return self._data


class PlaceTable:
    """The places of sources, by a file.

    Args:
        file: A descriptor of the file; owned by the caller.
        place_of: Returns a record's place as text, "" without one.

    Raises:
        PlaceFileError: If it cannot be used.
    """

    def __init__(self, file: int, place_of: Callable[[Any], str]) -> None:
        try:
            data = mmap.mmap(file, 0, prot=mmap.PROT_READ)
            self._reader = Reader(_Mapped(data), maxminddb.MODE_FD)  # type: ignore[type-var]
        except (OSError, ValueError, TypeError, maxminddb.InvalidDatabaseError) as exc:
            why = (exc.strerror or "").lower() if isinstance(exc, OSError) else "it is not a MaxMind DB"
            raise PlaceFileError(why or str(exc)) from exc
        about = self._reader.metadata()
        self._place_of = place_of
        self._nodes, self._bits = about.node_count, about.record_size
        self._has_6 = about.ip_version == 6
        self._tree = np.frombuffer(data, np.uint8, about.search_tree_size)
        self._places: dict[int, str] = {self._nodes: UNKNOWN}
        four = np.zeros(1, np.int64)
        for _ in range(_MAPPED_BITS if self._has_6 else 0):
            four = self._step(four, 0) if four[0] < self._nodes else four
        self._four = int(four[0])

    def __call__(self, packets: Packets) -> NDArray[np.str_]:
        """Return the place of each packet's source."""
        found = np.full(len(packets), self._nodes, np.int64)
        is_four = packets["version"] == 4
        low, high = packets["source_low"], packets["source_high"]
        found[is_four] = self._walk(self._four, [(low[is_four], 32)])
        if self._has_6:
            found[~is_four] = self._walk(0, [(high[~is_four], 64), (low[~is_four], 64)])
        pointers, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        return np.array(self._read(pointers, packets, first), dtype=np.str_)[inverse]

    def _walk(self, start: int, words: list[tuple[NDArray[np.uint64], int]]) -> NDArray[np.int64]:
        """Return the final node of each address, whose bits are in words of some length, the highest bit first."""
        nodes = np.full(len(words[0][0]), start, np.int64)
        for word, bits in words:
            for bit in range(bits - 1, -1, -1):
                going = np.flatnonzero(nodes < self._nodes)
                if not len(going):
                    return nodes
                side = (word[going] >> np.uint64(bit) & np.uint64(1)).astype(np.int64)
                nodes[going] = self._step(nodes[going], side)
        nodes[nodes < self._nodes] = self._nodes  # only in a damaged tree
        return nodes

    def _step(self, nodes: NDArray[np.int64], side: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Return the left (0) or right (1) record of some nodes."""
        tree = self._tree
        if self._bits == 28:
            # The middle byte has the highest four bits of both records.
            at = nodes * 7
            found = tree[at + 3].astype(np.int64) >> (4 - 4 * side) & 0xF
            at = at + 4 * side
            count = 3
        else:
            count = self._bits // 8
            at = nodes * (2 * count) + count * side
            found = np.zeros(len(nodes), np.int64)
        for place in range(count):
            found = found << 8 | tree[at + place]
        return found

    def _read(self, pointers: NDArray[np.int64], packets: Packets, rows: NDArray[np.intp]) -> list[str]:
        """Return the place of each record; for each there is a row with a packet of such a source."""
        if len(self._places) > MOST_KEPT:
            self._places = {self._nodes: UNKNOWN}
        new, told = 0, []
        for pointer, row in zip(pointers.tolist(), rows.tolist(), strict=True):
            place = self._places.get(pointer)
            if place is None and new < MOST_NEW:
                new += 1
                place = self._places[pointer] = self._look_up(packets, row)
            told.append(place or UNKNOWN)
        return told

    def _look_up(self, packets: Packets, row: int) -> str:
        low, high = int(packets["source_low"][row]), int(packets["source_high"][row])
        four = packets["version"][row] == 4
        try:
            record = self._reader.get(IPv4Address(low & 0xFFFFFFFF) if four else IPv6Address(high << 64 | low))
        except maxminddb.InvalidDatabaseError:
            return UNKNOWN
        return self._place_of(record) or UNKNOWN
