"""The load balancing table: what a decision costs, what a connection costs with 20 origins, what 10,000 probes cost."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.loads import wrk
from benchmarks.peers import (
    ENVOY_PROXY_PROTOCOL,
    HAPROXY_BASE,
    ORIGIN_PORT,
    PORT,
    Starter,
    envoy,
    envoy_cluster,
    envoy_listener,
    haproxy,
    nginx,
    nginx_stream,
    spectrum,
)
from benchmarks.processes import Running
from benchmarks.rounds import Figures, Rows, work_folder

ORIGINS = 20
PROBED = 10_000
PROBE_INTERVAL_S = 10
# Whole intervals, after everybody was probed once.
PROBE_WARM_UP_S, PROBE_MEASURED_S = 13, 20
DECISIONS = 20_000

ROWS: Rows = {
    "connect_cpu_us": (f"new connection, least loaded of {ORIGINS} origins", "µs CPU", True),
    "connect_per_s": (f"new connections, least loaded of {ORIGINS} origins", "1/s", False),
}
PROBE_ROWS: Rows = {"probe_cores": (f"{PROBED:,} origins probed every {PROBE_INTERVAL_S} s", "cores", True)}


def _address(number: int) -> str:
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


def _lines(text: str, count: int = ORIGINS) -> str:
    return "\n".join(text.format(n=n, address=_address(n)) for n in range(count))


HAPROXY = f"""{HAPROXY_BASE}frontend front
    bind 127.0.0.1:{PORT}
    default_backend back
backend back
    balance leastconn
{_lines(f"    server o{{n}} {{address}}:{ORIGIN_PORT} send-proxy")}
"""

NGINX = nginx_stream(
    "1h",
    "upstream back {{ least_conn;\n"
    + _lines(f"        server {{address}}:{ORIGIN_PORT};")
    + f"\n    }}}}\n    server {{{{ listen 127.0.0.1:{PORT} backlog=4096; proxy_pass back; proxy_protocol on; }}}}",
)

_ADDRESSES = [_address(number) for number in range(ORIGINS)]
_LEAST_REQUEST = "\n    lb_policy: LEAST_REQUEST"
ENVOY = f"""
static_resources:
  listeners:{envoy_listener("front", PORT)}
  clusters:{envoy_cluster("front", _ADDRESSES, ORIGIN_PORT, _LEAST_REQUEST + ENVOY_PROXY_PROTOCOL)}
"""

SPECTRUM = f"""
pools:
  back:
    origin_steering: {{{{policy: {{policy}}}}}}
    origins:
{_lines(f"      - {{{{{{{{name: o{{n}}, address: {{address}}, port: {ORIGIN_PORT}}}}}}}}}")}
load_balancers:
  lb: {{{{default_pools: [back]{{balancer}}}}}}
apps:
  front: {{{{protocol: tcp/{PORT}, edge_ips: [127.0.0.1], load_balancer: lb, proxy_protocol: v1}}}}
workers: 1
metrics: {{{{listen: 127.0.0.1:19190}}}}
log: {{{{format: json, sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
"""

STARTERS: dict[str, Starter] = {
    "haproxy": haproxy(HAPROXY),
    "nginx": nginx(NGINX),
    "envoy": envoy(ENVOY),
    "spectrum": spectrum(SPECTRUM, policy="least_connections", balancer=""),
    "spectrum, hash": spectrum(SPECTRUM, policy="hash", balancer=""),
    "spectrum, affinity": spectrum(SPECTRUM, policy="random", balancer=", session_affinity: ip"),
}


def measure_peer(name: str, seconds: int) -> Figures:
    """Start one proxy, open connections through it, stop it."""
    with work_folder(name) as folder:
        peer = STARTERS[name](folder)
        try:
            peer.wait_for_port(PORT)
            wrk("/", 8, 1, True)
            before = peer.cpu_s()
            result = wrk("/", 64, seconds, True)
            cpu_us = (peer.cpu_s() - before) * 1e6 / result.requests
            return {"connect_cpu_us": cpu_us, "connect_per_s": result.per_second}
        finally:
            peer.stop()


# --- probes -----------------------------------------------------------------------------------------------------------

HAPROXY_PROBING = f"""
global
    nbthread 1
    maxconn 1000
    spread-checks 50
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout check 5s
frontend front
    bind 127.0.0.1:{PORT}
    default_backend back
backend back
    default-server check inter {PROBE_INTERVAL_S}s
{_lines(f"    server o{{n}} {{address}}:{ORIGIN_PORT}", PROBED)}
"""

SPECTRUM_PROBING = f"""
monitors: {{{{m: {{{{type: tcp, interval: {PROBE_INTERVAL_S}}}}}}}}}
pools:
  back:
    monitor: m
    origins:
{_lines(f"      - {{{{{{{{name: o{{n}}, address: {{address}}, port: {ORIGIN_PORT}}}}}}}}}", PROBED)}
load_balancers: {{{{lb: {{{{default_pools: [back]}}}}}}}}
apps: {{{{front: {{{{protocol: tcp/{PORT}, edge_ips: [127.0.0.1], load_balancer: lb}}}}}}}}
workers: 1
log: {{{{sessions: false}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
"""

PROBERS: dict[str, Starter] = {"haproxy": haproxy(HAPROXY_PROBING), "spectrum": spectrum(SPECTRUM_PROBING)}


def measure_probes(name: str) -> Figures:
    """Let one proxy probe all origins, and return how many cores that takes."""
    with work_folder(name) as folder:
        peer: Running = PROBERS[name](folder)
        try:
            peer.wait_for_port(PORT, 60)
            time.sleep(PROBE_WARM_UP_S)
            before, began = peer.cpu_s(), time.monotonic()
            time.sleep(PROBE_MEASURED_S)
            return {"probe_cores": (peer.cpu_s() - before) / (time.monotonic() - began)}
        finally:
            peer.stop()


# --- decisions --------------------------------------------------------------------------------------------------------


def decisions() -> Iterator[tuple[str, float, float]]:
    """Yield, per shape and policy, the median and the 99th percentile of one decision in a worker, µs."""
    for pools, origins in ((1, 3), (50, 20), (50, 200)):
        for steering, policy, affinity in (
            ("off", "random", "none"),
            ("off", "hash", "none"),
            ("least_connections", "least_connections", "none"),
            ("dynamic_latency", "random", "ip"),
        ):
            with_affinity = ", affinity" if affinity == "ip" else ""
            title = f"{pools} x {origins} origins, {steering} / {policy}{with_affinity}"
            yield title, *_time_decisions(pools, origins, steering, policy, affinity)


def _time_decisions(pools: int, origins: int, steering: str, policy: str, affinity: str) -> tuple[float, float]:
    from spectrum.control.configuration.loader import load_text
    from spectrum.core.features import compile_snapshot
    from spectrum.plane.balancing.balancers import Balancers
    from spectrum.plane.memory import SharedMemory

    listed = ", ".join(f"{{name: o{n}, address: 203.0.113.1, port: {n + 1}}}" for n in range(origins))
    body = f"{{origins: [{listed}], origin_steering: {{policy: {policy}}}}}"
    names = ", ".join(f"p{n}" for n in range(pools))
    text = "\n".join(f"  p{n}: {body}" for n in range(pools))
    config = load_text(
        f"pools:\n{text}\nload_balancers: {{lb: {{default_pools: [{names}], steering_policy: {steering}, "
        f"session_affinity: {affinity}, adaptive_routing: {{failover_across_pools: true}}}}}}\n"
        "apps: {x: {protocol: tcp/1, load_balancer: lb}}",
        "benchmark",
    )
    memory = SharedMemory(2, 262_144)
    balancers = Balancers(memory.loads, memory.affinities)
    balancers.apply(compile_snapshot(config, 1))
    chooser, chance = balancers["lb"], random.Random(1)
    clients = [chance.randbytes(4) for _ in range(DECISIONS)]
    took = []
    for client in clients * 2:  # half of them for the second time
        began = time.perf_counter_ns()
        chooser.choose(client, 5000)
        took.append(time.perf_counter_ns() - began)
    memory.close()
    took.sort()
    return took[len(took) // 2] / 1000, took[len(took) * 99 // 100] / 1000


def write_decisions(folder: Path, measured: list[tuple[str, float, float]]) -> str:
    """Write the decisions' table and return it."""
    lines = ["| a decision, µs | p50 | p99 |", "| --- | ---: | ---: |"]
    lines += [f"| {title} | {middle:.1f} | {high:.1f} |" for title, middle, high in measured]
    table = "\n".join(lines)
    (folder / "decisions.md").write_text(table + "\n")
    return table
