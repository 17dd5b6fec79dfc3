"""Several hosts on this machine: network namespaces with cables (veth) between them."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from spectrum.cli.client import DaemonError, ask
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError, folder_of, unload
from spectrum.simulation.network import TrialNetworkError, entered
from tests.e2e.leftovers import end_those_of
from tests.e2e.namespace import ip
from tests.e2e.programs import PATH
from tests.e2e.warm import Warm, can_stand_for
from tests.engine.harness import eventually


class Hosts:
    """Namespaces by name, each with its loopback up; `close` removes them, and with them the cables."""

    def __init__(self, *names):
        self._prefix = f"spx{os.getpid() % 100000}"
        self._made = []
        try:
            for name in names:
                ip("netns", "add", self.full(name))
                self._made.append(name)
                self.ip(name, "link", "set", "lo", "up")
                with entered(self.full(name)):
                    # Until a link-local address is no longer tentative, which takes a second or two, the kernel does
                    # not ask for the neighbours of packets that have another host's address (`ndisc_send_ns`).
                    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        except BaseException:
            self.close()
            raise

    def full(self, name):
        """What `ip netns` calls a host."""
        return f"{self._prefix}{name}"

    def ip(self, name, *arguments):
        ip("-n", self.full(name), *arguments)

    def cable(self, one, other, number):
        """Lay a cable: `one` is 10.231.`number`.1 and fd00:`number`::1, `other` has .2 and ::2."""
        ends = (f"e{number}a", f"e{number}b")
        ip("link", "add", ends[0], "netns", self.full(one), "type", "veth", "peer", ends[1], "netns", self.full(other))
        for host, end, last in ((one, ends[0], 1), (other, ends[1], 2)):
            self.ip(host, "address", "add", f"10.231.{number}.{last}/24", "dev", end)
            self.ip(host, "address", "add", f"fd00:{number}::{last}/64", "dev", end, "nodad")
            self.ip(host, "link", "set", end, "up")

    def gateway(self, name, number):
        """Let what `name` sends elsewhere go to the first end of a cable."""
        self.ip(name, "route", "add", "default", "via", f"10.231.{number}.1")
        self.ip(name, "-6", "route", "add", "default", "via", f"fd00:{number}::1")

    def start(self, name, *command, **options):
        """Start a program there."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.full(name), *map(str, command)],
            env=os.environ | {"PATH": PATH, "PYTHONPATH": str(Path(__file__).parents[2])},
            **options,
        )

    def run(self, name, log, *arguments):
        """Start a command of ours there, which says all it says in one file."""
        if not can_stand_for({}):
            return self.start(name, *spectrum(*arguments), stdout=log, stderr=subprocess.STDOUT)
        with entered(self.full(name)):
            return Warm(list(map(str, arguments)), log, log, os.environ | {"PATH": PATH}, as_ip_netns=True)

    def call(self, name, *command, timeout_s=30, text=None, check=True):
        """Run a program there to its end; return what it printed."""
        if text is None and is_spectrum(command) and can_stand_for({}):
            return self._call_warm(name, command[len(spectrum()) :], timeout_s, check)
        process = self.start(
            name, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        printed, faults = process.communicate(text, timeout=timeout_s)
        assert not check or process.returncode == 0, (command, printed, faults)
        return printed

    def _call_warm(self, name, arguments, timeout_s, check):
        with TemporaryFile() as out, TemporaryFile() as err, entered(self.full(name)):
            process = Warm(list(map(str, arguments)), out, err, os.environ | {"PATH": PATH}, as_ip_netns=True)
            status = process.wait(timeout_s)
            out.seek(0)
            err.seek(0)
            assert not check or status == 0, (arguments, out.read(), err.read())
            return out.read().decode()

    def python(self, name, script, *arguments, **options):
        """Run a Python script there to its end; return what it printed."""
        return self.call(name, sys.executable, "-c", script, *arguments, **options)

    def close(self):
        for name in self._made:
            # Pins outlive it, and the host of a later test may have the same inode number.
            with suppress(PinError, TrialNetworkError), entered(self.full(name)):
                unload(folder_of(DEFAULT_FILESYSTEM))
            subprocess.run(["ip", "netns", "delete", self.full(name)], capture_output=True, timeout=20, check=False)


@pytest.fixture
def hosts(require):
    """A client "c", an edge "e" and an origin's machine "o", in a row."""
    require("ip", "nft")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    made = Hosts("c", "e", "o")
    made.cable("e", "c", 1)
    made.cable("e", "o", 2)
    yield made
    made.close()


@pytest.fixture
def start(hosts, tmp_path):
    """Start programs on a host; they end with the test, and their successors too; `start.printed` shows their logs."""
    running = []

    def begin(host, *command):
        log = (tmp_path / f"{host}-{len(running)}.log").open("wb")
        if is_spectrum(command):
            process = hosts.run(host, log, *command[len(spectrum()) :])
        else:
            process = hosts.start(host, *command, stdout=log, stderr=subprocess.STDOUT)
        running.append((process, log))
        begin.running = [process for process, _ in running]
        begin.last_printed = lambda: Path(log.name).read_text()
        begin.printed = lambda: "\n".join(Path(log.name).read_text() for _, log in running)
        return process

    yield begin
    for process, _ in reversed(running):
        process.send_signal(signal.SIGTERM)
    for process, log in running:
        stop(process)
        log.close()
    for _, log in running:
        end_those_of(Path(log.name))
        assert "Traceback" not in Path(log.name).read_text()


def stop(process):
    """End a program; a daemon that drains is told twice."""
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.3)
            return
        except subprocess.TimeoutExpired:
            pass
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def spectrum(*arguments):
    """The command line of a command of ours."""
    return sys.executable, "-m", "spectrum", *arguments


def is_spectrum(command):
    """Whether a command line is one of ours."""
    return command[: len(spectrum())] == spectrum()


def serves(control):
    """Whether a daemon serves."""
    try:
        status = ask(control, "GET", "/status")
        return bool(status["workers"]) and all(worker["ready"] for worker in status["workers"])
    except DaemonError:
        return False


def edge(start, tmp_path, text):
    """Run the daemon on the edge; return its control socket."""
    control = tmp_path / "edge.sock"
    (tmp_path / "edge.yaml").write_text(f"{text}\ncontrol: {{socket: {control}}}\n")
    start("e", *spectrum("run", "-c", tmp_path / "edge.yaml", "--workers", "2"))
    eventually(lambda: serves(control), 60, start.printed)
    return control
