import asyncio
import socket

import pytest

from spectrum.control.api import process
from spectrum.control.api.process import ApiProcess, ProcessAnswer
from spectrum.control.processes import linked
from spectrum.kernel.descriptors import memory_file
from tests.control.api.parts import STUB, talk
from tests.control.keepers import until


@pytest.fixture
async def started(tmp_path, monkeypatch):
    """A function that starts a process, which stands for the API."""
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    made, asked = [], []

    async def answer(method, path, query, body):
        asked.append((method, path))
        if path == "/slow":
            await asyncio.sleep(60)
        if path == "/file":
            return ProcessAnswer(200, b"1", [memory_file("a", b"given")])
        return ProcessAnswer(200, b"1" if path != "/long" else b"[" + b"1," * 100_000 + b"1]")

    def start(store="store"):
        path = tmp_path / f"{len(made)}.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            one = ApiProcess(answer, tmp_path / store, "", [sock.fileno()])
        made.append(one)
        return one, path

    start.asked = asked
    yield start
    for one in made:
        await one.end()


async def test_it_serves_asks_and_receives_settings(started):
    one, path = started()
    assert one.lives and not one.is_serving
    await one.ready()
    await one.serve({"a": 1})
    assert one.is_serving
    assert await talk(path, {"ask": ["GET", "/x", None]}) == [200, 1]
    assert await talk(path, {"ask": ["GET", "/long", None]}) == [200, [1] * 100_001]
    assert started.asked == [("GET", "/x"), ("GET", "/long")]
    one.tell("objects", ["x" * 200_000])
    assert await talk(path, {"told": None}) == [["settings", {"a": 1}], ["objects", ["x" * 200_000]]]
    await one.leave()
    assert (one.lives, await one.over) == (False, "exit status 0")


async def test_a_flood_of_questions_costs_little(started):
    one, path = started()
    await one.ready()
    await one.serve({})
    flooding = asyncio.ensure_future(talk(path, {"flood": 5000}))  # noqa: TID251
    assert await flooding == 5000
    await until(lambda: len(started.asked) >= 5000)
    assert not one.over.done()


async def test_answers_that_are_not_there_yet_hold_up_the_next_questions(started):
    one, path = started()
    await one.ready()
    await one.serve({})
    asking = [asyncio.ensure_future(talk(path, {"ask": ["GET", "/slow", None]})) for _ in range(40)]  # noqa: TID251
    await until(lambda: len(started.asked) == process.MAX_ASKS)
    await asyncio.sleep(0.05)
    assert len(started.asked) == process.MAX_ASKS
    for one in asking:
        one.cancel()
