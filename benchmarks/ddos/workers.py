"""Sessions through an edge without the kernel plane, while connections that say nothing come, or datagrams alike.

As `live`, with the same namespaces, cores and probes. Connections come from four addresses, as fast as core 0 opens
them; datagrams are alike, from forged addresses.
"""

import subprocess
import sys
import time

import msgspec

from benchmarks.ddos import live
from benchmarks.ddos.live import EDGE_CORE, FLOOD_CORE, FLOOD_S, ORIGIN_PORT, PORT, PROBES_S, ROWS
from benchmarks.peers import HAPROXY_BASE
from benchmarks.rounds import Figures
from spectrum.simulation.flooding import READY, FloodPlan
from spectrum.simulation.network import CLIENT_LINK, EDGE_LINK
from spectrum.simulation.probes import ProbePlan

__all__ = ["FLOODS", "ROWS", "WAYS", "measure_way"]

FLOODS = {"tcp": "Connections that say nothing, from four addresses", "udp": "Datagrams alike, from forged addresses"}
WAYS = {
    "tcp": (
        "spectrum, no flood",
        "spectrum",
        "spectrum, ddos",
        "spectrum, nftables rule",
        "haproxy",
        "haproxy, stick table",
    ),
    "udp": ("spectrum, no flood", "spectrum", "spectrum, ddos", "spectrum, nftables rule"),
}
_SOURCES = [f"198.18.78.{last}" for last in range(1, 5)]
_NFT = {
    "tcp": f"tcp dport {PORT} tcp flags & (syn | ack) == syn meter m {{ ip saddr limit rate over 50/second }} drop",
    "udp": f"udp dport {PORT} @th,64,32 0x41414141 drop",
}
# Refuses who opened more than 500 sessions within ten seconds, before anything is read of it.
_STICK_TABLE = """
    stick-table type ip size 100k expire 30s store conn_rate(10s)
    tcp-request connection track-sc0 src
    tcp-request connection reject if { sc0_conn_rate gt 500 }
"""
_OPENINGS = """
import socket, sys, time
from contextlib import suppress
sys.stdin.readline()
end, made, kept = time.monotonic() + float(sys.argv[2]), 0, []
while time.monotonic() < end:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    with suppress(OSError):
        sock.bind((sys.argv[3 + made % (len(sys.argv) - 3)], 0))
        sock.connect((sys.argv[1], 443))
    kept.append(sock)
    made += 1
    if len(kept) > 500:
        kept.pop(0).close()
print(made)
"""


class _WorkersLab(live._Lab):
    """The same, with an edge that has no kernel plane."""

    def serve(self, way: str, flood: str) -> None:
        """Start origin and edge, with what defends it; wait until it serves."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": (self._folder / "edge.log").open("wb")}
        self.start(
            "edge", EDGE_CORE, sys.executable, "-m", "spectrum.simulation.echo", f"{flood}/{ORIGIN_PORT}", **quiet
        )
        if way.startswith("spectrum"):
            path = self._folder / "edge.yaml"
            text = f"""
apps: {{web: {{protocol: {flood}/{PORT}, origin_direct: ['{flood}://127.0.0.1:{ORIGIN_PORT}']}}}}
workers: 1
control: {{socket: {self._folder}/control.sock}}
drain_timeout: 100ms
"""
            if "ddos" in way:
                text += f"ddos: {{learning_time: 300ms, user: nobody, store: {self._folder}/learned}}"
            path.write_text(text)
            command = [sys.executable, "-m", "spectrum", "run", "-c", path]
        else:
            path = self._folder / "haproxy.cfg"
            path.write_text(
                HAPROXY_BASE
                + f"frontend front\n    bind :::{PORT} v4v6\n    default_backend back\n"
                + (_STICK_TABLE if "stick" in way else "")
                + f"backend back\n    server origin 127.0.0.1:{ORIGIN_PORT}\n"
            )
            command = ["/usr/sbin/haproxy", "-db", "-f", path]
        self._edge = self.start("edge", EDGE_CORE, *command, **quiet)
        if "nftables" in way:
            self.rules(live._NFT_CHAIN.format(EDGE_LINK, _NFT[flood]))
        if flood == "tcp":
            self._wait()
        else:
            time.sleep(4)


def measure_way(way: str, flood: str, per_s: float) -> Figures:
    """Flood an edge that is defended in one way, and see what sessions notice."""
    with live.serving(way, flood, _WorkersLab) as lab:
        where = lab.where
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        if flood == "tcp":
            for source in _SOURCES:
                address = ["address", "add", f"{source}/16", "dev", CLIENT_LINK]
                subprocess.run(["ip", "-n", lab.network.clients, *address], check=True)
            command = ["-c", _OPENINGS, where.four, FLOOD_S, *_SOURCES]
        else:
            plan = FloodPlan(
                "udp_fixed", where.interface, where.link, where.four, None, (PORT, PORT), per_s, FLOOD_S, FLOOD_CORE
            )
            command = ["-m", "spectrum.simulation.flooding", msgspec.json.encode(plan).decode()]
        sender = lab.start("clients", FLOOD_CORE, sys.executable, *command, **pipes)
        if flood == "udp":
            assert sender.stdout.readline().strip() == READY
        return live.figures(lab, way, sender, ProbePlan(flood, where.four, PORT, where.sources, PROBES_S))
