"""Starts and reloads that fail; everything else about the supervisor is in tests/e2e/test_daemon.py."""

import asyncio
import socket
import subprocess
import sys

import pytest

from spectrum.control import supervisor
from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.records.totals import Totals
from spectrum.control.supervisor import StartError, Supervisor
from spectrum.core.records.measures import WorkerMeasures
from spectrum.link.takeover import Measures
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Tasks
from tests.control.keepers import until


def config(port, tmp_path):
    return load_text(
        f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}",
        "x",
    )


async def test_workers_that_do_not_start_are_told(tmp_path, free_port, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no engine here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(broken))
    refusing = Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1)
    monkeypatch.setattr(refusing._bank, "open", lambda *_: pytest.fail("a port is opened that nobody serves"))
    with pytest.raises(StartError, match="workers end as soon as they start\nworker 0: exit status 3: no engine here"):
        await refusing.run()
    assert not (tmp_path / "control.sock").exists()


async def test_workers_that_do_not_answer_are_told(tmp_path, free_port, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(silent))
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.3)
    with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
        await Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1).run()


async def test_who_asks_while_it_starts_is_answered(tmp_path, free_port, monkeypatch):
    """A silent name server, or thousands of listeners, make a start last; the control socket is there first."""
    text = (
        "pools: {p: {origins: [{name: o, address: 127.0.0.1, port: 1}]}}\nload_balancers: {b: {default_pools: [p]}}\n"
        f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], load_balancer: b}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}"
    )
    running = Supervisor(tmp_path / "f", load_text(text, "x"), workers=1)
    reached, asked = asyncio.Event(), asyncio.Event()

    async def slow(names):
        reached.set()
        await asked.wait()

    monkeypatch.setattr(running._names, "watch", slow)
    daemon = Tasks().start(running.run(), "daemon")
    await reached.wait()
    status = await running.status()
    assert (status["generation"], status["pools"], status["apps"]) == (0, [], [])
    assert b"spectrum_build_info" in await running.render()
    with pytest.raises(ValueError, match="not serving yet"):
        running.explain("x", "192.0.2.1", 0)
    assert (await running.reloads.reload()).errors == ["the daemon is not serving yet"]
    asked.set()
    await until(running.ready)
    await until(lambda: running._served.is_live)
    assert [pool["name"] for pool in (await running.status())["pools"]] == ["p"]
    running._stop()
    await daemon


async def test_a_worker_that_does_not_watch_a_listener_is_not_ready(tmp_path, free_port):
    running = Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1)
    memory = SharedMemory(1, 64)
    fleet = running._fleet = Fleet(tmp_path, 1, memory, Totals(), print, print, lambda: 0.0)
    memory.close()
    worker = fleet.workers[0] = WorkerProcess(0, fleet._heard, print, tmp_path / "control.sock")
    worker.life.tell(1)
    worker.life.answer(1)
    for deaf in (0, 2, 0):
        fleet._heard(worker, Measures(0, False, {}, WorkerMeasures(), 0, False, deaf=deaf))
        assert running.ready() == (not deaf)
        assert fleet.status()[0]["deaf"] == deaf


def test_shared_listeners_are_warned_of(tmp_path, free_port):
    """With fewer descriptors than listeners times workers, all workers share one socket each, and both serve."""
    ports = [free_port() for _ in range(100)]
    apps = "".join(
        f"  a{p}: {{protocol: tcp/{p}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}\n" for p in ports
    )
    path = tmp_path / "f.yaml"
    path.write_text(f"apps:\n{apps}control: {{socket: {tmp_path}/control.sock}}\n")
    shell = f"ulimit -n 300; exec {sys.executable} -m spectrum run -c {path} --workers 2"
    daemon = subprocess.Popen(["sh", "-c", shell], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        told = daemon.stderr.readline() + daemon.stderr.readline()
        assert "workers share each listener" in told
        assert "serving 100 apps" in told
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", ports[50]), 5) as sock:
            sock.recv(1)  # served: there is no origin
    finally:
        daemon.terminate()
        daemon.communicate(timeout=10)
    assert daemon.returncode == 0
