"""The filter's samples: one in `sample_one_in` packets, which the program writes into a ring buffer."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from spectrum.kernel.libbpf import RingBuffer

# struct sample of bpf/filter.bpf.c.
_SAMPLE = struct.Struct("=QII128s")


@dataclass(frozen=True, slots=True)
class Sample:
    """A packet as it was received.

    Attributes:
        at_s: When, of the monotonic clock.
        frame_bytes: How long the whole frame is.
        verdict: What became of it, as it is counted: "passed", "list x", ...
        header: The frame's first 128 bytes, zeros behind them.
    """

    at_s: float
    frame_bytes: int
    verdict: str
    header: bytes


class Samples:
    """Reads the samples of a filter; there can be one reader.

    Args:
        descriptor: Of the filter's ring buffer. It stays open as long as this.
        places: By which number the program counts a list, a rule, or what is of none (`PinnedFilter.places`).

    Raises:
        BpfError: If the ring buffer cannot be had.
    """

    def __init__(self, descriptor: int, places: Mapping[str, int]) -> None:
        self._ring = RingBuffer(descriptor)
        self.name(places)

    def name(self, places: Mapping[str, int]) -> None:
        """Go by other numbers from now on; lists and rules have come and gone."""
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
