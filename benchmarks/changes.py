"""What a change of one app among many costs: until all workers serve it, and what a quiet session notices meanwhile."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.processes import LOAD_CORE, PROXY_CORE, Running
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.cli.client import ask

PORT, ORIGIN_PORT, METRICS_PORT = 7000, 8100, 8900
# Apps have the ports from PORT on, at one address each for so many of them: 127.1.0.1, 127.1.0.2, ...
APPS_PER_ADDRESS = 1000
SIZES = (1_000, 10_000)
WORKERS = 2
# Of each kind, one after the other.
CHANGES = 20
ROWS: Rows = {
    "start_s": ("start until all is served", "s", True),
    "quiet_p99_us": ("round trip of a quiet session, p99", "µs", True),
    "changed_live_ms": ("one app changed in the file: live on all workers after", "ms", True),
    "changed_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "added_live_ms": ("one app added: live after", "ms", True),
    "added_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "removed_live_ms": ("one app removed: live after", "ms", True),
    "removed_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "object_live_ms": ("one app changed, by a source of objects: live after", "ms", True),
    "object_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "all_live_ms": ("all apps changed: live after", "ms", True),
    "all_max_ms": ("the same: longest round trip", "ms", True),
    "metrics_ms": ("`/metrics` of all apps takes, while apps change", "ms", True),
    "metrics_hold_ms": ("the same: longest answer of `/healthz` beside it", "ms", True),
    "memory_mib": ("memory of all processes", "MiB", True),
}
# A client that asks 500 times a second, and prints the round trips when its input ends.
_QUIET = f"""
import json, os, select, socket, sys, time
os.sched_setaffinity(0, {LOAD_CORE})
host, port, request, end = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4].encode()
with socket.create_connection((host, port)) as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        began = time.perf_counter()
        sock.sendall(request)
        got = b""
        while not got.endswith(end):
            got += sock.recv(65536)
        took.append(time.perf_counter() - began)
print(json.dumps(took))
"""
ECHO = f"""
import os, socket, threading
os.sched_setaffinity(0, {LOAD_CORE})
def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
server = socket.create_server(("127.0.0.1", {ORIGIN_PORT}), backlog=1000)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
_SESSION = ("127.1.0.1", str(PORT), "x" * 99 + ".", ".")
_HEALTH = ("127.0.0.1", str(METRICS_PORT), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n")


class QuietClient:
    """A client that asks again and again, quietly."""

    def __init__(self, asks: Iterable[str] = _SESSION) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _QUIET, *asks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self) -> list[float]:
        """Return its round trips, sorted, in seconds."""
        answer, _ = self._process.communicate("\n", timeout=30)
        return sorted(json.loads(answer))


def file_text(count: int, idle_s: list[int], folder: Path, workers: int = WORKERS) -> str:
    """Return a file of `count` apps, each with its idle timeout from `idle_s`, which is used again and again."""
    lines = [
        f"control: {{socket: {folder}/control.sock}}",
        f"metrics: {{listen: 127.0.0.1:{METRICS_PORT}}}",
        f"workers: {workers}",
        "log: {sessions: false}",
        "apps:",
    ]
    for number in range(count):
        address, port = divmod(number, APPS_PER_ADDRESS)
        lines += [
            f"  app{number}:",
            f"    protocol: tcp/{PORT + port}",
            f"    edge_ips: [127.1.0.{address + 1}]",
            f"    origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]",
            f"    timeouts: {{idle: {idle_s[number % len(idle_s)]}s}}",
        ]
    return "\n".join(lines) + "\n"


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def reload(folder: Path) -> None:
    """Reload; return when all workers serve what the source has."""
    answer = ask(folder / "control.sock", "POST", "/reload", 60.0)
    assert not answer["errors"], answer
    assert answer["changes"], "nothing differs"


def ask_metrics() -> None:
    """Read the page of all metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=30) as answer:
        assert answer.status == 200
        answer.read()


@contextmanager
def _daemon(command: list[str], count: int, folder: Path) -> Iterator[tuple[Running, float]]:
    """Run a daemon with so many apps; tell it, and after how many seconds it served."""
    path = folder / "spectrum.yaml"
    path.write_text(file_text(count, [600], folder))
    echo = subprocess.Popen([sys.executable, "-c", ECHO])
    began = time.perf_counter()
    daemon = Running([*command, str(path)], PROXY_CORE, folder / "log", os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        while "serving" not in (folder / "log").read_text():
            time.sleep(0.05)
        yield daemon, time.perf_counter() - began
    finally:
        daemon.stop()
        echo.terminate()
        echo.wait(10)


def measure_size(count: int) -> Figures:
    """Return the figures of a daemon with so many apps."""
    with work_folder("changes") as folder:
        run = [sys.executable, "-m", "spectrum", "run", "-c"]
        with _daemon(run, count, folder) as (daemon, start_s):
            figures = {"start_s": start_s, **_of_file(count, folder), **_of_metrics(count, folder)}
            figures["memory_mib"] = daemon.memory_bytes() / 2**20
    with work_folder("objects") as folder, _daemon([sys.executable, "-m", "benchmarks.objects"], count, folder):
        return figures | _series("object", folder)


def _of_file(count: int, folder: Path) -> Figures:
    path, usual = folder / "spectrum.yaml", [600] * count
    quiet = QuietClient()
    time.sleep(2)
    figures: Figures = {"quiet_p99_us": p99_us(quiet.end())}

    def text(apps: int, idle_s: int) -> str:
        return file_text(apps, [*usual[: apps - 1], idle_s], folder)

    numbers = range(CHANGES)
    figures |= _series("changed", folder, [text(count, 500 + number) for number in numbers])
    figures |= _series("removed", folder, [text(count - 1 - number, 600) for number in numbers])
    figures |= _series("added", folder, [text(count - CHANGES + 1 + number, 600) for number in numbers])
    path.write_text(file_text(count, [700], folder))
    quiet = QuietClient()
    figures["all_live_ms"] = _timed(lambda: reload(folder))
    figures["all_max_ms"] = quiet.end()[-1] * 1000
    return figures


def _series(kind: str, folder: Path, texts: Sequence[str] = ()) -> Figures:
    """Return how long changes take that follow one another without a pause, and a session's round trips meanwhile.

    Args:
        kind: What the figures are called.
        folder: Has the file.
        texts: What is in it, one after the other; none where the source is none.
    """
    took, quiet = [], QuietClient()
    for number in range(CHANGES):
        if texts:
            (folder / "spectrum.yaml").write_text(texts[number])
        took.append(_timed(lambda: reload(folder)))
    return {f"{kind}_live_ms": median(took), f"{kind}_p99_us": p99_us(quiet.end())}


def _of_metrics(count: int, folder: Path) -> Figures:
    """Return how long the page takes on which each app has a session, and what else asks there meanwhile."""
    for number in range(count):
        address, port = divmod(number, APPS_PER_ADDRESS)
        socket.create_connection((f"127.1.0.{address + 1}", PORT + port)).close()
    time.sleep(1.5)
    took, quiet = [], QuietClient(_HEALTH)
    for idle_s in (800, 801, 802):
        (folder / "spectrum.yaml").write_text(file_text(count, [*[700] * (count - 1), idle_s], folder))
        reload = subprocess.Popen(
            [sys.executable, "-m", "spectrum", "reload", "--socket", str(folder / "control.sock")],
            stdout=subprocess.DEVNULL,
        )
        took.append(_timed(ask_metrics))
        assert reload.wait(60) == 0
    return {"metrics_ms": median(took), "metrics_hold_ms": quiet.end()[-1] * 1000}


def p99_us(took: list[float]) -> float:
    return took[len(took) * 99 // 100] * 1e6
