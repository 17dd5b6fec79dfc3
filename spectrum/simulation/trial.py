"""A simulation: an edge in its own network namespace, or the one on this machine's loopback, with normal traffic and a
flood. Its results are reported while it runs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError
from spectrum.simulation.flooding import READY, FloodPlan
from spectrum.simulation.network import (
    CLIENT_LINK,
    CLIENTS_4,
    EDGE_LINK,
    TrialNetwork,
    edge_addresses,
    entered,
)
from spectrum.simulation.probes import ProbePlan

LOOK_EVERY_S = 0.1
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0
# Learning time of a trial, from its own normal traffic.
LEARNING = "300ms"
# The user of detection if the file names none.
NOBODY = "nobody"
# Counters of passed packets, or not of packets at all.
NOT_DROPPED = ("passed", "guarded", "samples_lost", "looks_lost")
# Sections of a file that protect an app; the others are not used in a trial.
PROTECTION = ("ddos", "filter", "rulesets", "udp", "workers")


class TrialError(Exception):
    """A trial cannot be run; the message has the reason."""


@dataclass(frozen=True, slots=True)
class TrialApp:
    """The app under test.

    Attributes:
        name: Its name.
        transport: tcp or udp.
        ports: Its first and last port.
    """

    name: str
    transport: str
    ports: tuple[int, int]


@dataclass(slots=True)
class TrialProgress:
    """The state at one moment.

    Attributes:
        after_s: Seconds since the begin of the flood; negative before.
        sent: Frames of the flood.
        counts: Packets by list, rule and other result, since the begin.
        good: The counts of normal traffic since the begin: see `Probed`.
        trips_s: Recent round trips of established sessions, in seconds.
    """

    after_s: float
    sent: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    good: Mapping[str, int] = field(default_factory=dict)
    trips_s: list[float] = field(default_factory=list)

    def dropped(self, passed: Mapping[str, int] | None = None) -> dict[str, int]:
        """Return the number of packets that the filter dropped, by result.

        Args:
            passed: How many of each result are not among them: rules with the action `log` only count.
        """
        found, passed = self.counts.items(), passed or {}
        return {name: number - passed.get(name, 0) for name, number in found if name not in NOT_DROPPED}


def trial_file(value: Mapping[str, Any], app: TrialApp, folder: Path, origin_port: int) -> dict[str, Any]:
    """Return the configuration of a trial's edge: the app alone, with its protection, and an origin of the trial.

    Args:
        value: The operator's file, as parsed YAML.
        app: The app in it.
        folder: The folder for the edge's state.
        origin_port: The port of the origin on 127.0.0.1.

    Raises:
        TrialError: If nothing in the file would drop packets.
    """
    kept = {name: value[name] for name in PROTECTION if name in value}
    detects = kept.get("ddos") not in (None, False)
    if kept.get("filter"):
        kept["filter"] = dict(kept["filter"]) | {"interfaces": [EDGE_LINK]}
    elif not detects:
        raise TrialError(
            "the file has neither filter nor ddos, so nothing would be dropped: add `ddos: {}`, or see docs/filter.md"
        )
    if detects:
        given = kept["ddos"] if isinstance(kept["ddos"], dict) else {}
        user = given.get("user") or value.get("user") or NOBODY
        kept["ddos"] = given | {"learning_time": LEARNING, "store": str(folder / "learned"), "user": user}
    own = {name: part for name, part in value["apps"][app.name].items() if name in ("limits", "timeouts", "udp")}
    own |= {"protocol": value["apps"][app.name]["protocol"], "proxy_protocol": "off"}
    own["origin_direct"] = [f"{app.transport}://127.0.0.1:{origin_port}"]
    return kept | {
        "apps": {app.name: own},
        "control": {"socket": str(folder / "control.sock")},
        "drain_timeout": "100ms",
    }


@dataclass(frozen=True, slots=True)
class Where:
    """The network of a trial.

    Attributes:
        edge: The namespace of the edge; empty for the current one.
        clients: That of the clients, likewise.
        interface: The interface of the flood.
        link: Link addresses: the edge's, then the clients'.
        four: The app's IPv4 address.
        six: Its IPv6 address, or None.
        sources: Addresses of normal clients.
    """

    edge: str
    clients: str
    interface: str
    link: bytes
    four: str
    six: str | None
    sources: list[str]


def on_loopback() -> Where:
    """Return the loopback of this machine."""
    return Where("", "", "lo", bytes(12), "127.0.0.1", "::1", [])


def in_namespaces(network: TrialNetwork) -> Where:
    """Return the namespaces of a trial."""
    four, six = edge_addresses()
    sources = [str(one.ip) for one in CLIENTS_4]
    return Where(network.edge, network.clients, CLIENT_LINK, network.link_addresses(), str(four), str(six), sources)


class Trial:
    """Runs a flood and normal traffic against an edge; a context manager that ends all its processes.

    Args:
        where: The network.
        app: The app.
        filesystem: The BPF file system of the edge.
    """

    def __init__(self, where: Where, app: TrialApp, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        self._where = where
        self._app = app
        self._filesystem = filesystem
        self._stack = ExitStack()
        self._processes: list[subprocess.Popen[str]] = []
        self._followers: list[threading.Thread] = []
        cores = sorted(os.sched_getaffinity(0))
        # The flood has a core for itself, if there are several.
        self._flood_core, self._other_cores = cores[0], set(cores[1:]) or set(cores)

    @property
    def cores(self) -> str:
        """The cores of the flood and of the rest, as text."""
        if self._flood_core in self._other_cores:
            return (
                f"one core ({self._flood_core}) for the flood and the edge: what it does to normal traffic is too much"
            )
        others = ", ".join(map(str, sorted(self._other_cores)))
        return f"core {self._flood_core} sends and filters the flood, {others} has edge, origin and normal traffic"

    def serve(self, text: str, folder: Path) -> Path:
        """Start an edge with a file, and an origin; return the edge's control socket when it serves.

        Raises:
            TrialError: If it does not serve.
        """
        path, log = folder / "trial.yaml", folder / "edge.log"
        path.write_text(text)
        printed = self._stack.enter_context(log.open("w"))
        command = ["-m", "spectrum", "run", "-c", str(path), "--workers", "1"]
        env = os.environ | {"STATE_DIRECTORY": str(folder)}
        edge = self._start(self._where.edge, command, stdout=subprocess.DEVNULL, stderr=printed, env=env)
        deadline = time.monotonic() + START_TIMEOUT_S
        while "serving" not in log.read_text():
            if edge.poll() is not None or time.monotonic() > deadline:
                raise TrialError(f"the edge of the trial does not serve:\n{log.read_text().strip()}")
            time.sleep(0.05)
        return folder / "control.sock"

    def start_origin(self, port: int) -> None:
        """Start an echo server as origin."""
        command = ["-m", "spectrum.simulation.echo", f"{self._app.transport}/{port}"]
        self._start(self._where.edge, command)

    def run(
        self, plan: FloodPlan, quiet_s: float, after_s: float, counts: Callable[[], Mapping[str, int]] | None = None
    ) -> Iterator[TrialProgress]:
        """Run normal traffic, after a while also the flood, and report ten times a second.

        Args:
            plan: The flood; interface, link, addresses, ports and core are filled in.
            quiet_s: The seconds of normal traffic before it.
            after_s: The seconds after it.
            counts: Returns packets by rule since the trial began, if not the filter drops.

        Raises:
            TrialError: If a process ends with an error.
        """
        where = self._where
        plan = msgspec.structs.replace(
            plan,
            interface=where.interface,
            link=where.link,
            four=where.four,
            six=where.six,
            ports=self._app.ports,
            core=self._flood_core,
        )
        flood = self._start(
            where.clients,
            ["-m", "spectrum.simulation.flooding", msgspec.json.encode(plan).decode()],
            cores={self._flood_core},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert flood.stdout is not None, "asked for"
        assert flood.stderr is not None, "asked for"
        assert flood.stdin is not None, "asked for"
        if flood.stdout.readline().strip() != READY:
            *_, why = ["its process was ended", *flood.stderr.read().strip().splitlines()]
            raise TrialError(f"the flood cannot be made: {why}")
        probe = ProbePlan(
            self._app.transport,
            where.four,
            self._app.ports[0],
            where.sources,
            quiet_s + plan.seconds + after_s,
        )
        probes = self._start(
            where.clients,
            ["-m", "spectrum.simulation.probes", msgspec.json.encode(probe).decode()],
            stdout=subprocess.PIPE,
        )
        look = TrialProgress(-quiet_s)
        self._follow(flood, lambda line: setattr(look, "sent", int(line)))
        telling = self._follow(probes, lambda line: _take_good(look, json.loads(line)))
        began = time.monotonic() + quiet_s
        is_begun = False
        counts = counts or self._counters()
        while probes.poll() is None:
            look.after_s = time.monotonic() - began
            if not is_begun and look.after_s >= 0:
                is_begun = True
                flood.stdin.write("\n")
                flood.stdin.flush()
            look.counts = counts()
            yield look
            time.sleep(LOOK_EVERY_S)
        telling.join()  # requests in flight have come back by now, or are lost
        look.after_s, look.counts = time.monotonic() - began, counts()
        yield look
        if probes.returncode:
            raise TrialError("the normal traffic ended with an error")

    def _follow(self, process: "subprocess.Popen[str]", take: Callable[[str], None]) -> threading.Thread:
        def follow() -> None:
            assert process.stdout is not None, "asked for"
            for line in process.stdout:
                take(line)

        self._followers.append(threading.Thread(target=follow, daemon=True))
        self._followers[-1].start()
        return self._followers[-1]

    def _counters(self) -> Callable[[], Mapping[str, int]]:
        """Return a function that returns packets by list, rule and other result since now."""
        with entered(self._where.edge) if self._where.edge else nullcontext():  # the folder belongs to the namespace
            try:
                pinned = self._stack.enter_context(PinnedFilter(self._filesystem))
            except PinError as exc:
                raise TrialError(f"the filter of the edge is not there: {exc}") from exc
        before = {name: packets for name, (packets, _) in pinned.counts().items()}
        return lambda: {name: packets - before.get(name, 0) for name, (packets, _) in pinned.counts().items()}

    def _start(
        self, namespace: str, arguments: list[str], cores: set[int] | None = None, **options: Any
    ) -> "subprocess.Popen[str]":
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores or self._other_cores)
        try:
            with entered(namespace) if namespace else nullcontext():
                process = subprocess.Popen([sys.executable, *arguments], text=True, **options)
        finally:
            os.sched_setaffinity(0, mine)
        self._processes.append(process)
        return process

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(END_TIMEOUT_S / 5)
            except subprocess.TimeoutExpired:
                process.terminate()  # the second signal ends draining sessions
                try:
                    process.wait(END_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for thread in self._followers:
            thread.join()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
        self._stack.close()


def _take_good(look: TrialProgress, said: dict[str, Any]) -> None:
    look.trips_s = said.pop("trips_s")
    said.pop("opening_s")
    look.good = said


class TrialFolder:
    """A folder of a trial, removed at its end."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="spectrum-trial-"))
        self._path.chmod(0o755)  # detection runs as another user
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
