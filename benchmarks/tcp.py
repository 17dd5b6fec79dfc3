"""The TCP table: what a connection, a request, a byte and an idle session cost each proxy."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.loads import iperf_bytes, open_idle, wrk
from benchmarks.origin import Origin
from benchmarks.peers import PORT, STARTERS
from benchmarks.processes import Running

Figures = dict[str, float]
IDLE_SESSIONS = 3000
# Name, unit, whether less is better: the rows of the table.
ROWS: dict[str, tuple[str, str, bool]] = {
    "connect_cpu_us": ("new connection", "µs CPU", True),
    "connect_per_s": ("new connections", "1/s", False),
    "rr64_cpu_us": ("request-reply, 64 connections", "µs CPU", True),
    "rr64_per_s": ("request-reply, 64 connections", "1/s", False),
    "rr64_p50_us": ("request-reply, 64 connections, p50", "µs", True),
    "rr64_p99_us": ("request-reply, 64 connections, p99", "µs", True),
    "rr1_cpu_us": ("request-reply, 1 connection", "µs CPU", True),
    "rr1_per_s": ("request-reply, 1 connection", "1/s", False),
    "rr1_p50_us": ("request-reply, 1 connection, p50", "µs", True),
    "rr1_p99_us": ("request-reply, 1 connection, p99", "µs", True),
    "download_cpu_ms": ("download, 100 MiB", "ms CPU", True),
    "download_gb_s": ("download", "GB/s", False),
    "upload_cpu_ms": ("upload, 100 MiB", "ms CPU", True),
    "upload_gb_s": ("upload", "GB/s", False),
    "idle_bytes": ("memory of an idle session", "bytes", True),
}


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f"bench-{name.split(',')[0]}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _requests(peer: Running, prefix: str, connections: int, seconds: int, close: bool) -> Figures:
    before = peer.cpu_s()
    result = wrk("/", connections, seconds, close)
    cpu_us = (peer.cpu_s() - before) * 1e6 / result.requests
    figures = {f"{prefix}_cpu_us": cpu_us, f"{prefix}_per_s": result.per_second}
    if not close:
        figures |= {f"{prefix}_p50_us": result.p50_us, f"{prefix}_p99_us": result.p99_us}
    return figures


def _download(peer: Running, seconds: int) -> Figures:
    before = peer.cpu_s()
    result = wrk("/bulk", 1, seconds)
    hundreds = result.bytes_read / (100 * 2**20)
    return {
        "download_cpu_ms": (peer.cpu_s() - before) * 1e3 / hundreds,
        "download_gb_s": result.bytes_read / result.seconds / 1e9,
    }


def _upload(peer: Running, seconds: int) -> Figures:
    before = peer.cpu_s()
    count, took = iperf_bytes(seconds)
    return {"upload_cpu_ms": (peer.cpu_s() - before) * 1e3 / (count / (100 * 2**20)), "upload_gb_s": count / took / 1e9}


def _idle(peer: Running) -> Figures:
    before = peer.memory_bytes()
    sockets = open_idle(IDLE_SESSIONS)
    after = peer.memory_bytes()
    for sock in sockets:
        sock.close()
    return {"idle_bytes": (after - before) / IDLE_SESSIONS}


LOADS: dict[str, Callable[[Running, int], Figures]] = {
    # Memory first, while no heap has grown under load.
    "idle": lambda peer, seconds: _idle(peer),
    "rr1": lambda peer, seconds: _requests(peer, "rr1", 1, seconds, close=False),
    "rr64": lambda peer, seconds: _requests(peer, "rr64", 64, seconds, close=False),
    "connect": lambda peer, seconds: _requests(peer, "connect", 64, seconds, close=True),
    "download": lambda peer, seconds: _download(peer, seconds),
    "upload": lambda peer, seconds: _upload(peer, seconds),
}


def measure_peer(name: str, loads: Iterable[str], seconds: int) -> Figures:
    """Start one proxy, put the loads on it, stop it."""
    with _folder(name) as folder:
        peer = STARTERS[name](folder)
        try:
            peer.wait_for_port(PORT)
            for sock in open_idle(8):  # whoever answers is started whole
                sock.close()
            figures: Figures = {}
            for load in LOADS:
                if load in loads:
                    figures |= LOADS[load](peer, seconds)
        finally:
            peer.stop()
    return figures


def measure(
    peers: list[str], loads: Iterable[str], rounds: int, seconds: int, progress: Callable[[str], None]
) -> dict[str, Figures]:
    """Return the median figures of each proxy over interleaved rounds."""
    samples: dict[str, list[Figures]] = {name: [] for name in peers}
    with _folder("origin") as folder:
        origin = Origin(folder)
        try:
            for number in range(rounds):
                for name in peers[number % len(peers) :] + peers[: number % len(peers)]:
                    progress(f"round {number + 1} of {rounds}: {name}")
                    samples[name].append(measure_peer(name, loads, seconds))
        finally:
            origin.stop()
    return {
        name: {row: median(sample[row] for sample in taken) for row in ROWS if row in taken[0]}
        for name, taken in samples.items()
    }
