import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from spectrum.control.processes.systemd import Notifier
from spectrum.tasks import Tasks
from tests.e2e.daemon import Daemon
from tests.e2e.programs import run


@pytest.fixture
def systemd(tmp_path):
    """systemd's end, and the environment that it gives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_states(systemd):
    sock, environment = systemd
    notifier = Notifier(environment)
    notifier.ready("3 apps")
    assert sock.recv(100) == b"READY=1\nSTATUS=3 apps"
    notifier.reloading()
    assert sock.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    notifier.stopping("draining")
    assert sock.recv(100) == b"STOPPING=1\nSTATUS=draining"
    notifier.followed_by(77)
    assert sock.recv(100) == b"MAINPID=77"


def test_an_abstract_socket():
    name = f"spectrum-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("x")
        assert sock.recv(100) == b"READY=1\nSTATUS=x"


async def test_the_watchdog(systemd):
    sock, environment = systemd
    tasks = Tasks()
    tasks.start(Notifier(environment | {"WATCHDOG_USEC": "100000"}).feed_watchdog(), "watchdog")
    await asyncio.sleep(0.25)
    await tasks.stop()
    sock.setblocking(False)
    assert [sock.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}])
async def test_no_watchdog_of_ours(systemd, more):
    sock, environment = systemd
    await asyncio.wait_for(Notifier(environment | more).feed_watchdog(), 1)
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_no_watchdog_requested(caplog):
    Notifier({}).ready("x")
    assert caplog.text == ""
    Notifier({"NOTIFY_SOCKET": "/nowhere/notify"}).ready("x")
    assert "systemd is not notified of READY=1" in caplog.text


def test_the_unit_that_we_ship(tmp_path, require):
    require("systemd-analyze")
    unit = (Path(__file__).parents[3] / "config" / "spectrum.service").read_text()
    # A program that is there.
    (tmp_path / "spectrum.service").write_text(unit.replace("/opt/spectrum/bin/spectrum", sys.executable))
    verified = run("systemd-analyze", "verify", tmp_path / "spectrum.service")
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=30", tmp_path / "spectrum.service")
    assert rated.returncode == 0, rated.stdout


def test_the_daemon_tells_what_it_does(systemd, tmp_path, free_port):
    sock, environment = systemd
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text, env=environment | {"WATCHDOG_USEC": "60000000"}) as daemon:
        assert sock.recv(100) == b"READY=1\nSTATUS=serving 1 apps, generation 1"
        assert sock.recv(100) == b"WATCHDOG=1"
        assert daemon.reload() == []
        assert sock.recv(100).startswith(b"RELOADING=1\n")
        assert sock.recv(100) == b"READY=1\nSTATUS=serving 1 apps, generation 2"
        daemon.write("apps: {}")
        assert daemon.reload()
        assert sock.recv(100).startswith(b"RELOADING=1\n")
        assert sock.recv(100) == b"READY=1\nSTATUS=serving 1 apps, generation 2"
    assert sock.recv(100) == b"STOPPING=1\nSTATUS=draining for up to 30 s"
