"""Processes of a daemon die in the middle of an attack: its rules, which wrote themselves, stay, and end."""

import os
import signal
import socket
import subprocess
import sys
import time

from spectrum.cli.client import DaemonError
from spectrum.simulation.network import CLIENTS_4, entered
from tests.e2e.flood_lab import FOUR, UDP_PORT, echoes
from tests.engine.harness import eventually

# Longer than it takes to replace a detector that stands still: 10 s, and its start.
PER_S, EXPIRE_S = 5_000.0, 20
# Packets that say whether it is dropped.
SEEN = 500
GUARDED = CLIENTS_4[0].ip
# What the flood sends: a client that sends it too is dropped with it.
PAYLOAD = b"A" * 512


class Attacked:
    """A daemon that is flooded; without a filter its workers refuse the flood."""

    def __init__(self, lab, learned, filter_text="", more="", guard=""):
        self.lab = lab
        settings = f"store: {learned}, learning_time: 1s, expire_after: {EXPIRE_S}s{guard}"
        self.daemon = lab.serve(filter_text, f"ddos: {{{settings}}}\n{more}")
        eventually(lambda: self.ddos().get("state") == "on", 30, self.ddos)

    def status(self):
        try:
            return self.daemon.status()
        except DaemonError:  # it is replaced
            return {}

    def ddos(self):
        return self.status().get("ddos", {})

    def rules(self):
        return {rule["name"]: rule["ends_in_s"] for rule in self.ddos().get("rules", [])}

    def acts(self):
        """Whether there are rules, and none that only counts: one that begins to act has another name from then on."""
        rules = self.ddos().get("rules", [])
        return bool(rules) and not any("; log" in rule["what"] for rule in rules)

    def pid(self, name):
        """The process that does something, 0 where there is none."""
        status = self.status()
        match name:
            case "supervisor":
                return status.get("pid", 0)
            case "helper":
                return int(status.get("kernel", {}).get("helper", "").removeprefix("on: pid ") or 0)
            case "worker":
                return next((one["pid"] for one in status.get("workers", []) if one["ready"]), 0)
        return status.get(name, {}).get("pid", 0)

    def came(self):
        """How many packets the filter has seen of the flood and of others, and how many of them passed."""
        counts = {name: packets for name, (packets, _) in self.lab.filter.counts().items()}
        matched = sum(packets for name, packets in counts.items() if name.startswith("rule ddos/"))
        return matched + counts["passed"], counts["passed"]

    def drops(self):
        """Whether the flood is dropped: of what comes now hardly anything passes."""
        seen, passed = self.came()
        deadline = time.monotonic() + 5
        while (now := self.came())[0] - seen < SEEN:
            assert time.monotonic() < deadline, f"the flood does not come: {now[0] - seen} packets"
            time.sleep(SEEN / PER_S)
        return now[1] - passed < 0.1 * SEEN

    def serves_guarded(self):
        """Whether who is guarded gets an answer, however much it looks as the attack does; others do not."""
        return self.asks(GUARDED) and not self.asks(CLIENTS_4[1].ip)

    def asks(self, source):
        with entered(self.lab.network.clients), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(source), 0))
            sock.connect((FOUR, UDP_PORT))
            sock.settimeout(0.3)
            sock.send(PAYLOAD)
            try:
                return sock.recv(1_000) == PAYLOAD
            except OSError:
                return False

    def stays(self, what, is_session_kept=True):
        assert self.drops(), f"{what}: {self.ddos()} {self.daemon.messages()}"
        eventually(self.serves_guarded, 15, lambda: f"{what}: {self.daemon.messages()}")
        assert self.drops(), what
        assert not is_session_kept or echoes(self.session), what

    def reload(self):
        """Load the file with one more app."""
        more = "  more: {protocol: tcp/7009, origin_direct: ['tcp://127.0.0.1:1']}\n  web:"
        self.daemon.path.write_text(self.daemon.path.read_text().replace("  web:", more))
        assert self.daemon.reload() == []

    def upgrade(self):
        """Let another supervisor take over."""
        before = self.pid("supervisor")
        command = [sys.executable, "-m", "spectrum", "upgrade", "--socket", str(self.daemon.socket)]
        with entered(self.lab.network.edge):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        eventually(lambda: self.pid("supervisor") not in (0, before), 20)

    def refused(self):
        """How many datagrams rules of workers have refused, as the daemon that runs knows."""
        return sum(rule["packets"] for rule in self.ddos().get("rules", []))

    def refuses(self, what):
        """Whoever is new refuses the flood, and nobody who is guarded."""
        eventually(self.serves_guarded, 15, lambda: f"{what}: {self.ddos()} {self.daemon.messages()}")
        before = self.refused()
        eventually(lambda: self.refused() - before > SEEN, 15, lambda: f"{what}: {self.ddos()}")
        eventually(lambda: echoes(self.lab.session(1)), 5)

    def goes_on(self, what, names):
        """Rules are the same ones, and their end is pushed forward again."""
        eventually(lambda: self.rules().keys() == names, 20, lambda: f"{what}: {self.ddos()} {self.daemon.messages()}")
        before = self.rules()
        eventually(
            lambda: all(ends > min(before[name] + 0.5, EXPIRE_S) for name, ends in self.rules().items()),
            15,
            lambda: f"{what}: {before} {self.ddos()} {self.daemon.messages()}",
        )


def test_automatic_rules_outlive_every_process(lab, learned):
    api = "api: {listen: '127.0.0.1:8800', user: nobody}\n"
    attacked = Attacked(lab, learned, f"  guard: [{GUARDED}/32]\n", api)
    attacked.session = lab.session(1)
    lab.begin("udp_fixed", 150.0, PER_S, 100_000)  # a flow that comes again and is answered is in use
    eventually(lambda: attacked.rules() and attacked.drops(), 20, attacked.ddos)
    names = attacked.rules().keys()
    attacked.stays("nobody has died")

    # The detector stands still: it is replaced after 10 s. Meanwhile the others die.
    os.kill(attacked.pid("ddos"), signal.SIGSTOP)
    for name in ("api", "helper"):
        eventually(lambda name=name: attacked.pid(name), 20)
        os.kill(attacked.pid(name), signal.SIGKILL)
        attacked.stays(name)
    eventually(lambda: attacked.ddos().get("restarts") == 1, 20, attacked.ddos)
    attacked.goes_on("a detector that stood still", names)
    attacked.stays("a detector that stood still")

    os.kill(attacked.pid("ddos"), signal.SIGKILL)
    attacked.stays("a detector that was killed")
    attacked.goes_on("a detector that was killed", names)

    attacked.reload()
    attacked.stays("a reload")
    attacked.goes_on("a reload", names)

    os.kill(attacked.pid("worker"), signal.SIGKILL)
    attacked.stays("a worker", is_session_kept=False)

    attacked.session = lab.session(1)
    attacked.upgrade()
    attacked.stays("an upgrade")
    attacked.goes_on("an upgrade", names)

    # Nobody is left who could end them: they end by themselves.
    children = [attacked.pid("worker")]
    os.kill(attacked.pid("supervisor"), signal.SIGKILL)
    attacked.stays("the supervisor")
    eventually(lambda: lab.count("passed") and not attacked.drops(), 3 * EXPIRE_S)
    for pid in children:
        os.kill(pid, signal.SIGTERM)


def test_rules_of_workers_outlive_every_process(lab, learned):
    attacked = Attacked(lab, learned, guard=f", guard: [{GUARDED}/32]")
    assert attacked.ddos()["seen_by"] == "workers"
    lab.begin("udp_fixed", 150.0, PER_S, 100_000)
    eventually(lambda: attacked.acts() and attacked.refused() > SEEN, 20, attacked.ddos)
    names = attacked.rules().keys()
    attacked.refuses("nobody has died")

    session = lab.session(1)
    attacked.upgrade()
    attacked.refuses("an upgrade")
    attacked.goes_on("an upgrade", names)
    assert echoes(session)

    os.kill(attacked.pid("worker"), signal.SIGKILL)
    attacked.refuses("a worker")
    attacked.goes_on("a worker", names)

    attacked.reload()
    attacked.refuses("a reload")

    os.kill(attacked.pid("ddos"), signal.SIGKILL)
    attacked.refuses("a detector")
    attacked.goes_on("a detector", names)

    os.kill(attacked.pid("supervisor"), signal.SIGKILL)
    eventually(attacked.serves_guarded, 15)  # its workers go on
    attacked.daemon = lab.again()
    attacked.refuses("a supervisor")
    attacked.goes_on("a supervisor", names)
