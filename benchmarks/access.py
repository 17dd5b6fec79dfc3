"""What access rules cost a new connection: none, and a list of a million prefixes that names nobody."""

from pathlib import Path

from benchmarks.loads import wrk
from benchmarks.peers import ORIGIN_PORT, PORT, Starter, spectrum
from benchmarks.processes import Running
from benchmarks.rounds import Figures, Rows, work_folder

PREFIXES = 1_000_000
ROWS: Rows = {
    "connect_cpu_us": ("new connection", "µs CPU", True),
    "connect_per_s": ("new connections", "1/s", False),
    "memory_mib": ("memory of supervisor and worker", "MiB", True),
}
SPECTRUM = f"""
apps:
  front:
    protocol: tcp/{PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]
    proxy_protocol: v1
    ip_firewall: {{asks}}
{{rules}}
workers: 1
log: {{{{sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
"""
_RULES = "access_rules: {{many: {{target: ip_range, file: '{folder}/list', action: block}}}}"


def _listed(folder: Path) -> Running:
    with (folder / "list").open("w") as file:
        for number in range(PREFIXES):
            file.write(f"{16 + number // 65536}.{number >> 8 & 255}.{number & 255}.0/24\n")
    return spectrum(SPECTRUM, asks="true", rules=_RULES.format(folder=folder))(folder)


STARTERS: dict[str, Starter] = {
    "no rules": spectrum(SPECTRUM, asks="false", rules=""),
    "spectrum": _listed,
}


def measure_peer(name: str, seconds: int) -> Figures:
    """Start the proxy, open connections through it, stop it."""
    with work_folder(name) as folder:
        peer = STARTERS[name](folder)
        try:
            peer.wait_for_port(PORT, 60)
            wrk("/", 8, 1, True)
            before = peer.cpu_s()
            result = wrk("/", 64, seconds, True)
            cpu_us = (peer.cpu_s() - before) * 1e6 / result.requests
            memory = peer.memory_bytes() / 2**20
            return {"connect_cpu_us": cpu_us, "connect_per_s": result.per_second, "memory_mib": memory}
        finally:
            peer.stop()
