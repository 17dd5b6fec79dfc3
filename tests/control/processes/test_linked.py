"""A process that stands for the API's, with what all such processes have."""

import asyncio
import os
import signal
import socket

import pytest

from spectrum.control.api.process import ApiProcess, ProcessAnswer
from spectrum.control.processes import linked
from spectrum.control.processes.linked import LinkedProcessError
from tests.control.api.parts import STUB, talk


@pytest.fixture
async def started(tmp_path, monkeypatch):
    """A function that starts a process."""
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    made = []

    async def answer(method, path, query, body):
        return ProcessAnswer(200, b"1")

    def start():
        path = tmp_path / f"{len(made)}.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            one = ApiProcess(answer, tmp_path / "store", "", [sock.fileno()])
        made.append(one)
        return one, path

    yield start
    for one in made:
        await one.end()


async def test_it_ends_by_itself(started):
    one, path = started()
    await one.ready()
    await one.serve({})
    assert await talk(path, {"end": 3}) is None
    assert await asyncio.wait_for(one.over, 5) == "exit status 3"
    assert not one.is_serving
    await one.leave()  # it has already


async def test_it_does_not_start(started, monkeypatch):
    monkeypatch.setattr(linked, "python", lambda module: ["/bin/false"])
    one, _ = started()
    with pytest.raises(LinkedProcessError, match="it does not start: exit status 1"):
        await one.ready()
    monkeypatch.setattr(linked, "python", lambda module: ["/bin/sleep", "60", "--"])
    monkeypatch.setattr(linked, "READY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(linked, "python", lambda module: [*STUB[:1], "-c", "import time; time.sleep(60)"])
    one, _ = started()
    with pytest.raises(LinkedProcessError, match=r"it does not start within 0\.05 s"):
        await one.ready()
    monkeypatch.setattr(linked, "python", lambda module: ["/nowhere"])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        started()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_that_hangs_is_seen(started, monkeypatch):
    monkeypatch.setattr(linked, "BEAT_S", 0.02)
    one, _ = started()
    await one.ready()
    await one.serve({})
    await asyncio.sleep(0.2)
    assert not one.over.done()
    os.kill(one.pid, signal.SIGSTOP)
    for _ in range(100):  # what it is told meanwhile waits, and no longer than that
        one.tell("objects", "x" * 60_000)
    assert await asyncio.wait_for(one.over, 5) == "no heartbeat for 0.1 s"
    os.kill(one.pid, signal.SIGCONT)


async def test_one_that_does_not_end_is_killed(started, monkeypatch):
    monkeypatch.setattr(linked, "LEAVE_TIMEOUT_S", 0.05)
    one, _ = started()
    await one.ready()
    await one.serve({})
    os.kill(one.pid, signal.SIGSTOP)
    await one.leave()
    assert await one.over == "killed by SIGKILL"
    one.dismiss()  # it has ended
