"""Reloads and upgrades without processes, threads or memory: refused with a reason, nothing lost, and done later."""

import os
import resource
import signal
import socket
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spectrum.cli.client import ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually, port_of
from tests.engine.harness import listening as listen

PIDS = Path("/sys/fs/cgroup/pids")  # cgroup v1; in v2 it is a controller of each group
UNIFIED = Path("/sys/fs/cgroup")


@contextmanager
def no_more_processes(pid):
    """Let a process start neither processes nor threads (RLIMIT_NPROC does not bind root)."""
    version2 = (UNIFIED / "cgroup.controllers").exists()
    if not version2 and not PIDS.exists():
        pytest.skip("no pids controller")
    parent = UNIFIED if version2 else PIDS
    group = parent / f"spectrum-test-{os.getpid()}"
    try:
        if version2:
            (parent / "cgroup.subtree_control").write_text("+pids")
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"no control group can be made: {exc}")
    home = next(
        line.split(":", 2)[2]
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        if line.split(":")[1] == ("" if version2 else "pids")
    )
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        yield
    finally:
        (group / "pids.max").write_text("max")
        eventually(lambda: emptied(group, parent / home.strip("/")))


def emptied(group, home):
    """Move all processes of a control group to another one, and remove it; tell whether that is done."""
    for one in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (home / "cgroup.procs").write_text(one)
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def mapped_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@contextmanager
def no_more_memory(pid, room):
    """Let a process map hardly more memory than it has."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (mapped_bytes(pid) + room, before[1]))
    try:
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, resource.RLIMIT_AS, before)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def daemon(tmp_path, free_port):
    """A daemon with one app, `text` with one, `big` with thousands more, and what tells whether a client is served."""
    port = free_port()
    with listen() as origin:
        body = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{port_of(origin)}]"
        text = f"apps:\n  x: {{{body}}}\n"

        def serves():
            with socket.create_connection(("127.0.0.1", port), 5), origin.accept()[0]:
                return True

        with Daemon(tmp_path, text, workers=2) as made:
            made.text, made.serves = text, serves
            made.big = text + "".join(
                f"  a{n}: {{protocol: tcp/{port}, sni: [a{n}.example], edge_ips: [127.0.0.2],"
                f" origin_direct: [tcp://127.0.0.1:1]}}\n"
                for n in range(4000)
            )
            yield made


def upgrade(daemon):
    return ask(daemon.socket, "POST", "/upgrade", 60)["errors"]


def end(daemon):
    """End the successor that took over, which is no child of the test's."""
    eventually(lambda: daemon.status()["pid"] != daemon.process.pid)
    os.kill(daemon.status()["pid"], signal.SIGTERM)
    assert daemon.process.wait(20) == 0


def test_without_processes(daemon):
    pid = daemon.process.pid
    assert daemon.reload() == []
    with no_more_processes(pid):
        before = descriptors(pid)
        (error,) = upgrade(daemon)
        assert "resource temporarily unavailable" in error
        assert daemon.reload() == []
        eventually(lambda: descriptors(pid) <= before)
        assert daemon.serves()
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)
        eventually(lambda: any("temporarily unavailable" in pause["why"] for pause in daemon.status()["pauses"]))
    eventually(lambda: len(daemon.worker_pids()) == 2)
    assert upgrade(daemon) == []
    end(daemon)


def test_without_memory(daemon):
    pid = daemon.process.pid
    assert daemon.reload() == []
    before = descriptors(pid)
    daemon.write(daemon.big)
    with no_more_memory(pid, 4 << 20):
        (error,) = daemon.reload()
        assert error in (
            "there is not enough memory for it",
            "no thread can be started: out of memory, or at the limit of processes",
        )
        assert daemon.serves()
    assert len(daemon.status()["apps"]) == 1
    assert f"reload refused: {error}" in daemon.messages()
    with no_more_memory(pid, -mapped_bytes(pid) + (2 << 20)):
        (error,) = upgrade(daemon)  # what is started has no room to begin
        assert "ended at once" in error or "cannot allocate memory" in error
        assert daemon.serves()
    eventually(lambda: descriptors(pid) <= before)
    assert daemon.reload() == []
    assert len(daemon.status()["apps"]) == 4001
    daemon.write(daemon.text)
    assert upgrade(daemon) == []
    end(daemon)
