"""The keeper of the API's process, with what all keepers do."""

import asyncio
import os
import signal

from spectrum.control.api.keeper import ApiPlace
from spectrum.control.processes import linked
from tests.control.api.parts import STUB, talk
from tests.control.keepers import until


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
