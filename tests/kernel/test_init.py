"""The parent of a container's daemon, in a PID namespace where it is the first process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum.kernel import init

PARENT = """
import os, signal, sys, time
from spectrum.kernel import init
assert init.is_needed() or len(sys.argv) > 1
init.become_parent()
assert not init.is_needed()
"""
ECHO_SIGNALS = """
numbers = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 2}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while (number := signal.sigwait(numbers)) != signal.SIGTERM:
    print(int(number), flush=True)
sys.exit(7)
"""
FOLLOWED = """
reading, writing = os.pipe()
follower = os.fork()
if not follower:
    os.read(reading, 1)  # until the other is gone
    os.close(writing)
    while os.read(reading, 1):
        pass
    while os.getppid() != 1:
        time.sleep(0.01)
    print("following", flush=True)
    time.sleep(0.1)
    sys.exit(9)
os.write(writing, b"x")
assert init.followed_by(follower)
os._exit(0)
"""
ORPHANS = """
for _ in range(20):
    if not os.fork():
        if not os.fork():
            time.sleep(0.05)
        os._exit(0)
    os.wait()
time.sleep(0.3)
for _ in range(100):
    found = [name for name in os.listdir("/proc") if name.isdigit()]
    if len(found) == 2:
        break
    time.sleep(0.02)
sys.exit(len(found))
"""
PASSED = """
assert os.environ["LISTEN_PID"] == os.environ["WATCHDOG_PID"] == str(os.getpid()) != "1", os.environ
def is_open(name):
    try:
        return "socket" in os.readlink(f"/proc/1/fd/{name}")
    except FileNotFoundError:
        return False
while any(map(is_open, os.listdir("/proc/1/fd"))):  # the parent closes them after the fork
    time.sleep(0.01)
"""


@pytest.fixture
def first():
    """Starts a script as the first process of a PID namespace."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")

    def start(script, **options):
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        command += [sys.executable, "-c", PARENT + script]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options))
        return started[-1]

    started = []
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_it_passes_signals_on_and_ends_alike(first):
    process = first(ECHO_SIGNALS)
    assert process.stdout.readline() == "ready\n"
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN + 2):
        os.kill(int(pid), number)
        assert process.stdout.readline() == f"{int(number)}\n"
    os.kill(int(pid), signal.SIGTERM)
    assert process.wait(10) == 7


def test_a_daemon_that_is_killed(first):
    assert first("os.kill(os.getpid(), signal.SIGKILL)").wait(10) == 128 + signal.SIGKILL


def test_another_process_follows(first):
    process = first(FOLLOWED)
    assert process.communicate(timeout=10)[0] == "following\n"
    assert process.returncode == 9


def test_a_follower_that_is_gone(first):
    assert first("init.followed_by(4711); sys.exit(3)").wait(10) == 3


def test_orphans_are_reaped(first):
    assert first(ORPHANS).wait(20) == 2


def test_what_was_passed_is_the_daemons(first):
    """Sockets of systemd, and the numbers that say for whom they are."""
    with socket.socket() as sock:
        environment = os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "1", "WATCHDOG_PID": "1"}
        process = first(PASSED, env=environment, pass_fds=[sock.fileno()])
        assert process.wait(10) == 0


def test_below_another_init():
    """`docker run --init`: a tiny init is the first, and ends with the one that it started."""
    script = PARENT.replace("assert init.is_needed() or", "assert") + FOLLOWED.replace("!= 1:", "== before:").replace(
        "follower = os.fork()", "before = os.getpid(); follower = os.fork()"
    )
    process = subprocess.Popen([sys.executable, "-c", script, "below"], stdout=subprocess.PIPE, text=True)
    assert process.communicate(timeout=10)[0] == "following\n"
    assert process.returncode == 9


def test_it_is_not_needed_here(monkeypatch):
    monkeypatch.delenv(init.VARIABLE, raising=False)
    assert not init.is_needed()
    assert init.descriptors() == []
    assert not init.followed_by(1)
    monkeypatch.setattr("os.getppid", lambda: 1)
    monkeypatch.setattr(init, "_TINY_INITS", {Path("/proc/1/comm").read_text().strip()})
    assert init.is_needed()
    monkeypatch.setenv(init.VARIABLE, "7")
    assert init.descriptors() == [7]
    assert not init.is_needed()
