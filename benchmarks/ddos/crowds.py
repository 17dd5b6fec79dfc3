"""Flash crowds of real sessions at a daemon that looks for attacks: none of them is one.

In the namespaces of a trial. Each client of `crowd.c` has an address of its own. First a few of them come, from which
detection learns what is normal, then a crowd of thousands, all at once.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ddos import live
from benchmarks.ddos.live import EDGE_CORE, FLOOD_CORE, ORIGIN_PORT, PORT
from benchmarks.rounds import Figures, Rows
from spectrum.cli.client import DaemonError, ask
from spectrum.simulation.network import EDGE_LINK, TrialNetwork

SOURCES = Path(__file__).parents[1]
READY = "ready"
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
# Addresses of clients, all this host's: of those who come always, and of a crowd.
CLIENTS, USUAL_FROM, CROWD_FROM = "10.0.0.0/8", "10.1.0.1", "10.77.0.1"
USUAL_PER_S, USUAL_CLIENTS, LEARNED_S = 100, 400, 8.0
CROWD_CLIENTS, CROWD_S, SEEN_S = 5_000, 5.0, 1.5


@dataclass(frozen=True, slots=True)
class Crowd:
    """A kind of crowd.

    Attributes:
        transport: tcp or udp.
        per_s: New sessions a second.
        words: What it is.
    """

    transport: str
    per_s: float
    words: str


CROWDS = {
    "web": Crowd("tcp", 1_000, "a page and what it links to"),
    "ssh": Crowd("tcp", 1_000, "sessions that stay"),
    "game": Crowd("udp", 1_300, "players: six moves a second"),
    "dns": Crowd("udp", 3_000, "a question and its answer"),
    "quic": Crowd("udp", 1_300, "a page by long datagrams"),
}
PLANES = {"filter": f"filter: {{interfaces: [{EDGE_LINK}], guard: [192.0.2.0/24]}}\n", "workers": ""}
ROWS: Rows = {
    "rules": ("rules that act", "count", True),
    "logged": ("rules that only count", "count", True),
    "left_alone": ("found, and left alone", "count", False),
    "packets_per_s": ("packets of the crowd that detection estimated, most", "1/s", False),
    "answered": ("sessions of the crowd that were answered", "%", False),
    "broken": ("that were broken", "count", True),
    "lost": ("datagrams lost", "count", True),
    "p50_ms": ("a new session and its first answer, p50", "ms", True),
    "p99_ms": ("the same, p99", "ms", True),
}


def build(name: str, folder: Path) -> Path:
    """Build a program of clients, `crowd` or `openings`; return it.

    Raises:
        subprocess.CalledProcessError: If it cannot be built.
    """
    tool = folder / name
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(tool), str(SOURCES / f"{name}.c")], check=True)
    return tool


def add_clients(network: TrialNetwork) -> None:
    """Have the addresses of clients in a network."""
    route = ["route", "add", "local", CLIENTS, "dev", "lo"]
    subprocess.run(["ip", "-n", network.clients, *route], env=os.environ | {"PATH": PATH}, check=True)


class _CrowdLab(live._Lab):
    """The same, with clients by the thousand."""

    def serve(self, way: str, flood: str) -> None:
        """Start the origin of a kind of crowd, and an edge that sees packets in one way; wait until it does."""
        transport = CROWDS[flood].transport
        self.tool = build("crowd", self.folder)
        add_clients(self.network)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": (self.folder / "edge.log").open("wb")}
        origin = f"{transport}/{ORIGIN_PORT}"
        self.start("edge", EDGE_CORE, sys.executable, "-m", "spectrum.simulation.echo", origin, **quiet)
        path, self.control = self.folder / "edge.yaml", self.folder / "control.sock"
        learned = self.folder / "learned"
        path.write_text(
            f"apps: {{app: {{protocol: {transport}/{PORT}, origin_direct: ['{transport}://127.0.0.1:{ORIGIN_PORT}']}}}}\n"
            f"workers: 1\ncontrol: {{socket: {self.control}}}\ndrain_timeout: 100ms\n"
            f"ddos: {{learning_time: 300ms, user: nobody, store: {learned}}}\n{PLANES[way]}"
        )
        self._edge = self.start("edge", EDGE_CORE, sys.executable, "-m", "spectrum", "run", "-c", path, **quiet)
        deadline = time.monotonic() + 30
        while not self._looks(self.control):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the edge does not detect: {(self.folder / 'edge.log').read_text()}")
            time.sleep(0.1)

    @staticmethod
    def _looks(control: Path) -> bool:
        try:
            return "samples_per_second" in ask(control, "GET", "/status")["ddos"]
        except (DaemonError, KeyError):
            return False

    def come(self, kind: str, first: str, clients: int, per_s: float, seconds: float) -> "subprocess.Popen[Any]":
        """Let clients come."""
        process = self.start(
            "clients",
            FLOOD_CORE,
            *(self.tool, kind, self.where.four, PORT, first, clients, per_s, seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline().strip() == READY
        process.stdin.write("\n")
        process.stdin.flush()
        return process


def measure_crowd(plane: str, kind: str) -> Figures:
    """Let a crowd come to an edge, and see what detection does about it."""
    crowd = CROWDS[kind]
    with live.serving(plane, kind, _CrowdLab) as lab:
        lab.come(kind, USUAL_FROM, USUAL_CLIENTS, USUAL_PER_S, LEARNED_S + CROWD_S + SEEN_S)
        time.sleep(LEARNED_S)
        came = lab.come(kind, CROWD_FROM, CROWD_CLIENTS, crowd.per_s, CROWD_S)
        most, deadline = 0.0, time.monotonic() + CROWD_S + SEEN_S
        while time.monotonic() < deadline:
            most = max(most, ask(lab.control, "GET", "/status")["ddos"].get("packets_per_second", 0.0))
            time.sleep(0.5)
        attacks = ask(lab.control, "GET", "/attacks")["attacks"]
        told = json.loads(came.communicate(timeout=60)[0])
    rules = [rule for attack in attacks for rule in attack["rules"] if rule["name"]]
    return {
        "rules": sum(rule["action"] != "log" for rule in rules),
        "logged": sum(rule["action"] == "log" for rule in rules),
        "left_alone": sum(attack["state"] == "left_alone" for attack in attacks),
        "packets_per_s": most,
        "answered": 100 * told["answered"] / max(1, told["answered"] + told["failed"]),
        **{name: told[name] for name in ("broken", "lost", "p50_ms", "p99_ms")},
    }
