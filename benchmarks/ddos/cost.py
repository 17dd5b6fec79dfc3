"""What detection costs at a million packets per second, of which it looks at as many as it chooses.

Packets are made as the sampler of the kernel would let them through: one in N of those of flows in use, and one in M of
others, N and M as the detector says. Detection reads them from records, as from the ring buffer.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.rounds import Figures, Rows
from spectrum.core.ddos.detector import SUB_WINDOW_S
from spectrum.core.ddos.packets import COLUMNS, IN_USE, Packets
from spectrum.detector.columns import RECORD, columns
from spectrum.detector.watch import AttackWatch
from spectrum.kernel.looks import RING_BYTES
from spectrum.link.detector import DetectorSampling, DetectorSettings
from spectrum.simulation.normal import RATE, World, normal
from spectrum.simulation.vectors import flood, spoofed

PER_S = 1_000_000.0
LEARN_S, LOOKED_S = 65.0, 30.0
ROWS: Rows = {
    "cpu": ("of one core", "%", True),
    "worst_ms": ("longest look", "ms", True),
    "samples": ("samples", "1/s", False),
    "memory_mb": ("memory that grew", "MB", True),
    "rules": ("rules at the end", "", False),
}
# How many times as much normal traffic there is, and the attack beside it; it is the rest of the million.
CASES: dict[str, tuple[float, str]] = {
    "normal traffic": (PER_S / RATE, ""),
    "one fixed vector": (1.0, "udp_fixed"),
    "SYNs as of clients": (1.0, "syn_os"),
    "three vectors": (1.0, "multi"),
    "all fields random": (1.0, "all random"),
}


def all_random(world: World, per_s: float, seconds: float, one_in: float) -> Packets:
    """Return packets all of whose fields are by chance."""
    count = world.chance.poisson(per_s * seconds / one_in)
    rows = flood(world, "udp_random", per_s, seconds, one_in)
    count = min(count, len(rows))
    rows = rows.where(np.arange(count))
    chance = {
        name: world.chance.integers(0, np.iinfo(kind).max, count, kind, endpoint=True)
        for name, kind in COLUMNS.items()
        if name in ("source_port", "destination_port", "length", "ttl", "ident", "tcp_flags", "window", "protocol")
    }
    options, sequence, acknowledgement = world.chance.integers(0, 1 << 32, (3, count), np.uint32)
    high = np.zeros(count, np.uint64)
    source = spoofed(world, count).astype(np.uint64) | np.uint64(0xFFFF << 32)
    return rows.replaced(
        **chance,
        options=options,
        sequence=sequence,
        acknowledgement=acknowledgement,
        source_high=high,
        source_low=source,
        version=np.full(count, 4, np.uint8),
    )


def records(packets: Packets) -> bytes:
    """Return packets as the ring buffer has them."""
    rows = np.zeros(len(packets), RECORD)
    for name in RECORD.names or ():
        if name in COLUMNS:
            rows[name] = packets[name]
    for end in ("source", "destination"):
        rows[end] = np.stack([packets[f"{end}_high"], packets[f"{end}_low"]], 1)
    rows["one_in"] = packets["stands_for"]
    rows["bytes"] = np.minimum(packets["length"], 96)
    return rows.tobytes()


def _memory() -> int:
    """Return how many bytes of this process are in memory (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class _Sampler:
    """Makes what the kernel would show."""

    def __init__(self, case: str, settings: DetectorSettings) -> None:
        self._world = World(3)
        self._times, self._attack = CASES[case]
        self.one_in = settings.one_in

    def look(self, with_attack: bool) -> bytes:
        idle, used = self.one_in
        parts = []
        for one_in, kept in ((idle, False), (used, True)):
            # A sample of normal traffic stands for so many times as much of it.
            fewer = one_in / (self._times if with_attack or not self._attack else 1.0)
            rows = normal(self._world, SUB_WINDOW_S, max(fewer, 0.05))
            rows = rows.where((rows["state"] == IN_USE) == kept)
            parts.append(rows.replaced(stands_for=np.full(len(rows), float(one_in))))
        if with_attack and self._attack:
            make: Callable[..., Packets] = all_random if self._attack == "all random" else flood
            named = () if make is all_random else (self._attack,)
            parts.append(make(self._world, *named, PER_S - RATE, SUB_WINDOW_S, idle))
        # What the ring buffer has no room for is lost.
        came = Packets.joined(parts)
        came = came.where(self._world.chance.permutation(len(came)))
        return records(came)[: RING_BYTES // RECORD.itemsize * RECORD.itemsize]


def measure_case(case: str) -> Figures:
    """Learn normal traffic, and look at a million packets per second."""
    apps = {number: (f"app{number}", f"udp/{7000 + number}") for number in range(6)}
    settings = DetectorSettings(apps, learning_s=30.0)
    watch, sampler = AttackWatch(settings, 3), _Sampler(case, settings)
    looks, used_s, now, worst = 0, 0.0, 0.0, 0.0
    memory = samples = 0
    for number in range(int((LEARN_S + LOOKED_S) / SUB_WINDOW_S)):
        is_attacked = number >= LEARN_S / SUB_WINDOW_S
        data, now = sampler.look(is_attacked), now + SUB_WINDOW_S
        began = process_time()
        looked = columns(data)
        found = list(watch.look(looked, SUB_WINDOW_S, now, now))
        took = process_time() - began
        for one in found:
            if isinstance(one, DetectorSampling):
                sampler.one_in = (one.idle_one_in, one.used_one_in)
        if is_attacked:
            if not looks:
                memory = _memory()
            looks, used_s, worst = looks + 1, used_s + took, max(worst, took)
            samples += len(looked)
    return {
        "cpu": 100 * used_s / (looks * SUB_WINDOW_S),
        "worst_ms": 1000 * worst,
        "samples": samples / (looks * SUB_WINDOW_S),
        "memory_mb": max(0, _memory() - memory) / 1e6,
        "rules": len(watch.detector.rules),
    }
