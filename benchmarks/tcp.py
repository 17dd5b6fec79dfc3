"""The TCP table: what a connection, a request, a byte and an idle session cost each proxy."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from benchmarks.loads import iperf_bytes, open_idle, wrk
from benchmarks.origin import Origin
from benchmarks.peers import PORT, STARTERS
from benchmarks.processes import Running
from benchmarks.rounds import Figures, Rows, work_folder

IDLE_SESSIONS = 3000
ROWS: Rows = {
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
    with work_folder(name) as folder:
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


@contextmanager
def origin() -> Iterator[None]:
    """Run the servers behind the proxies."""
    with work_folder("origin") as folder:
        servers = Origin(folder)
        try:
            yield
        finally:
            servers.stop()
