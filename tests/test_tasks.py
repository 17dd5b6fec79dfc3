import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectrum import tasks as tasks_module
from spectrum.tasks import (
    Shared,
    Tasks,
    Threads,
    busy_wait_for,
    in_background,
    in_thread,
    set_background,
    shortage,
    start_in_background,
)


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


async def test_what_fails_begins_again(caplog, monkeypatch):
    monkeypatch.setattr(tasks_module, "FIRST_PAUSE_S", 0.01)
    began = []

    async def fail_twice():
        began.append(True)
        if len(began) < 3:
            raise RuntimeError("why")

    await Tasks().keep(fail_twice, "failing")
    assert len(began) == 3
    assert caplog.text.count("task failing failed; it begins again in") == 2


async def test_what_is_cancelled_does_not():
    began = []

    async def wait():
        began.append(True)
        await asyncio.Event().wait()

    tasks = Tasks()
    tasks.keep(wait, "waiting")
    await asyncio.sleep(0)
    await tasks.stop()
    assert began == [True]


async def test_who_asks_at_the_same_time_shares_a_run():
    runs, ready = [], asyncio.Event()

    async def make():
        runs.append(True)
        await ready.wait()
        return len(runs)

    shared = Shared(make)
    leaver, waiting = asyncio.gather(shared()), asyncio.gather(shared(), shared())
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.sleep(0)
    ready.set()
    assert await waiting == [1, 1]
    assert await shared() == 2


async def test_a_step_in_a_thread_continues_to_its_end():
    assert await in_thread(divmod, 7, 2) == (3, 1)
    begun, goes_on, ended = threading.Event(), threading.Event(), []

    def step():
        begun.set()
        ended.append(goes_on.wait(10))

    waiting = Tasks().start(in_thread(step), "step")
    await asyncio.to_thread(begun.wait, 10)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [True]


async def test_background_work_has_threads_of_its_own():
    def where():
        return threading.current_thread().name

    assert await in_background(divmod, 7, 2) == (3, 1), "without any it is done by those of the loop"
    with ThreadPoolExecutor(1, thread_name_prefix="later") as executor:
        set_background(executor)
        try:
            assert await in_background(where) == await start_in_background(where) == "later_0"
            assert await in_thread(where) != "later_0"
        finally:
            set_background(None)


@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (MemoryError(), "there is not enough memory for it"),
        (
            RuntimeError("can't start new thread"),
            "no thread can be started: out of memory, or at the limit of processes",
        ),
        (RuntimeError("cannot schedule new futures after shutdown"), ""),
        (OSError(24, "Too many open files"), ""),
    ],
)
def test_a_shortage_is_named(exc, says):
    assert shortage(exc) == says


def test_without_more_threads_a_step_waits_for_one(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with Threads() as threads:
        monkeypatch.setattr("threading.Thread.start", refuse)
        goes_on = threading.Event()
        first, second = threads.submit(goes_on.wait, 10), threads.submit(divmod, 7, 2)
        assert not second.done()
        goes_on.set()
        assert (first.result(10), second.result(10)) == (True, (3, 1))


def test_without_any_thread_a_step_is_refused(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        Threads()


async def test_a_busy_loop_is_not_a_slow_peer():
    """The question is asked when the time is over already, and the answer comes soon after that."""

    async def ask():
        time.sleep(0.25)
        await asyncio.sleep(0.01)
        return "answer"

    assert await busy_wait_for(ask(), 0.2) == "answer"


async def test_a_late_coroutine_is_cancelled_before_the_caller_gets_the_error():
    ended = []

    async def never():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(TimeoutError):
        await busy_wait_for(never(), 0.02)
    assert ended == [True]
    waiting = asyncio.get_running_loop().create_task(busy_wait_for(never(), 60))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [True, True]


async def test_the_failure_of_what_is_waited_for():
    async def fail():
        raise OSError(5, "x")

    with pytest.raises(OSError, match="x"):
        await busy_wait_for(fail(), 5)
