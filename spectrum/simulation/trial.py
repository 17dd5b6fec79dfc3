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
# Of detection in a trial: it learns from the trial's own normal traffic.
LEARNING = "300ms"
# What detection becomes where the file names no user.
NOBODY = "nobody"
# What passes, or is no packet's fate.
NOT_DROPPED = ("passed", "guarded", "samples_lost", "looks_lost")
# Sections of a file that what protects it is in; the rest of it is of no use in a trial.
PROTECTION = ("ddos", "filter", "rulesets", "udp", "workers")


class TrialError(Exception):
    """A trial cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class TrialApp:
    """The app that is tried.

    Attributes:
        name: Its name.
        transport: tcp or udp.
        ports: Its first and last port.
    """

    name: str
    transport: str
    ports: tuple[int, int]


@dataclass(slots=True)
class Look:
    """What is so at one moment.

    Attributes:
        after_s: Since the flood began; negative before.
        sent: Frames of the flood.
        counts: Packets by list, rule and other result, since the beginning.
        good: The counts of normal traffic since the beginning: see `Probed`.
        trips_s: Round trips of established sessions, lately.
    """

    after_s: float
    sent: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    good: Mapping[str, int] = field(default_factory=dict)
    trips_s: list[float] = field(default_factory=list)

    def dropped(self, logs: frozenset[str] = frozenset()) -> int:
        """Return how many packets the filter dropped; `logs` are rules that only count."""
        return sum(number for name, number in self.counts.items() if name not in NOT_DROPPED and name not in logs)


def trial_file(value: Mapping[str, Any], app: TrialApp, folder: Path, origin_port: int) -> dict[str, Any]:
    """Return the configuration of a trial's edge: the app alone, what protects it, and an origin of its own.

    Args:
        value: The operator's file, as YAML has it.
        app: Which app of it.
        folder: Where the edge keeps what it keeps.
        origin_port: Where the origin listens on 127.0.0.1.

    Raises:
        TrialError: If nothing in the file would drop anything.
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
    """Between whom the trial is.

    Attributes:
        edge: The namespace of the edge; empty for this one.
        clients: That of everybody else, likewise.
        interface: Where the flood goes out.
        link: Addresses of the link: the edge's, then the clients'.
        four: The app's IPv4 address.
        six: Its IPv6 address, or None.
        sources: Addresses of good clients.
    """

    edge: str
    clients: str
    interface: str
    link: bytes
    four: str
    six: str | None
    sources: list[str]


def on_loopback() -> Where:
    """Return this machine's loopback."""
    return Where("", "", "lo", bytes(12), "127.0.0.1", "::1", [])


def in_namespaces(network: TrialNetwork) -> Where:
    """Return the namespaces of a trial."""
    four, six = edge_addresses()
    sources = [str(one.ip) for one in CLIENTS_4]
    return Where(network.edge, network.clients, CLIENT_LINK, network.link_addresses(), str(four), str(six), sources)


class Trial:
    """Runs a flood and normal traffic against an edge; `with` ends all that it started.

    Args:
        where: Between whom.
        app: Which app.
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
        # The flood has a core for itself, where there are several.
        self._flood_core, self._other_cores = cores[0], set(cores[1:]) or set(cores)

    @property
    def cores(self) -> str:
        """Which cores the flood and all the rest have, in words."""
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
        """Start an origin that echoes."""
        command = ["-m", "spectrum.simulation.echo", f"{self._app.transport}/{port}"]
        self._start(self._where.edge, command)

    def run(
        self, plan: FloodPlan, quiet_s: float, after_s: float, counts: Callable[[], Mapping[str, int]] | None = None
    ) -> Iterator[Look]:
        """Let normal traffic come, after a while the flood as well, and look ten times a second.

        Args:
            plan: The flood; interface, link, addresses, ports and core are filled in.
            quiet_s: How long there is normal traffic alone, before it.
            after_s: And behind it.
            counts: Returns packets by rule since the trial began, where it is not the filter that drops.

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
        look = Look(-quiet_s)
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
        telling.join()  # what was under way has come back by now, or is lost
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
        """Return what gives packets by list, rule and other result since now."""
        with entered(self._where.edge) if self._where.edge else nullcontext():  # the folder is the namespace's
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
                process.terminate()  # the second one ends what still drains
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


def _take_good(look: Look, said: dict[str, Any]) -> None:
    look.trips_s = said.pop("trips_s")
    said.pop("opening_s")
    look.good = said


class TrialFolder:
    """A folder of a trial, removed at its end."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="spectrum-trial-"))
        self._path.chmod(0o755)  # detection is another user's process
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
