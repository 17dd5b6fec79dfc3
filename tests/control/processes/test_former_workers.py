import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from spectrum.control.processes.former_workers import FormerWorker, take_all
from spectrum.core.life.former_worker import FormerWorkerCommand, FormerWorkerEvent
from spectrum.link.channel import Channel
from spectrum.link.flow_sockets import receive_sockets
from spectrum.link.messages import DECODER
from spectrum.link.succession import GivenWorker
from spectrum.link.takeover import Drain, Release, Released, Take, TakenOver
from spectrum.link.versions import VERSION, Hello
from spectrum.link.waiting import Waiting, waiting_names, waiting_path
from tests.control.keepers import until
from tests.control.orphans import KEY, Orphan


def nothing(*given):
    """What is heard, and of whom, is of no interest."""


async def test_a_worker_is_taken_over_relieved_and_ends(tmp_path):
    control, heard, gone = tmp_path / "control.sock", [], []
    orphan = Orphan(control)
    (former,) = await take_all(control, [], lambda *given: heard.append(given), gone.append)
    pid = os.getpid()  # what the kernel says, not what it says itself
    assert (former.place, former.pid, former.number, list(former.sockets)) == (1, pid, -pid, [KEY])
    assert os.path.samestat(os.fstat(former.flows), os.fstat(orphan.flows))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        await former.relieve(5.0, ours)
        ours.close()
        (descriptor,) = (await receive_sockets(theirs)).values()
        os.close(descriptor)
    assert orphan.messages == [Take(), Release(5.0)]
    await until(lambda: heard)
    assert (heard[0][0], heard[0][1].sessions) == (former, 3)
    former.drain(1.0)
    await until(lambda: orphan.messages[-1] == Drain(1.0))
    orphan.close()
    await until(lambda: gone)
    assert gone == [former]
    await former.relieve(1.0, None)  # nobody is there any more
    former.drain(1.0)
    former.kill()
    for sock in former.sockets.values():
        sock.close()
    os.close(former.flows)


STANDS_STILL = """
import asyncio, os, signal, sys
from pathlib import Path
from spectrum.link.waiting import Waiting
async def main():
    Waiting(Path(sys.argv[1]), print).begin()
    os.kill(os.getpid(), signal.SIGSTOP)
asyncio.run(main())
"""


async def test_a_worker_that_hangs_is_killed_and_the_others_are_taken_over(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("spectrum.control.processes.former_workers.ANSWER_TIMEOUT_S", 0.3)
    control = tmp_path / "control.sock"
    process = subprocess.Popen([sys.executable, "-c", STANDS_STILL, str(control)])
    await until(lambda: waiting_names(control), 10)
    orphan = Orphan(control)
    (former,) = await take_all(control, [], nothing, nothing)
    assert f"pid {process.pid} does not answer and is killed" in caplog.text
    assert process.wait(5) == -signal.SIGKILL
    orphan.close()
    end(former)


def end(former):
    former.disown()
    for sock in former.sockets.values():
        sock.close()
    os.close(former.flows)


async def test_a_worker_with_a_supervisor_is_not_taken_over(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("spectrum.link.waiting.NOTICE_S", 0.05)
    control = tmp_path / "control.sock"
    waiting = Waiting(control, pytest.fail)
    assert await take_all(control, [], nothing, nothing) == []
    assert f"pid {os.getpid()} has ended, or has a supervisor" in caplog.text
    waiting.close()


async def test_a_worker_of_another_user_is_not_taken_over(tmp_path, caplog):
    control = Path("/") / tmp_path.name / "control.sock"
    code = STANDS_STILL.replace("async def main", "os.setresuid(65534, 65534, 65534)\nasync def main")
    process = subprocess.Popen([sys.executable, "-c", code, str(control)])
    await until(lambda: waiting_names(control), 10)
    assert await take_all(control, [], nothing, nothing) == []
    assert f"pid {process.pid} belongs to another user (uid 65534) and is left alone" in caplog.text
    assert process.poll() is None
    process.kill()
    process.wait()


async def test_a_full_queue_does_not_hold_the_others(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("spectrum.control.processes.former_workers.ANSWER_TIMEOUT_S", 0.3)
    control = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as full:
        full.bind(str(waiting_path(control, 1)))
        full.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first:
            first.connect(str(waiting_path(control, 1)))
            orphan = Orphan(control)
            (former,) = await take_all(control, [], nothing, nothing)
    assert "it takes no connections" in caplog.text
    orphan.close()
    end(former)


async def test_one_of_a_version_before_abstract_names(tmp_path):
    control = tmp_path / "control.sock"
    path = waiting_path(control, os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:

        async def wait():
            await asyncio.sleep(0.05)  # it notices that its supervisor is gone
            waiting.bind(str(path))
            waiting.listen(1)
            waiting.setblocking(False)
            connected, _ = await asyncio.get_running_loop().sock_accept(waiting)
            channel = Channel(connected, DECODER, lambda *given: channel.send(TakenOver(0, 1), [flows]), nothing)
            return channel

        flows = os.memfd_create("flows")
        (former,), channel = await asyncio.gather(take_all(control, [os.getpid()], nothing, nothing), wait())
    assert (former.place, former.pid) == (0, os.getpid())
    end(former)
    channel.close()
    os.close(flows)
    # It has ended meanwhile.
    (tmp_path / "control.sock.worker-x").write_text("no socket")
    assert await take_all(control, [], nothing, nothing) == []
    assert [left.name for left in tmp_path.iterdir()] == ["control.sock.worker-x"]


async def test_a_worker_of_an_incompatible_version_is_not_taken_over(tmp_path, caplog):
    control = tmp_path / "control.sock"
    later = msgspec.msgpack.encode(Hello(VERSION + 1, VERSION + 1))
    with ExitStack() as opened:
        waiting = Waiting(control, lambda sock: opened.enter_context(sock).send(later))
        waiting.begin()
        assert await take_all(control, [], nothing, nothing) == []
        waiting.close()
    assert f"speaks version {VERSION + 1} of the link, and this one version {VERSION}" in caplog.text
    assert f"pid {os.getpid()} is of another version and is left alone; SIGTERM ends it" in caplog.text


async def test_a_worker_that_ends_meanwhile(tmp_path, caplog):
    control = tmp_path / "control.sock"
    orphan = Orphan(control, silent=True)

    async def leave():
        await until(lambda: Take() in orphan.messages)
        orphan.close()

    taken, _ = await asyncio.gather(take_all(control, [], nothing, nothing), leave())
    assert taken == []
    assert "has ended, or has a supervisor" in caplog.text


async def test_left_to_another_supervisor(tmp_path):
    control, gone = tmp_path / "control.sock", []
    orphan = Orphan(control)
    (former,) = await take_all(control, [], nothing, gone.append)
    former.disown()
    await until(lambda: orphan.messages[-1] is None)
    assert gone == []
    orphan.close()
    for sock in former.sockets.values():
        sock.close()
    os.close(former.flows)


@pytest.mark.parametrize("is_relieved", [False, True])
async def test_one_that_is_given_and_given_again(is_relieved, caplog):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    messages = []
    worker = Channel(theirs, DECODER, lambda message, _: messages.append(message), nothing)
    former = FormerWorker(nothing, nothing)
    process = os.pidfd_open(os.getpid())
    former.inherit(GivenWorker(1, os.getpid(), is_relieved, ours.detach(), process, Hello(7, 1)))
    assert former.life.awaits_relief == (not is_relieved) and not former.life.counts
    assert former.give() is None, "the supervisor before this one has it still"
    former.begin()
    former.begin()
    if is_relieved:
        await until(lambda: messages == [Take()])
        worker.send(TakenOver(1, 5))
    else:
        assert former.life.handle(FormerWorkerEvent.RELIEVE) is FormerWorkerCommand.RELEASE
        worker.send(Released())
        await former.relieve(3.0, None)
        assert messages == [Release(3.0)]
    await until(lambda: former.life.counts)
    worker.send(Released())  # nobody asked
    await until(lambda: "sent an unexpected message: a worker that is relieved: relieved" in caplog.text)
    again = former.give()
    assert (again.place, again.pid, again.relieved, again.hello) == (1, os.getpid(), True, Hello())
    former.detach()
    assert not former.life.lives and former.give() is None
    worker.close()


async def test_a_worker_that_has_ended_delays_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.control.processes.former_workers.NOTICE_STEP_S", 3600.0)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - at once; it stays a zombie
    for _ in range(2):
        async with asyncio.timeout(5):
            assert await take_all(tmp_path / "control.sock", [ended.pid], print, print) == []
        ended.wait()
