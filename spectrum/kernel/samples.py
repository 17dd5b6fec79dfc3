"""Samples of the filter: one in `sample_one_in` packets, from the program's ring buffer."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from spectrum.kernel.libbpf import RingBuffer

# struct sample of bpf/filter.bpf.c.
_SAMPLE = struct.Struct("=QII128s")


@dataclass(frozen=True, slots=True)
class Sample:
    """A received packet.

    Attributes:
        at_s: The time of the monotonic clock, in seconds.
        frame_bytes: The length of the whole frame.
        verdict: Its result, by the name of the counter: "passed", "list x", ...
        header: The first 128 bytes of the frame, padded with zeros.
    """

    at_s: float
    frame_bytes: int
    verdict: str
    header: bytes


class Samples:
    """Reads the samples of a filter; there can be one reader.

    Args:
        descriptor: The ring buffer's, which must stay open.
        places: The index of the counters of each list, rule and other result (`PinnedFilter.places`).

    Raises:
        BpfError: If the ring buffer cannot be mapped.
    """

    def __init__(self, descriptor: int, places: Mapping[str, int]) -> None:
        self._ring = RingBuffer(descriptor)
        self.name(places)

    def name(self, places: Mapping[str, int]) -> None:
        """Replace the indexes, after lists and rules have changed."""
        self._verdicts = {number: name for name, number in places.items()}

    def read(self) -> list[Sample]:
        """Return the samples since the last call."""
        return [self._decoded(record) for record in self._ring.read()]

    def _decoded(self, record: bytes) -> Sample:
        at_ns, frame_bytes, reason, header = _SAMPLE.unpack(record)
        return Sample(at_ns / 1e9, frame_bytes, self._verdicts.get(reason, "?"), header)

    def close(self) -> None:
        """Close the ring buffer."""
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
