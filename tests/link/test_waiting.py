import asyncio
import socket
import sys
from pathlib import Path

import pytest

from spectrum.link.waiting import Waiting, waiting_names, waiting_path, waiting_paths, waiting_prefix


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
    monkeypatch.setattr("spectrum.link.waiting.NOTICE_S", 0.01)
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
