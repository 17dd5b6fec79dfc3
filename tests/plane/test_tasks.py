import asyncio

import pytest

from spectrum.plane.tasks import Tasks


async def test_a_failure_is_logged(caplog):
    async def fail():
        raise RuntimeError("why")

    task = Tasks().start(fail(), "failing")
    with pytest.raises(RuntimeError):
        await task
    await asyncio.sleep(0)
    assert "task failing failed" in caplog.text


async def test_stop_cancels_and_waits():
    ended = []

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    tasks = Tasks()
    tasks.start(wait(), "waiting")
    await asyncio.sleep(0)
    await tasks.stop()
    assert ended == [True]
