"""Established and new sessions through an edge while SYNs with forged sources come, five times what the edge can open.

In the namespaces of a trial. Core 0 sends the flood, and there the kernel does all that a sent frame causes at the
receiving end: the filter, nftables, the SYN queue. Core 1 has edge, origin and clients.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers import HAPROXY_BASE
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.simulation.flooding import READY, FloodPlan
from spectrum.simulation.network import EDGE_LINK, TrialNetwork, entered
from spectrum.simulation.probes import TOLD_EVERY_S, ProbePlan, percentile
from spectrum.simulation.trial import Where, in_namespaces

FLOOD_CORE, EDGE_CORE = 0, 1
PORT, ORIGIN_PORT = 443, 47_000
QUIET_S, FLOOD_S, AFTER_S = 4.0, 4.0, 0.5
PROBES_S = QUIET_S + FLOOD_S + AFTER_S
# By then detection has written its rules.
FOUND_S = 1.0
# A flood is so many times what the edge opens in a second.
TIMES_CAPACITY = 5
CAPACITY_S = 2.0
ROWS: Rows = {
    "quiet_p99_ms": ("round trip before the flood, p99", "ms", True),
    "p99_ms": ("round trip in the flood, p99", "ms", True),
    "times": ("p99, times that before", "", True),
    "first_p99_ms": ("the same, in the first second of the flood", "ms", True),
    "later_p99_ms": ("the same, in the rest of it", "ms", True),
    "later_times": ("the rest, times that before", "", True),
    "lost": ("tokens of established sessions lost", "count", True),
    "broken": ("established sessions broken", "count", True),
    "opened": ("new sessions that succeeded", "%", False),
    "opening_p99_ms": ("a new session and its first answer, p99", "ms", True),
    "flood_per_s": ("packets of the flood", "1/s", False),
}
# One flood shares a fingerprint, which rules written by hand name; the other one looks as clients' SYNs do.
FLOODS = {"syn_fixed": "SYNs alike", "syn_os": "SYNs as of real stacks"}
_SPECTRUM_RULES = {
    "syn_fixed": "{protocol: tcp, destination_port: 443, tcp_flags: syn !ack, window: 5840, ttl: 241-243}",
    "syn_os": "{protocol: tcp, destination_port: 443, tcp_flags: syn !ack, action: cookie}",
}
_NFT_CHAIN = "table netdev f {{ chain c {{ type filter hook ingress device {} priority 0; {}; }}; }}"
_NFT_RULES = {
    "syn_fixed": "tcp dport 443 tcp flags & (syn | ack) == syn tcp window 5840 ip ttl 241-243 drop",
    "syn_os": "tcp dport 443 tcp flags & (syn | ack) == syn limit rate over 5000/second burst 5000 packets drop",
}
_SYNPROXY = """
table ip s {
  chain raw { type filter hook prerouting priority -300; tcp dport 443 tcp flags syn notrack; }
  chain in {
    type filter hook input priority 0;
    tcp dport 443 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm;
    tcp dport 443 ct state invalid drop;
  }
}
"""
WAYS = (
    "spectrum, no flood",
    "spectrum, filter rule",
    "spectrum, ddos",
    "spectrum, no kernel plane",
    "haproxy",
    "haproxy, nftables rule",
    "haproxy, nftables synproxy",
)
_CAPACITY = """
import selectors, socket, sys, time
# Sixty-four clients at a time, each opens a session, sends a byte, gets it back and leaves.
wait, done, end = selectors.DefaultSelector(), 0, time.monotonic() + float(sys.argv[2])
def begin():
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((sys.argv[1], 443))
    wait.register(sock, selectors.EVENT_WRITE)
for _ in range(64):
    begin()
while time.monotonic() < end:
    for key, events in wait.select(0.1):
        sock = key.fileobj
        if events & selectors.EVENT_WRITE:
            sock.send(b"x")
            wait.modify(sock, selectors.EVENT_READ)
        else:
            done += len(sock.recv(1))
            wait.unregister(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            sock.close()
            begin()
print(done)
"""


class _Lab:
    """The namespaces, and what runs in them; each on its core."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self._running: list[subprocess.Popen[Any]] = []
        self.network = self._stack.enter_context(TrialNetwork(f"bench{os.getpid() % 100_000}"))
        self.where: Where = in_namespaces(self.network)

    def start(self, side: str, core: int, *command: object, **options: Any) -> "subprocess.Popen[Any]":
        with entered(getattr(self.network, side)):
            process = subprocess.Popen(
                [str(word) for word in command], preexec_fn=lambda: os.sched_setaffinity(0, {core}), **options
            )
        self._running.append(process)
        return process

    def cpu_s(self) -> float:
        """Return the processor time of the edge, all its processes."""
        pids = [self._edge.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                pids.extend(map(int, task.read_text().split()))
        stats = [stat for pid in pids for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

    def rules(self, text: str) -> None:
        with entered(self.network.edge):
            subprocess.run(["/usr/sbin/nft", "-f", "-"], input=text, text=True, check=True)

    def serve(self, way: str, flood: str) -> None:
        """Start origin and edge, with what defends it; wait until a session works."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": (self.folder / "edge.log").open("wb")}
        self.start("edge", EDGE_CORE, sys.executable, "-m", "spectrum.simulation.echo", f"tcp/{ORIGIN_PORT}", **quiet)
        if way.startswith("spectrum"):
            path = self.folder / "edge.yaml"
            rule = _SPECTRUM_RULES[flood]
            text = f"""
apps: {{web: {{protocol: tcp/{PORT}, origin_direct: ['tcp://127.0.0.1:{ORIGIN_PORT}']}}}}
workers: 1
control: {{socket: {self.folder}/control.sock}}
drain_timeout: 100ms
"""
            if "filter" in way:
                text += f"filter: {{interfaces: [{EDGE_LINK}], guard: [192.0.2.0/24], rules: {{flood: {rule}}}}}"
            if "ddos" in way:
                learned = f"learning_time: 300ms, user: nobody, store: {self.folder}/learned"
                text += f"filter: {{interfaces: [{EDGE_LINK}], guard: [192.0.2.0/24]}}\nddos: {{{learned}}}"
            path.write_text(text)
            command = [sys.executable, "-m", "spectrum", "run", "-c", path]
        else:
            path = self.folder / "haproxy.cfg"
            path.write_text(
                HAPROXY_BASE + f"frontend front\n    bind :::{PORT} v4v6\n    default_backend back\n"
                f"backend back\n    server origin 127.0.0.1:{ORIGIN_PORT}\n"
            )
            command = ["/usr/sbin/haproxy", "-db", "-f", path]
        self._edge = self.start("edge", EDGE_CORE, *command, **quiet)
        if "nftables rule" in way:
            self.rules(_NFT_CHAIN.format(EDGE_LINK, _NFT_RULES[flood]))
        if "synproxy" in way:
            with entered(self.network.edge):
                subprocess.run(["/usr/sbin/sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"], check=False)
            self.rules(_SYNPROXY)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            with entered(self.network.clients):
                try:
                    with socket.create_connection((self.where.four, PORT), 1) as sock:
                        sock.sendall(b"x")
                        if sock.recv(1):
                            return
                except OSError:
                    pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"the edge does not serve: {(self.folder / 'edge.log').read_text()}")
            time.sleep(0.05)

    def close(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._stack.close()


@contextmanager
def serving(way: str, flood: str, kind: type[_Lab] = _Lab) -> Iterator[_Lab]:
    """Have an edge that is defended in one way, in namespaces of its own."""
    with work_folder("live") as folder:
        lab = kind(folder)
        try:
            lab.serve(way, flood)
            yield lab
        finally:
            lab.close()


def capacity(way: str = "spectrum, no kernel plane") -> float:
    """Return how many sessions a second an edge could open and end on one core, by the processor time that they take.

    What the kernel does for them on the client's core does not count.
    """
    with serving(way, "syn_os") as lab:
        before = lab.cpu_s()
        script = [sys.executable, "-c", _CAPACITY, lab.where.four, CAPACITY_S]
        client = lab.start("clients", FLOOD_CORE, *script, stdout=subprocess.PIPE)
        opened = float(client.communicate(timeout=30)[0])
        return opened / (lab.cpu_s() - before)


def measure_way(way: str, flood: str, per_s: float) -> Figures:
    """Flood an edge that is defended in one way, and see what sessions notice."""
    with serving(way, flood) as lab:
        where = lab.where
        plan = FloodPlan(flood, where.interface, where.link, where.four, None, (PORT, PORT), per_s, FLOOD_S, FLOOD_CORE)
        text = msgspec.json.encode(plan).decode()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        sender = lab.start("clients", FLOOD_CORE, sys.executable, "-m", "spectrum.simulation.flooding", text, **pipes)
        assert sender.stdout.readline().strip() == READY
        return figures(lab, way, sender, ProbePlan("tcp", where.four, PORT, where.sources, PROBES_S))


def figures(lab: _Lab, way: str, sender: "subprocess.Popen[Any]", probe: ProbePlan) -> Figures:
    """Return what sessions notice of a flood, which `sender` begins when it is told to."""
    command = ["-m", "spectrum.simulation.probes", msgspec.json.encode(probe).decode()]
    probes = lab.start("clients", EDGE_CORE, sys.executable, *command, stdout=subprocess.PIPE, text=True)
    first = json.loads(probes.stdout.readline())
    time.sleep(QUIET_S - TOLD_EVERY_S)
    sent = 0
    if "no flood" not in way:
        sender.stdin.write("\n")
        sender.stdin.flush()
    lines = [first, *map(json.loads, probes.communicate(timeout=60)[0].splitlines())]
    if "no flood" not in way:
        sent = int(sender.communicate(timeout=30)[0].split()[-1])
    return _figures(lines, sent)


def _figures(lines: list[Mapping[str, Any]], sent: int) -> Figures:
    began, found, ended = (int(s / TOLD_EVERY_S) for s in (QUIET_S, QUIET_S + FOUND_S, QUIET_S + FLOOD_S))
    before = lines[began - 1]
    quiet_s, flood_s, first_s, later_s = (
        percentile([trip for line in lines[at:to] for trip in line["trips_s"]], 0.99)
        for at, to in ((2, began), (began, ended), (began, found), (found, ended))
    )
    opening = [took for line in lines[began:] for took in line["opening_s"]]
    last = lines[-1]
    opened, failed = (last[name] - before[name] for name in ("opened", "failed"))
    # 0 is of none that came back.
    flood_s, first_s, later_s = flood_s or FLOOD_S, first_s or FOUND_S, later_s or FLOOD_S - FOUND_S
    return {
        "quiet_p99_ms": 1000 * quiet_s,
        "p99_ms": 1000 * flood_s,
        "times": flood_s / quiet_s,
        "first_p99_ms": 1000 * first_s,
        "later_p99_ms": 1000 * later_s,
        "later_times": later_s / quiet_s,
        "lost": last["sent"] - last["answered"],
        "broken": last["broken"],
        "opened": 100 * opened / max(1, opened + failed),
        "opening_p99_ms": 1000 * percentile(opening, 0.99),
        "flood_per_s": sent / FLOOD_S,
    }
