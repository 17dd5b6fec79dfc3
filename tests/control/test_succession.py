import json
import socket
import sys
from pathlib import Path

import pytest

from spectrum.control.succession import OPTION, Predecessor, SuccessionError, Successor, arguments
from tests.control.keepers import until


def test_arguments_without_the_succession(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spectrum", "run", "-c", "x.yaml", OPTION, "7", "--watch"])
    assert arguments() == ["run", "-c", "x.yaml", "--watch"]


@pytest.fixture
def python(tmp_path):
    """A function that makes an interpreter which runs a script instead, with the option's descriptor as `way`."""

    def make(script):
        path = tmp_path / "python"
        start = "import socket, sys, time\nway = socket.socket(fileno=int(sys.argv[-1]))\n"
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
