"""What analytics costs new connections: with it and without it in turn, all processes of the proxy on one core.

While a worker takes a whole core, the intake of records gets what is left over, and catches up later. Two figures are
compared: connections a second, and the processor time of worker and supervisor for each of them, which other load
on the machine changes less.
"""

import os
import time
from collections.abc import Callable, Sequence
from math import comb
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.loads import wrk
from benchmarks.peers import PORT, SPECTRUM, Starter, spectrum
from benchmarks.processes import Running
from benchmarks.rounds import work_folder

_USER = "user: nobody, " if os.geteuid() == 0 else ""
_JOURNAL = "records: {{journal: {{path: {folder}/records}}}}\n"
_ANALYTICS = f"api: {{{{{_USER}store: {{folder}}/store}}}}\nanalytics: {{{{store: {{folder}}/analytics}}}}\n"


def _with(sections: str) -> Starter:
    # A worker that waits actively takes the time that is left.
    return spectrum(SPECTRUM + sections, settings="busy_poll: off", extra_apps="")


WAYS: dict[str, Starter] = {
    "neither": _with(""),
    "a journal": _with(_JOURNAL),
    "analytics": _with(_JOURNAL + _ANALYTICS),
}
CONNECTIONS = 64
# The chance that the interval has the true median.
CONFIDENCE = 0.95
_IDLE_S = 0.5
_STARTED_S = 20.0


class Load(NamedTuple):
    """Connections a second, and the µs of worker and supervisor for each."""

    per_s: float
    cpu_us: float


def _cpu_s(peer: Running) -> float:
    """Return the processor time of its processes, without the API's."""
    times = 0
    for pid in peer.pids():
        if b"spectrum.api" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            times += sum(int(stat.read_text().split()[0]) for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return times / 1e9


def _wait_until_idle(peer: Running) -> None:
    """Wait until the processes have started, such as the API's with its store."""
    until = time.monotonic() + _STARTED_S
    while time.monotonic() < until:
        before = peer.cpu_s()
        time.sleep(_IDLE_S)
        if peer.cpu_s() - before < _IDLE_S / 20:
            return


def measure_way(way: str, seconds: int) -> Load:
    """Return what one of `WAYS` does under load."""
    with work_folder("connections") as folder:
        peer = WAYS[way](folder)
        try:
            peer.wait_for_port(PORT)
            _wait_until_idle(peer)
            wrk("/", CONNECTIONS, 1, close=True)
            before = _cpu_s(peer)
            result = wrk("/", CONNECTIONS, seconds, close=True)
            return Load(result.per_second, (_cpu_s(peer) - before) * 1e6 / result.requests)
        finally:
            peer.stop()


def ratios(ways: Sequence[str], pairs: int, seconds: int, progress: Callable[[str], None]) -> list[Load]:
    """Return the figures of the second way as shares of those of the first, of pairs in turn."""
    found = []
    for number in range(pairs):
        loads = {way: measure_way(way, seconds) for way in (ways if number % 2 == 0 else ways[::-1])}
        first, second = (loads[way] for way in ways)
        found.append(Load(second.per_s / first.per_s, second.cpu_us / first.cpu_us))
        progress(
            f"{first.per_s:,.0f} and {second.per_s:,.0f}/s, {first.cpu_us:.1f} and {second.cpu_us:.1f} µs:"
            f" {found[-1].per_s:.3f}, {found[-1].cpu_us:.3f}"
        )
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and an interval that has the true one: the sign test's, which assumes no distribution.

    Of fewer than six values it is their range, with less confidence.
    """
    ordered, count, chance, at = sorted(values), len(values), 0.0, 0
    while at < count // 2 and (chance := chance + comb(count, at) / 2**count) <= (1 - CONFIDENCE) / 2:
        at += 1
    low = max(at - 1, 0)
    return median(ordered), ordered[low], ordered[count - 1 - low]
