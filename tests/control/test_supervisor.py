"""Starts that fail; everything else about the supervisor is in tests/e2e/test_daemon.py."""

import socket
import subprocess
import sys

import pytest

from spectrum.control import supervisor
from spectrum.control.fleet import Fleet
from spectrum.control.loader import load_text
from spectrum.control.supervisor import StartError, Supervisor
from spectrum.control.totals import Totals
from spectrum.control.workers import WorkerProcess
from spectrum.core.measures import WorkerMeasures
from spectrum.plane.channel import Measures
from spectrum.plane.memory import SharedMemory


def config(port, tmp_path):
    return load_text(
        f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}",
        "x",
    )


async def test_workers_that_do_not_start_are_told(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(supervisor.sys, "executable", "/bin/false")
    with pytest.raises(StartError, match="workers end as soon as they start"):
        await Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1).run()
    assert not (tmp_path / "control.sock").exists()


async def test_workers_that_do_not_answer_are_told(tmp_path, free_port, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(silent))
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.3)
    with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
        await Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1).run()


async def test_a_worker_that_does_not_watch_a_listener_is_not_ready(tmp_path, free_port):
    running = Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1)
    memory = SharedMemory(1, 64)
    fleet = running._fleet = Fleet(tmp_path, 1, memory, Totals(), print, print, lambda: 0.0)
    memory.close()
    worker = fleet.workers[0] = WorkerProcess(0, fleet._heard, print, tmp_path / "control.sock")
    worker.ready.set()
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
