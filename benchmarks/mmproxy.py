"""The mmproxy table: what a connection and a request cost a proxy that connects as the client, beside HAProxy's usesrc.

A front HAProxy, on the core of the load, tells that the client is 203.0.113.7. It runs in a network namespace of its
own, where answers to that address are kept by a rule.
"""

import os
import subprocess
import sys

from benchmarks.loads import wrk
from benchmarks.origin import PLAIN_ORIGIN_PORT
from benchmarks.peers import HAPROXY_BASE, PORT, Starter, haproxy, spectrum, write_file
from benchmarks.processes import LOAD_CORE, Running
from benchmarks.rounds import Figures, Rows, work_folder

BEHIND_PORT = 19102
INSIDE = "SPECTRUM_BENCH_NAMESPACE"
ROWS: Rows = {
    "connect_cpu_us": ("new connection, as the client", "µs CPU", True),
    "connect_per_s": ("new connections, as the client", "1/s", False),
    "rr64_cpu_us": ("request-reply, 64 connections", "µs CPU", True),
    "rr64_per_s": ("request-reply, 64 connections", "1/s", False),
}

FRONT = f"""{HAPROXY_BASE}frontend front
    bind 127.0.0.1:{PORT}
    tcp-request connection set-src str(203.0.113.7)
    default_backend back
backend back
    server behind 127.0.0.1:{BEHIND_PORT} send-proxy
"""
HAPROXY = f"""{HAPROXY_BASE}frontend front
    bind 127.0.0.1:{BEHIND_PORT} accept-proxy
    default_backend back
backend back
    source 0.0.0.0 usesrc clientip
    server origin 127.0.0.1:{PLAIN_ORIGIN_PORT}
"""
SPECTRUM = f"""
apps:
  tcp:
    protocol: tcp/{BEHIND_PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{PLAIN_ORIGIN_PORT}]
    accept_proxy_protocol: {{{{from: [127.0.0.0/8]}}}}
    source: client
seccomp: true
workers: 1
log: {{{{sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
"""
STARTERS: dict[str, Starter] = {"haproxy": haproxy(HAPROXY), "spectrum": spectrum(SPECTRUM)}


def enter_namespace() -> None:
    """Go on in a network namespace of one's own, with the rule for answers; needs root."""
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "benchmarks", *sys.argv[1:]])
    for command in (
        "ip link set lo up",
        f"ip rule add from 127.0.0.1 iif lo ipproto tcp sport {PLAIN_ORIGIN_PORT} lookup 5350",
        "ip route add local default dev lo table 5350",
    ):
        subprocess.run(command.split(), check=True)


def measure_peer(name: str, seconds: int) -> Figures:
    """Start one proxy behind the front, put the loads on it, stop both."""
    with work_folder(name) as folder, work_folder("front") as front_folder:
        peer = STARTERS[name](folder)
        config = write_file(front_folder, "haproxy.cfg", FRONT)
        front = Running(["haproxy", "-db", "-f", str(config)], LOAD_CORE, front_folder / "output.log")
        try:
            peer.wait_for_port(BEHIND_PORT)
            front.wait_for_port(PORT)
            figures: Figures = {}
            for prefix, close in (("rr64", False), ("connect", True)):
                wrk("/", 8, 1, close)
                before = peer.cpu_s()
                result = wrk("/", 64, seconds, close)
                figures[f"{prefix}_cpu_us"] = (peer.cpu_s() - before) * 1e6 / result.requests
                figures[f"{prefix}_per_s"] = result.per_second
            return figures
        finally:
            front.stop()
            peer.stop()
