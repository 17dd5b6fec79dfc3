import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from spectrum.control.succession import OPTION, Predecessor, SuccessionError, Successor, arguments
from spectrum.plane.tasks import Tasks
from tests.control.keepers import until


def test_arguments_without_the_succession(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spectrum", "run", "-c", "x.yaml", OPTION, "7", "--watch"])
    assert arguments() == ["run", "-c", "x.yaml", "--watch"]


@pytest.fixture
def python(tmp_path):
    """A function that makes an interpreter which runs a script instead, with the option's descriptor as `way`."""

    def make(script):
        path = tmp_path / "python"
        start = "import os, socket, sys, time\nway = socket.socket(fileno=int(sys.argv[-1]))\n"
        path.write_text(f"#!{sys.executable}\n{start}{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


async def test_a_successor_that_is_ready(python):
    successor = Successor()
    script = "way.send(b'{\"protocol\": 1}'); open(sys.argv[0] + '.left', 'wb').write(way.recv(1000))"
    await successor.start(path := python(script), ["run"])
    assert successor.lives
    assert successor.pid == successor.process.pid
    successor.leave([5, 6])
    left = Path(path + ".left")
    await until(lambda: left.exists() and left.read_bytes() == b'{"workers": [5, 6]}')
    assert await successor.process.wait() == 0
    assert not successor.lives


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('way.send(b\'{"errors": ["line 1", "line 2"]}\')', "line 1\nline 2"),
        ("way.send(b'{\"protocol\": 99}'); time.sleep(60)", "restart instead"),
        ("sys.exit(3)", "ended at once"),
        ("time.sleep(60)", "not ready within"),
    ],
)
async def test_no_successor(python, script, why, monkeypatch):
    monkeypatch.setattr("spectrum.control.succession.READY_TIMEOUT_S", 1.0)
    successor = Successor()
    with pytest.raises(SuccessionError, match=why):
        await successor.start(python(script), ["run"])
    assert not successor.lives
    assert successor.pid == 0
    successor.leave([1])  # to nobody


async def test_no_such_interpreter(tmp_path):
    with pytest.raises(SuccessionError, match="no such file"):
        await Successor().start(str(tmp_path / "python"), [])


def test_what_a_successor_says():
    for answer in (lambda one: one.refuse(["wrong"] * 200), lambda one: one.refuse([])):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            answer(Predecessor(theirs.detach()))
            assert len(json.loads(ours.recv(65536))["errors"]) in (0, 100)


@pytest.mark.parametrize(("said", "workers"), [(b'{"workers": [1, 2]}', [1, 2]), (None, [])])
def test_it_follows_when_the_other_one_left(said, workers):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor = Predecessor(theirs.detach())
    if said:
        ours.send(said)
    ours.shutdown(socket.SHUT_WR)
    assert predecessor.follow() == workers
    assert json.loads(ours.recv(100)) == {"protocol": 1}
    ours.close()


async def test_one_that_is_given_up(python):
    successor = Successor()
    await successor.start(python("way.send(b'{\"protocol\": 1}'); time.sleep(60)"), ["run"])
    await successor.give_up()
    assert not successor.lives
    successor.signal(signal.SIGTERM)  # to nobody


async def test_signals_are_passed_on(python):
    successor = Successor()
    script = "import signal; signal.signal(1, lambda *_: sys.exit(7)); way.send(b'{\"protocol\": 1}'); time.sleep(60)"
    await successor.start(python(script), ["run"])
    successor.signal(signal.SIGHUP)
    assert await successor.process.wait() == 7
    await successor.give_up()


async def test_a_start_that_is_cancelled_leaves_no_process(python):
    """Else it would take over what the daemon that is told to stop leaves."""
    path = python("open(sys.argv[0] + '.pid', 'w').write(str(os.getpid())); time.sleep(60)")
    started = Tasks().start(Successor().start(path, ["run"]), "start")
    told = Path(path + ".pid")
    await until(lambda: told.exists() and told.read_text())
    started.cancel()
    await asyncio.wait([started])
    assert not Path(f"/proc/{told.read_text()}").exists()


async def test_another_projects_files_among_ours(monkeypatch):
    monkeypatch.setattr("spectrum.kernel.installation.fault", lambda: "another project's files")
    with pytest.raises(SuccessionError, match="another project"):
        await Successor().start(sys.executable, ["run"])
