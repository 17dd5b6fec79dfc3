"""Sessions through an edge while connections that say nothing come, or datagrams alike, five times what it can open.

As `live`, with the same namespaces, cores and probes. TCP without the kernel plane, UDP with it and without it.
"""

import json
import subprocess
import sys
import time

import msgspec

from benchmarks.ddos import live
from benchmarks.ddos.crowds import CROWD_CLIENTS, CROWD_FROM, add_clients, build
from benchmarks.ddos.live import EDGE_CORE, FLOOD_CORE, FLOOD_S, ORIGIN_PORT, PORT, PROBES_S, ROWS
from benchmarks.peers import HAPROXY_BASE, nginx_stream
from benchmarks.rounds import Figures
from spectrum.simulation.flooding import READY, FloodPlan
from spectrum.simulation.network import EDGE_LINK
from spectrum.simulation.probes import ProbePlan

__all__ = ["FLOODS", "ROWS", "WAYS", "capacity", "measure_way"]

FLOODS = {
    "tcp": "Connections that say nothing, from a thousand addresses",
    "udp": "Datagrams alike, from forged addresses",
}
WAYS = {
    "tcp": (
        "spectrum, no flood",
        "spectrum",
        "spectrum, ddos",
        "spectrum, nftables rule",
        "haproxy",
        "haproxy, stick table",
    ),
    "udp": (
        "spectrum, no flood",
        "spectrum",
        "spectrum, ddos",
        "spectrum, filter rule",
        "spectrum, filter and ddos",
        "spectrum, nftables rule",
        "nginx, no flood",
        "nginx",
        "nginx, nftables rule",
    ),
}
# Addresses that nobody has: frames are made in their names, and what is answered to them is seen on the cable.
FIRST, SOURCES = "10.66.0.1", 1_000
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
_FILTER_RULE = f"{{protocol: udp, destination_port: {PORT}, payload: '41414141'}}"
_NGINX = nginx_stream("30s", f"server {{{{ listen {PORT} udp rcvbuf=4m; proxy_pass 127.0.0.1:{ORIGIN_PORT}; }}}}")
# A flow of a question and its answer.
_CAPACITY_KIND, _CAPACITY_PER_S, _CAPACITY_S = "dns", 8_000, 3.0


class _WorkersLab(live._Lab):
    """The same, with edges without the kernel plane, and others for UDP."""

    def serve(self, way: str, flood: str) -> None:
        """Start origin and edge, with what defends it; wait until it serves."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": (self.folder / "edge.log").open("wb")}
        self.start(
            "edge", EDGE_CORE, sys.executable, "-m", "spectrum.simulation.echo", f"{flood}/{ORIGIN_PORT}", **quiet
        )
        if way.startswith("spectrum"):
            path = self.folder / "edge.yaml"
            text = f"""
apps: {{web: {{protocol: {flood}/{PORT}, origin_direct: ['{flood}://127.0.0.1:{ORIGIN_PORT}']}}}}
workers: 1
control: {{socket: {self.folder}/control.sock}}
drain_timeout: 100ms
"""
            if "ddos" in way:
                text += f"ddos: {{learning_time: 300ms, user: nobody, store: {self.folder}/learned}}\n"
            if "filter" in way:
                rules = f", rules: {{flood: {_FILTER_RULE}}}" if "rule" in way else ""
                text += f"filter: {{interfaces: [{EDGE_LINK}], guard: [192.0.2.0/24]{rules}}}\n"
            path.write_text(text)
            command = [sys.executable, "-m", "spectrum", "run", "-c", path]
        elif way.startswith("nginx"):
            path = self.folder / "nginx.conf"
            path.write_text(_NGINX.format(folder=self.folder))
            command = ["/usr/sbin/nginx", "-e", self.folder / "error.log", "-c", path]
        else:
            path = self.folder / "haproxy.cfg"
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


def capacity(transport: str) -> float:
    """Return how many sessions or flows a second the edge could open and end on one core, by its processor time."""
    if transport == "tcp":
        return live.capacity()
    with live.serving("spectrum", transport, _WorkersLab) as lab:
        add_clients(lab.network)
        command = [_CAPACITY_KIND, lab.where.four, PORT, CROWD_FROM, CROWD_CLIENTS, _CAPACITY_PER_S, _CAPACITY_S]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        clients = lab.start("clients", FLOOD_CORE, build("crowd", lab.folder), *command, **pipes)
        before = lab.cpu_s()
        told = clients.communicate("\n", timeout=60)[0].splitlines()[-1]
        return float(json.loads(told)["answered"]) / (lab.cpu_s() - before)


def measure_way(way: str, flood: str, per_s: float) -> Figures:
    """Flood an edge that is defended in one way, and see what sessions notice."""
    with live.serving(way, flood, _WorkersLab) as lab:
        where = lab.where
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command: list[object]
        if flood == "tcp":
            tool = build("openings", lab.folder)
            link = where.link.hex()
            command = [tool, "idle", where.interface, link, where.four, PORT, FIRST, SOURCES, per_s, FLOOD_S]
        else:
            plan = FloodPlan(
                "udp_fixed", where.interface, where.link, where.four, None, (PORT, PORT), per_s, FLOOD_S, FLOOD_CORE
            )
            command = [sys.executable, "-m", "spectrum.simulation.flooding", msgspec.json.encode(plan).decode()]
        sender = lab.start("clients", FLOOD_CORE, *command, **pipes)
        assert sender.stdout.readline().strip() == READY
        return live.figures(lab, way, sender, ProbePlan(flood, where.four, PORT, where.sources, PROBES_S))
