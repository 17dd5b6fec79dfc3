"""The UDP table: what a datagram costs each proxy, how long a round trip takes, and what is lost.

Load and origin are `datagrams.c`. nginx and Envoy pass datagrams on as they are, which is all that they can; Spectrum
adds and checks a Simple Proxy header on each, unless the column says otherwise.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Starter, envoy, nginx, nginx_stream, spectrum
from benchmarks.processes import LOAD_CORE
from benchmarks.report import DIRECT
from benchmarks.rounds import Figures, Rows, work_folder

ORIGIN_PORT, PORT = 19002, 19102
# Flows, datagrams under way on each, bytes of each.
SCENARIOS = {
    "one100": (1, 1, 100),
    "one1200": (1, 1, 1200),
    "few100": (32, 8, 100),
    "few1200": (32, 8, 1200),
    "many100": (1000, 1, 100),
    "many1200": (1000, 1, 1200),
}


def _rows() -> Rows:
    rows: Rows = {}
    for key, (flows, outstanding, size) in SCENARIOS.items():
        title = f"{flows:,} flow{'s' * (flows > 1)} x {outstanding}, {size:,} bytes"
        rows |= {
            f"{key}_per_s": (f"{title}: round trips", "1/s", False),
            f"{key}_cpu_us": (f"{title}: a datagram", "µs CPU", True),
            f"{key}_p50_us": (f"{title}: p50", "µs", True),
            f"{key}_p99_us": (f"{title}: p99", "µs", True),
            f"{key}_lost": (f"{title}: lost", "%", True),
        }
    return rows


ROWS = _rows()

NGINX = nginx_stream(
    "30s", f"server {{{{ listen 127.0.0.1:{PORT} udp rcvbuf=4m; proxy_pass 127.0.0.1:{ORIGIN_PORT}; }}}}"
)

ENVOY = f"""
static_resources:
  listeners:
  - name: udp
    address: {{socket_address: {{protocol: UDP, address: 127.0.0.1, port_value: {PORT}}}}}
    # SOL_SOCKET, SO_RCVBUFFORCE: the queue that the others have too.
    socket_options: [{{level: 1, name: 33, int_value: 4194304, state: STATE_PREBIND}}]
    listener_filters:
    - name: envoy.filters.udp_listener.udp_proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: udp
        idle_timeout: 30s
        matcher:
          on_no_match:
            action:
              name: route
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route
                cluster: origin
        access_log:
        - name: envoy.access_loggers.file
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
            path: {{folder}}/access.log
  clusters:
  - name: origin
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 20000}}]}}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ORIGIN_PORT}}}}}}}
"""

SPECTRUM = f"""
apps:
  udp:
    protocol: udp/{PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [udp://127.0.0.1:{ORIGIN_PORT}]
    {{header}}
workers: 1
metrics: {{{{listen: 127.0.0.1:19190}}}}
log: {{{{format: json, sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
{{settings}}
"""


def _spectrum(header: str = "proxy_protocol: simple", settings: str = "") -> Starter:
    return spectrum(SPECTRUM, header=header, settings=settings)


STARTERS: dict[str, Starter] = {
    "nginx": nginx(NGINX),
    "envoy": envoy(ENVOY),
    "spectrum": _spectrum(),
    "spectrum, no header": _spectrum(header=""),
    "spectrum, shared socket": _spectrum("proxy_protocol: simple\n    origin_socket: shared"),
    "spectrum, busy_poll off": _spectrum(settings="busy_poll: off"),
    "spectrum, in the kernel": _spectrum(settings="udp_offload: {interfaces: [lo]}"),
    "spectrum, in the kernel, no header": _spectrum(header="", settings="udp_offload: {interfaces: [lo]}"),
}


def _pinned() -> None:
    os.sched_setaffinity(0, LOAD_CORE)


@contextmanager
def origin() -> Iterator[Path]:
    """Build load and origin, run the origin, and yield the program."""
    with work_folder("datagrams") as folder:
        tool = folder / "datagrams"
        source = Path(__file__).with_name("datagrams.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(tool), str(source)], check=True)
        command = [str(tool), "echo", "127.0.0.1", str(ORIGIN_PORT)]
        server = subprocess.Popen(command, preexec_fn=_pinned)
        try:
            yield tool
        finally:
            server.kill()
            server.wait()


def _wait_for_answer(port: int, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.1)
            sock.connect(("127.0.0.1", port))
            try:
                sock.send(b"anybody there?")
                sock.recv(100)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"nobody answers on UDP port {port}")


def _load(tool: Path, port: int, key: str, seconds: int, cpu_s: Callable[[], float]) -> Figures:
    words = [str(tool), "load", "127.0.0.1", str(port), *map(str, SCENARIOS[key]), str(seconds)]
    before = cpu_s()
    done = subprocess.run(words, capture_output=True, text=True, check=True, preexec_fn=_pinned)
    result = json.loads(done.stdout)
    if result["wrong"]:
        raise RuntimeError(f"datagrams came back changed, which makes the figures worthless: {result}")
    trips = result["round_trips"]
    return {
        f"{key}_per_s": trips / result["seconds"],
        f"{key}_cpu_us": (cpu_s() - before) * 1e6 / (2 * trips),
        f"{key}_p50_us": result["p50_us"],
        f"{key}_p99_us": result["p99_us"],
        f"{key}_lost": 100 * result["lost"] / (trips + result["lost"]),
    }


def measure_peer(tool: Path, name: str, seconds: int) -> Figures:
    """Start one proxy, put the loads on it, stop it."""
    figures: Figures = {}
    if name == DIRECT:
        for key in SCENARIOS:
            figures |= _load(tool, ORIGIN_PORT, key, seconds, lambda: 0.0)
        return figures
    with work_folder(name) as folder:
        peer = STARTERS[name](folder)
        try:
            _wait_for_answer(PORT)
            for key in SCENARIOS:
                figures |= _load(tool, PORT, key, seconds, peer.cpu_s)
        finally:
            peer.stop()
    return figures
