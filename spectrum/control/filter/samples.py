"""Samples of the packets that reach the filter's interfaces, kept for a while and aggregated on request."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from spectrum.core.packets import PROTOCOLS
from spectrum.kernel.samples import Sample
from spectrum.wire import frames

KEPT = 20_000
# The keys by which samples can be grouped, also several together.
KEYS = ("verdict", "source", "destination", "protocol", "source_port", "destination_port", "length", "ttl", "tcp_flags")

# Named as in the filter's rules; others are shown by number.
_PROTOCOLS = {number: name for name, number in PROTOCOLS.items()}


class Sampler:
    """Keeps the latest samples.

    Args:
        read: Returns the samples since its last call.
        now: The monotonic clock, in seconds.
    """

    def __init__(self, read: Callable[[], list[Sample]], now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._kept: deque[tuple[float, int, dict[str, str]]] = deque(maxlen=KEPT)

    def collect(self) -> None:
        """Read new samples."""
        for sample in self._read():
            self._kept.append((sample.at_s, sample.frame_bytes, _facts(sample)))

    def top(self, keys: list[str], seconds: float, count: int, one_in: int) -> list[dict[str, Any]]:
        """Return the most frequent groups of recent samples.

        Args:
            keys: The keys to group by, of `KEYS`.
            seconds: The age of the oldest sample.
            count: The maximum number of groups.
            one_in: How many packets a sample stands for.

        Returns:
            For each group, the values of its keys, and estimates of packets and bytes per second.

        Raises:
            ValueError: If there is no such key.
        """
        if unknown := [key for key in keys if key not in KEYS]:
            raise ValueError(f"unknown keys: {', '.join(unknown)}; known: {', '.join(KEYS)}")
        self.collect()
        packets: Counter[tuple[str, ...]] = Counter()
        sizes: Counter[tuple[str, ...]] = Counter()
        since = self._now() - seconds
        for at_s, frame_bytes, facts in self._kept:
            if at_s >= since:
                group = tuple(facts.get(key, "") for key in keys)
                packets[group] += 1
                sizes[group] += frame_bytes
        return [
            dict(zip(keys, group, strict=True))
            | {
                "packets_per_second": round(found * one_in / seconds, 1),
                "bytes_per_second": round(sizes[group] * one_in / seconds),
            }
            for group, found in packets.most_common(count)
        ]


def _facts(sample: Sample) -> dict[str, str]:
    frame = frames.parse(sample.header[: sample.frame_bytes])
    if frame is None:
        return {"verdict": sample.verdict}
    return {
        "verdict": sample.verdict,
        "source": str(frame.source),
        "destination": str(frame.destination),
        "protocol": _PROTOCOLS.get(frame.protocol, str(frame.protocol)),
        "source_port": str(frame.source_port or ""),
        "destination_port": str(frame.destination_port or ""),
        "length": str(frame.length),
        "ttl": str(frame.ttl),
        "tcp_flags": " ".join(frame.tcp_flags),
    }
