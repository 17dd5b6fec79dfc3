import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import pytest

from spectrum.link.handover import (
    Waiting,
    receive_sockets,
    send_sockets,
    waiting_names,
    waiting_path,
    waiting_paths,
    waiting_prefix,
)
from spectrum.tasks import Tasks


async def test_where_workers_wait(tmp_path):
    """No file is needed, and the folder may be gone."""
    folder = tmp_path / "run"
    folder.mkdir()
    control = folder / "control.sock"
    assert waiting_names(control) == []
    waiting = [Waiting(control, pytest.fail) for _ in range(2)]
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert len(waiting_names(control)) == 2
    assert waiting_names(tmp_path / "control.sock") == waiting_names(folder / "other.sock") == []
    for one in waiting:
        one.close()
        one.close()
    assert waiting_names(control) == []


def test_one_daemon_has_one_name(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {waiting_prefix(path) for path in (Path("x.sock"), tmp_path / "x.sock", tmp_path / "link" / "x.sock")}
    assert len(names) == 1
    assert waiting_prefix(Path("/dev/shm/x.sock")) != waiting_prefix(Path("/run/x.sock"))


def test_where_workers_waited_before(tmp_path):
    control = tmp_path / "control.sock"
    assert waiting_paths(control) == []
    for pid in (7, 12):
        waiting_path(control, pid).touch()
    (tmp_path / "other.sock.worker-3").touch()
    assert waiting_paths(control) == [waiting_path(control, 12), waiting_path(control, 7)]


@pytest.mark.parametrize("is_early", [False, True])
async def test_a_worker_is_taken_once_for_each_loss(tmp_path, is_early):
    """Also by a supervisor that comes before the worker has noticed."""
    taken = asyncio.Queue()
    waiting = Waiting(tmp_path / "control.sock", taken.put_nowait)
    (name,) = waiting_names(tmp_path / "control.sock")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as supervisor:
            if is_early:
                supervisor.connect(name)
                await asyncio.sleep(0.01)
                waiting.begin()
            else:
                waiting.begin()
                supervisor.connect(name)
            with await asyncio.wait_for(taken.get(), 5) as worker:
                assert not waiting.begun
                supervisor.send(b"hello")
                worker.settimeout(5)
                assert worker.recv(10) == b"hello"
    waiting.close()


async def test_a_worker_that_has_a_supervisor(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.link.handover.NOTICE_S", 0.01)
    waiting = Waiting(tmp_path / "control.sock", pytest.fail)
    (name,) = waiting_names(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.connect(name)
        other.setblocking(False)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 1), 5) == b""
        waiting.begin()  # nobody is left of whom it could be
    waiting.close()


async def test_another_user_takes_no_worker(tmp_path, caplog):
    waiting = Waiting(tmp_path / "control.sock", pytest.fail)
    waiting.begin()
    (name,) = waiting_names(tmp_path / "control.sock")
    code = f"import os, socket; os.setresuid(65534, 65534, 65534); s = socket.socket(1, 5); s.connect({name!r}); "
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code + "assert s.recv(1) == b''")
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert f"pid {process.pid}, uid 65534" in caplog.text
    assert waiting.begun
    waiting.close()


@pytest.mark.parametrize("count", [0, 1, 250, 600])
async def test_sockets_arrive_with_their_indices(count):
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = []
    for number in range(count):
        descriptor = os.memfd_create(f"flow-{number}")
        os.write(descriptor, b"%d" % number)
        opened.append((number * 3, descriptor))

    async def send():
        with ours:
            await send_sockets(ours, opened)

    with theirs:
        found, _ = await asyncio.gather(receive_sockets(theirs), send())
    assert list(found) == [number * 3 for number in range(count)]
    for index, descriptor in found.items():
        assert os.pread(descriptor, 10, 0) == b"%d" % (index // 3)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_nobody_receives(caplog):
    """The sockets are closed all the same."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    before = len(os.listdir("/proc/self/fd"))
    descriptor = os.memfd_create("flow")
    with ours:
        await send_sockets(ours, [(1, descriptor)])
        assert len(os.listdir("/proc/self/fd")) == before
    assert "do not reach the worker that follows" in caplog.text


async def test_a_peer_that_stands_still_holds_nobody(monkeypatch, caplog):
    """The loop turns meanwhile, and either end gives up."""
    monkeypatch.setattr("spectrum.link.handover.SOCKETS_TIMEOUT_S", 0.2)
    tasks = Tasks()
    for silent in (receive_sockets, lambda way: send_sockets(way, [(n, os.memfd_create("flow")) for n in range(2000)])):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        turns = []

        async def turn(turns=turns):
            while True:
                turns.append(1)
                await asyncio.sleep(0.01)

        task = tasks.start(turn(), "turn")
        assert not await silent(ours)
        task.cancel()
        assert len(turns) > 3
        ours.close()
        theirs.close()
    assert "does not send" in caplog.text and "does not take" in caplog.text


async def test_a_receiver_at_its_descriptor_limit():
    """Those that did not come are missing, and no others are taken for them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = [os.memfd_create(f"flow-{number}") for number in range(20)]
    with ours:
        await send_sockets(ours, list(enumerate(opened)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not what /proc/self/fd leaves: a thread in accept() has a number there already, without a file.
    free = [os.dup(theirs.fileno()) for _ in range(6)]
    for descriptor in free:
        os.close(descriptor)
    room_for_five = max(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room_for_five, hard))
    try:
        with theirs:
            found = await receive_sockets(theirs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 0 < len(found) < 20
    for index, descriptor in found.items():
        assert os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"/memfd:flow-{index} ")
        os.close(descriptor)
