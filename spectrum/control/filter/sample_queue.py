"""A queue of samples for analytics: a bounded number, each with the number of packets that it stands for."""

import time
from collections.abc import Callable, Iterable

from spectrum.core.analytics.packet_rows import SampledPacket, was_dropped
from spectrum.kernel.samples import Sample

# A transaction of the store takes this many in some ten milliseconds.
MOST = 1000
# Samples that nobody takes for this long are dropped.
KEPT_S = 30.0


class SampleQueue:
    """Keeps the latest samples for one consumer. Above `MOST` every second sample is dropped, and the others stand for
    twice as many packets: sums stay right.

    Args:
        clock: Seconds since 1970.
        monotonic: The monotonic clock, in which samples have their time.
    """

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._waiting: list[SampledPacket] = []

    def add(self, samples: Iterable[Sample], one_in: int, dry_run: bool) -> None:
        """Keep samples, each of which stands for `one_in` packets."""
        began = self._clock() - self._monotonic()
        for sample in samples:
            at_us = int((began + sample.at_s) * 1e6)
            dropped = was_dropped(sample.verdict, dry_run)
            self._waiting.append(
                SampledPacket(at_us, sample.verdict, sample.frame_bytes, sample.header, one_in, dropped)
            )
            if len(self._waiting) > MOST:
                self._waiting = self._fresh()
            if len(self._waiting) > MOST:
                self._waiting = [one._replace(interval=2 * one.interval) for one in self._waiting[::2]]

    def take(self) -> list[SampledPacket]:
        """Return the samples since the last call that are not too old."""
        taken, self._waiting = self._fresh(), []
        return taken

    def _fresh(self) -> list[SampledPacket]:
        since = (self._clock() - KEPT_S) * 1e6
        return [one for one in self._waiting if one.at_us >= since]
