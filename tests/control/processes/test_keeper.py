"""The keeper of the API's process, with what all keepers do."""

import asyncio
import os
import signal
import socket

import pytest

from spectrum.control.api.keeper import ApiKeeper, ApiPlace
from spectrum.control.api.process import ProcessAnswer
from spectrum.control.processes import keeper as keepers
from spectrum.control.processes import linked
from spectrum.tasks import Tasks
from tests.control.api.parts import STUB, talk
from tests.control.keepers import until


@pytest.fixture
async def kept(tmp_path, monkeypatch):
    """A keeper that runs, the place where its process serves, and how often the store was read."""
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    monkeypatch.setattr(keepers, "FIRST_PAUSE_S", 0.05)
    path, tasks = tmp_path / "api.sock", Tasks()

    async def answer(method, asked, query, body):
        return ProcessAnswer(200, b"1")

    async def restore():
        assert not any(one.lives for one in (kept._process,) if one is not None and one.is_serving)
        kept.restored += 1

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        kept = ApiKeeper(answer, lambda: {"number": kept.restored}, restore)
        kept.restored, kept.path = 0, path
        kept.place = ApiPlace(tmp_path / "store", "", (sock.fileno(),))
        tasks.start(kept.run(), "keeper")
        yield kept
        await tasks.stop()
        await kept.close()


async def test_none_is_wanted_one_is_and_none_again(kept):
    await asyncio.sleep(0.01)
    assert (kept.pid, kept.store, kept.has_writer) == (0, None, False)
    kept.tell("x", 1)
    kept.want(kept.place)
    await until(lambda: kept.pid)
    assert (kept.store, kept.has_writer) == (kept.place.store, True)
    assert await talk(kept.path, {"told": None}) == [["settings", {"number": 1}]]
    kept.tell("x", 1)
    assert (await talk(kept.path, {"told": None}))[1:] == [["x", 1]]
    kept.want(None)
    await until(lambda: not kept.has_writer)
    assert (kept.restarts, kept.why) == (0, "")


async def test_another_place_is_another_process_and_nobody_is_refused(kept, tmp_path):
    kept.want(kept.place)
    await until(lambda: kept.pid)
    first = kept.pid
    kept.want(ApiPlace(tmp_path / "other", "", kept.place.listeners))
    while (pid := await asyncio.wait_for(talk(kept.path, {"pid": None}), 10)) == first:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await until(lambda: kept.pid)
    assert (pid, kept.restarts, kept.store) == (kept.pid, 0, tmp_path / "other")


async def test_one_that_ends_is_replaced_and_the_store_read_before(kept):
    kept.want(kept.place)
    await until(lambda: kept.pid)
    for number in (1, 2):
        pid = kept.pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: kept.restarts == number)  # noqa: B023
        assert kept.why == "killed by SIGKILL"
        assert await talk(kept.path, {"pid": None}) != pid
        await until(lambda: kept.pid and not kept.why)
    assert kept.restored == 5


async def test_one_that_does_not_start_is_tried_again(kept, monkeypatch):
    monkeypatch.setattr(linked, "python", lambda module: ["/bin/false"])
    kept.want(kept.place)
    await until(lambda: kept.restarts >= 2)
    assert kept.why == "it does not start: exit status 1"
    monkeypatch.setattr(linked, "python", lambda module: ["/nowhere"])
    await until(lambda: kept.why == "it cannot be started: no such file or directory")
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    await until(lambda: kept.pid)
    # One that serves goes on where its successor does not start.
    pid, before = kept.pid, kept.restarts
    monkeypatch.setattr(linked, "python", lambda module: ["/bin/false"])
    kept.want(ApiPlace(kept.place.store, "", kept.place.listeners[:]))
    await until(lambda: kept.restarts > before)
    assert kept.pid == pid
    kept.dismiss()
    await until(lambda: not kept.has_writer)
