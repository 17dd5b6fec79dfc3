import asyncio
import os
import socket
import subprocess

import pytest

from spectrum.control.veterans import VeteranWorker, take_all
from spectrum.plane.channel import Drain, Release, Take
from spectrum.plane.handover import receive_sockets, waiting_path
from tests.control.keepers import until
from tests.control.orphans import KEY, Orphan


async def test_taken_relieved_heard_and_gone(tmp_path):
    control, heard, gone = tmp_path / "control.sock", [], []
    orphan = Orphan(control)
    (stale := waiting_path(control, 1)).touch()
    (veteran,) = await take_all(control, [orphan.pid], lambda *given: heard.append(given), gone.append)
    assert not stale.exists()
    assert (veteran.place, veteran.pid, veteran.number, list(veteran.sockets)) == (1, 4711, -4711, [KEY])
    assert os.path.samestat(os.fstat(veteran.flows), os.fstat(orphan.flows))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        await veteran.relieve(5.0, ours)
        ours.close()
        (descriptor,) = receive_sockets(theirs).values()
        os.close(descriptor)
    assert orphan.messages == [Take(), Release(5.0)]
    await until(lambda: heard)
    assert (heard[0][0], heard[0][1].sessions) == (veteran, 3)
    veteran.drain(1.0)
    await until(lambda: orphan.messages[-1] == Drain(1.0))
    orphan.close()
    await until(lambda: gone)
    assert gone == [veteran]
    await veteran.relieve(1.0, None)  # nobody is there any more
    veteran.drain(1.0)
    veteran.kill()
    for sock in veteran.sockets.values():
        sock.close()
    os.close(veteran.flows)


async def test_one_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.control.veterans.ANSWER_TIMEOUT_S", 0.05)
    control = tmp_path / "control.sock"
    orphan = Orphan(control, silent=True)
    assert await take_all(control, [], lambda *given: None, lambda veteran: None) == []
    await until(lambda: orphan.messages == [Take(), None])
    orphan.close()


async def test_one_that_ends_meanwhile(tmp_path):
    control = tmp_path / "control.sock"
    orphan = Orphan(control, silent=True)
    veteran = VeteranWorker(lambda *given: None, lambda veteran: None)

    async def leave():
        await until(lambda: Take() in orphan.messages)
        orphan.close()

    with pytest.raises(ConnectionResetError):
        await asyncio.gather(veteran.take(waiting_path(control, orphan.pid)), leave())


async def test_left_to_another_supervisor(tmp_path):
    control, gone = tmp_path / "control.sock", []
    orphan = Orphan(control)
    (veteran,) = await take_all(control, [orphan.pid], lambda *given: None, gone.append)
    veteran.disown()
    await until(lambda: orphan.messages[-1] is None)
    assert gone == []
    orphan.close()
    for sock in veteran.sockets.values():
        sock.close()
    os.close(veteran.flows)


async def test_nobody_waits_for_a_worker_that_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.control.veterans.NOTICE_STEP_S", 3600.0)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - at once; it stays a zombie
    for _ in range(2):
        async with asyncio.timeout(5):
            assert await take_all(tmp_path / "control.sock", [ended.pid], print, print) == []
        ended.wait()
