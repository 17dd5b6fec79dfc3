"""What a change of a file with many apps costs: until it is live, and what a quiet session notices meanwhile."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import LOAD_CORE, PROXY_CORE, Running
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.cli.client import ask

PORT, ORIGIN_PORT, METRICS_PORT = 7000, 7100, 7900
# Apps have the ports from PORT on, at one address each for so many of them: 127.1.0.1, 127.1.0.2, ...
APPS_PER_ADDRESS = 1000
SIZES = (100, 1_000, 9_000)  # of 20,000 descriptors each app takes one in the supervisor, and one in the worker
ROWS: Rows = {
    "start_s": ("start until all is served", "s", True),
    "quiet_p99_us": ("round trip of a quiet session, p99", "µs", True),
    "one_live_ms": ("one app changed: `reload` answers after", "ms", True),
    "one_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "one_max_ms": ("the same: longest round trip", "ms", True),
    "all_live_ms": ("all apps changed: `reload` answers after", "ms", True),
    "all_max_ms": ("the same: longest round trip", "ms", True),
    "metrics_ms": ("`/metrics` takes", "ms", True),
    "metrics_max_ms": ("the same, amid a reload of all apps", "ms", True),
    "memory_mib": ("memory of all processes", "MiB", True),
}
# A client that asks 500 times a second, and prints the round trips when its input ends.
_QUIET = f"""
import json, os, select, socket, sys, time
os.sched_setaffinity(0, {LOAD_CORE})
with socket.create_connection(("127.1.0.1", {PORT})) as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = []
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        began = time.perf_counter()
        sock.sendall(b"x" * 100)
        got = 0
        while got < 100:
            got += len(sock.recv(100))
        took.append(time.perf_counter() - began)
print(json.dumps(took))
"""
_ECHO = f"""
import os, socket
os.sched_setaffinity(0, {LOAD_CORE})
server = socket.create_server(("127.0.0.1", {ORIGIN_PORT}))
while True:
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
"""


class _Quiet:
    """A session that goes on quietly."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _QUIET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self) -> list[float]:
        """Return its round trips, sorted, in seconds."""
        answer, _ = self._process.communicate("\n", timeout=30)
        return sorted(json.loads(answer))


def file_text(count: int, idle_s: list[int], folder: Path) -> str:
    """Return a file of `count` apps, each with its idle timeout from `idle_s`, which is used again and again."""
    lines = [
        f"control: {{socket: {folder}/control.sock}}",
        f"metrics: {{listen: 127.0.0.1:{METRICS_PORT}}}",
        "workers: 1",
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


def _reload(folder: Path) -> None:
    errors = ask(folder / "control.sock", "POST", "/reload", 60.0)["errors"]
    assert not errors, errors


def _metrics() -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=30) as answer:
        assert answer.status == 200
        answer.read()


def measure_size(count: int) -> Figures:
    """Return the figures of a daemon with so many apps."""
    with work_folder("changes") as folder:
        path = folder / "spectrum.yaml"
        usual = [600] * count
        path.write_text(file_text(count, usual, folder))
        echo = subprocess.Popen([sys.executable, "-c", _ECHO])
        command = [sys.executable, "-m", "spectrum", "run", "-c", str(path)]
        began = time.perf_counter()
        daemon = Running(command, PROXY_CORE, folder / "log", os.environ | {"PYTHONUNBUFFERED": "1"})
        try:
            while "serving" not in (folder / "log").read_text():
                time.sleep(0.05)
            figures = {"start_s": time.perf_counter() - began}
            figures |= _changes(count, folder, path, usual)
            figures["memory_mib"] = daemon.memory_bytes() / 2**20
        finally:
            daemon.stop()
            echo.terminate()
            echo.wait(10)
    return figures


def _changes(count: int, folder: Path, path: Path, usual: list[int]) -> Figures:
    figures: Figures = {}
    _reload(folder)
    quiet = _Quiet()
    time.sleep(2)
    figures["quiet_p99_us"] = _p99_us(quiet.end())
    one, every = [*usual[:-1], 700], [number + 100 for number in usual]
    path.write_text(file_text(count, one, folder))
    quiet = _Quiet()
    figures["one_live_ms"] = _timed(lambda: _reload(folder))
    took = quiet.end()
    figures |= {"one_p99_us": _p99_us(took), "one_max_ms": took[-1] * 1000}
    path.write_text(file_text(count, every, folder))
    quiet = _Quiet()
    figures["all_live_ms"] = _timed(lambda: _reload(folder))
    figures["all_max_ms"] = quiet.end()[-1] * 1000
    figures["metrics_ms"] = _timed(_metrics)
    path.write_text(file_text(count, usual, folder))
    reload = subprocess.Popen(
        [sys.executable, "-m", "spectrum", "reload", "--socket", str(folder / "control.sock")],
        stdout=subprocess.DEVNULL,
    )
    figures["metrics_max_ms"] = 0.0
    while reload.poll() is None:
        figures["metrics_max_ms"] = max(figures["metrics_max_ms"], _timed(_metrics))
    assert reload.returncode == 0
    return figures


def _p99_us(took: list[float]) -> float:
    return took[len(took) * 99 // 100] * 1e6
