"""The loads: wrk for connections, requests and downloads, iperf3 for uploads, plain sockets for idle sessions."""

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass

from benchmarks.peers import PLAIN_PORT, PORT
from benchmarks.processes import LOAD_CORE

_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
_UNITS_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


@dataclass(frozen=True)
class WrkResult:
    """What wrk reports: requests done, per second, latency in microseconds, bytes read."""

    requests: int
    per_second: float
    p50_us: float
    p99_us: float
    bytes_read: float
    seconds: float


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORE)
    )
    return done.stdout


def wrk(path: str, connections: int, seconds: int, close: bool = False) -> WrkResult:
    """Run wrk against PORT; `close` asks for a new connection per request.

    Raises:
        RuntimeError: If any answer was wrong or missing, which would make the figures worthless.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{PORT}{path}"]
    output = _run([*command, *(("-H", "Connection: close") if close else ())])
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)(\w+) read", output), None
    assert requests is not None, output
    took = float(requests[2])
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", output)
    if "Non-2xx" in output or (errors and int(errors[1]) + int(errors[3]) > 0):
        raise RuntimeError(f"wrk saw errors:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return WrkResult(
        requests=int(requests[1]),
        per_second=float(rate[1]),
        p50_us=_percentile(output, 50),
        p99_us=_percentile(output, 99),
        bytes_read=float(requests[3]) * _UNITS_BYTES[requests[4]],
        seconds=took,
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)$", output, re.MULTILINE)
    assert found is not None, output
    return float(found[1]) * _UNITS_US[found[2]]


def iperf_bytes(seconds: int) -> tuple[int, float]:
    """Upload through PLAIN_PORT; return bytes that arrived, and seconds."""
    output = _run(["iperf3", "-c", "127.0.0.1", "-p", str(PLAIN_PORT), "-t", str(seconds), "-J"])
    end = json.loads(output)["end"]["sum_received"]
    return int(end["bytes"]), float(end["seconds"])


def open_idle(count: int) -> list[socket.socket]:
    """Open sessions through PORT, each of which has had one answer, and leave them."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", PORT), 5)
        sock.sendall(request)
        sockets.append(sock)
    for sock in sockets:
        assert sock.recv(4096).startswith(b"HTTP/1.1 200"), "the origin answers"
    time.sleep(0.5)
    return sockets
