import asyncio
import os
import socket
import stat

import pytest

from spectrum.plane.handover import Waiting, receive_sockets, send_sockets, waiting_path, waiting_paths


def test_where_workers_wait(tmp_path):
    control = tmp_path / "control.sock"
    assert waiting_paths(control) == []
    for pid in (7, 12):
        waiting_path(control, pid).touch()
    (tmp_path / "other.sock.worker-3").touch()
    assert waiting_paths(control) == [waiting_path(control, 12), waiting_path(control, 7)]


async def test_a_worker_is_taken_once(tmp_path):
    path = waiting_path(tmp_path / "control.sock", 5)
    taken = asyncio.Queue()
    waiting = Waiting(path, taken.put_nowait)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as supervisor:
        supervisor.connect(str(path))
        with await asyncio.wait_for(taken.get(), 5) as worker:
            assert not path.exists()
            supervisor.send(b"hello")
            await asyncio.sleep(0)
            worker.settimeout(5)
            assert worker.recv(10) == b"hello"
    waiting.close()


async def test_no_place_to_wait(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path / "gone" / "x", tmp_path / ("x" * 200)):
        with pytest.raises(OSError):
            Waiting(path, lambda sock: None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("count", [0, 1, 250, 600])
def test_sockets_arrive_with_their_indices(count):
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = []
    for number in range(count):
        descriptor = os.memfd_create(f"flow-{number}")
        os.write(descriptor, b"%d" % number)
        opened.append((number * 3, descriptor))
    with ours:
        send_sockets(ours, opened)
    with theirs:
        found = receive_sockets(theirs)
    assert list(found) == [number * 3 for number in range(count)]
    for index, descriptor in found.items():
        assert os.pread(descriptor, 10, 0) == b"%d" % (index // 3)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_nobody_receives():
    """The sockets are closed all the same."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    before = len(os.listdir("/proc/self/fd"))
    descriptor = os.memfd_create("flow")
    with ours:
        send_sockets(ours, [(1, descriptor)])
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_sender_that_is_silent(monkeypatch):
    monkeypatch.setattr("spectrum.plane.handover.SOCKETS_TIMEOUT_S", 0.05)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert receive_sockets(theirs) == {}
