"""The daemon among other processes: signals, a hostile current folder, a package that changes, a container."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spectrum.cli.client import DaemonError, ask
from spectrum.kernel import signals
from tests.e2e.daemon import children_of
from tests.e2e.test_surroundings import greeter, visit
from tests.engine.harness import eventually

ROOT = Path(__file__).parents[2]
# What the interpreter, the daemon or a worker imports.
HOSTILE = ("spectrum", "uvloop", "asyncio", "msgspec.py", "sitecustomize.py", "json", "spectrum_edge.py", "runpy.py")
RUN = (sys.executable, "-m", "spectrum", "run")
COMMAND = Path(sys.executable).with_name("spectrum")


class Edge:
    """A daemon, however it is started, before an origin that says hi."""

    def __init__(self, folder, port, origin):
        self.port, self.control, self.path = port, folder / "control.sock", folder / "spectrum.yaml"
        self.errors = folder / "err.log"
        self.path.write_text(
            f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}\n"
            f"control: {{socket: {self.control}}}\nworkers: 1\n"
        )

    @contextmanager
    def running(self, *command, **options):
        """Run `spectrum run` by a command that ends so; yield its process once it serves."""
        with self.errors.open("ab") as errors:
            options = {"stdout": subprocess.DEVNULL, "stderr": errors} | options
            process = subprocess.Popen([*map(str, command), "-c", str(self.path)], **options)
        try:
            eventually(self.serves, 60, self.messages)
            yield process
        finally:
            self.stop(process)

    def stop(self, process):
        for _ in range(2):  # the second one ends what is open
            if status := self.status():
                os.kill(status["pid"], signal.SIGTERM)
                time.sleep(0.05)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def status(self):
        try:
            return ask(self.control, "GET", "/status")
        except DaemonError:
            return {}

    def serves(self):
        status = self.status()
        return status.get("generation") and [one["ready"] for one in status["workers"] if "relieved" not in one] == [
            True
        ]

    def worker(self):
        return next(one["pid"] for one in self.status()["workers"] if "relieved" not in one)

    def messages(self):
        return self.errors.read_text()

    def replace_worker(self):
        before = self.worker()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.serves() and self.worker() != before, 20, self.messages)


@pytest.fixture
def edge(tmp_path, free_port):
    with greeter() as origin:
        yield Edge(tmp_path, free_port(), origin)


def test_signals_without_a_meaning(edge):
    """To supervisor, worker and the whole group, while it serves and while it starts; and those of a terminal."""
    with (
        edge.running(*RUN, start_new_session=True) as process,
        socket.create_connection(("127.0.0.1", edge.port)) as one,
    ):
        assert one.recv(2) == b"hi"
        worker = edge.worker()
        spare = {*signals.SPARE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGPIPE, signal.SIGURG}
        for number in spare:
            os.killpg(process.pid, number)
        for number in (*signals.OF_TERMINAL, signal.SIGTERM):  # SIGTERM as systemd sends it to a whole control group
            os.kill(worker, number)
        eventually(lambda: all(f"{signals.name(number)} has no meaning" in edge.messages() for number in signals.SPARE))
        visit(edge.port)
        assert (edge.status()["pid"], edge.worker()) == (process.pid, worker)
        # A worker that begins is not met by any.
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            for pid in children_of(process.pid):
                for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
                    os.kill(pid, number)
            time.sleep(0.01)
        eventually(edge.serves, 10, edge.messages)
        visit(edge.port)
        assert edge.messages().count("replacing it") == 1, edge.messages()
        # The main thread alone gets signals: what it holds back is held back.
        for pid in (process.pid, edge.worker()):
            threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
            assert [thread for thread in threads if not _is_held(thread, signal.SIGTERM)] == [pid]
        # SIGQUIT drains, as SIGTERM does.
        os.killpg(process.pid, signal.SIGQUIT)
        assert process.wait(10) == 0
    assert "Traceback" not in edge.messages()


def test_a_group_that_is_told_to_end_drains(edge):
    """`timeout`, and a unit with KillMode=control-group, send SIGTERM to workers too: their sessions go on."""
    with edge.running(*RUN, start_new_session=True) as process:
        with socket.create_connection(("127.0.0.1", edge.port)) as one:
            assert one.recv(2) == b"hi"
            os.killpg(process.pid, signal.SIGTERM)
            eventually(lambda: "SIGTERM is left to the supervisor" in edge.messages(), 10, edge.messages)
            assert one.recv(2) == b""
            assert process.poll() is None
        assert process.wait(10) == 0


def test_signals_while_it_starts(edge):
    """SIGHUP waits for the start's end; the rest does nothing."""
    with edge.errors.open("wb") as errors:
        process = subprocess.Popen([*RUN, "-c", str(edge.path)], stdout=subprocess.DEVNULL, stderr=errors)
    try:
        eventually(lambda: _is_held(process.pid, signal.SIGHUP), 10)
        while not edge.control.exists():
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN):
                process.send_signal(number)
            time.sleep(0.005)
        eventually(lambda: "reloaded: generation 2" in edge.messages(), 10, edge.messages)
    finally:
        process.send_signal(signal.SIGQUIT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    "delay_s", [0.2, pytest.param(0.0, marks=pytest.mark.slow), pytest.param(0.5, marks=pytest.mark.slow)]
)
def test_told_to_end_during_an_upgrade(edge, delay_s):
    """Whenever it comes: to the old supervisor, or through it to the new one. Nobody serves afterwards."""
    with edge.running(*RUN, start_new_session=True) as process:
        upgrade = subprocess.Popen(
            [sys.executable, "-m", "spectrum", "upgrade", "--socket", edge.control],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with upgrade:
            eventually(lambda: len(children_of(process.pid)) > 1, 10)  # the successor
            time.sleep(delay_s)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
                if process.poll() is None:
                    assert process.wait(10) == 0
                    eventually(lambda: not _group(process.pid), 10, lambda: (edge.messages(), _group(process.pid)))
            upgrade.kill()
    assert "Traceback" not in edge.messages()


def _group(leader):
    """Processes of a process group, without zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(path.parent.name)
    return found


def _is_held(pid, number):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["SigBlk"], 16) >> (number - 1) & 1


@pytest.mark.parametrize("closed", [pytest.param("<&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_closed_descriptors(edge, closed):
    with edge.running("sh", "-c", f'exec "$@" {closed}', "sh", *RUN):
        visit(edge.port)
        edge.replace_worker()
        visit(edge.port)


@pytest.fixture
def hostile(tmp_path):
    """A folder with modules that leave a file when they are run, and what tells which did."""
    folder, traces = tmp_path / "hostile", tmp_path / "traces"
    traces.mkdir()
    for name in HOSTILE:
        path = folder / name if name.endswith(".py") else folder / name / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(traces / name)!r}, 'w').close()\nraise SystemExit('hostile {name}')\n")
    for module in ("__main__.py", "cli/__init__.py", "cli/main.py", "plane/__init__.py", "plane/worker.py"):
        path = folder / "spectrum" / module
        path.parent.mkdir(exist_ok=True)
        path.write_text((folder / "spectrum" / "__init__.py").read_text())
    return folder, lambda: sorted(os.listdir(traces))


@pytest.mark.parametrize(
    "by",
    [(COMMAND,), pytest.param((sys.executable, "-m", "spectrum"), marks=pytest.mark.slow)],
    ids=["command", "module"],
)
def test_a_hostile_current_folder(edge, hostile, by):
    """Of the daemon, and of who asks it. `python -m` itself looks there: it is not to find `spectrum` and `runpy`."""
    folder, ran = hostile
    if len(by) > 1:
        shutil.rmtree(folder / "spectrum")
        (folder / "runpy.py").unlink()
    with edge.running(*by, "run", cwd=folder):
        edge.replace_worker()
        for options in ([], ["--python", sys.executable]):
            upgrade = subprocess.run(
                [*by, "upgrade", "--socket", edge.control, *options], cwd=folder, capture_output=True, text=True
            )
            assert upgrade.returncode == 0, upgrade.stderr
            eventually(edge.serves, 20, edge.messages)
        edge.replace_worker()
        visit(edge.port)
    for command in ("check", "doctor"):
        done = subprocess.run([*by, command, "-c", edge.path], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert ran() == []
    assert "Traceback" not in edge.messages()


@pytest.fixture
def installed(tmp_path):
    """A copy of the package that can be changed; processes find it by PYTHONPATH."""
    folder = tmp_path / "site"
    shutil.copytree(ROOT / "spectrum", folder / "spectrum", ignore=shutil.ignore_patterns("*.c", "*.pyx", "build"))
    return folder


def test_a_package_that_is_changed_under_it(edge, installed):
    """No worker runs another version's code than its supervisor; an upgrade ends that."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    with edge.running(*RUN, env=environment, cwd=installed):
        eventually(lambda: '"Message":"serving' in edge.messages(), 10, edge.messages)  # the start is over
        module = installed / "spectrum" / "plane" / "worker.py"
        module.write_text(f"open({str(installed / 'ran')!r}, 'w').close()\n{module.read_text()}")
        os.kill(edge.worker(), signal.SIGKILL)
        eventually(lambda: "the installed package was changed" in edge.messages(), 10, edge.messages)
        assert not (installed / "ran").exists()
        assert ask(edge.control, "POST", "/upgrade")["errors"] == []
        eventually(lambda: (installed / "ran").exists() and edge.serves(), 20, edge.messages)
        visit(edge.port)


def test_as_the_first_process_of_a_container(edge):
    """Upgrades follow one another below it, and orphans of others are reaped."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    first = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *RUN]
    # Its process ids are of its own namespace.
    with edge.errors.open("wb") as errors:
        process = subprocess.Popen([*first, "-c", str(edge.path)], stdout=subprocess.DEVNULL, stderr=errors)
    try:
        eventually(edge.serves, 20, edge.messages)
        (pid,) = children_of(process.pid)
        before = edge.status()["pid"]
        inside = ["nsenter", "--target", str(pid), "--pid", "--mount"]
        upgrade = [*inside, sys.executable, "-m", "spectrum", "upgrade", "--socket", edge.control]
        for _ in range(2):
            done = subprocess.run(upgrade, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            eventually(edge.serves, 20, edge.messages)
            visit(edge.port)
        assert edge.status()["pid"] not in (1, before)
        subprocess.run([*inside, "sh", "-c", "(sleep 0.05 &)"], check=True)
        eventually(lambda: "Z" not in _states(pid))
        os.kill(pid, signal.SIGHUP)
        eventually(lambda: "reloaded: generation 2" in edge.messages(), 10, edge.messages)
        os.kill(pid, signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in edge.messages()


def _states(pid):
    return {Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children_of(pid)}
