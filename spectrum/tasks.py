"""Tasks that are named, kept until they end, and whose failure is seen."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# A task that fails begins again so much later, each time twice as much; one that ran longer than the most begins anew.
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 30.0
WAIT_PARTS = 4


class Tasks:
    """The running tasks of one owner."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine in the background; log its failure."""
        task = asyncio.create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        """Run a coroutine in the background; one that fails is logged, and `make` gives another one after a pause."""
        return self.start(_repeat(make, name), name)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("task %s failed", task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancel every task and wait for its end."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Shared(Generic[Result]):
    """A coroutine function that runs once for all who call it while it runs.

    Args:
        make: The function; each of those that share a run gets its result, or its exception.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._make = make
        self._running: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        """Return the result of the run that is under way, or of a new one."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._make())
        return await asyncio.shield(self._running)  # one who leaves does not end it for the others


async def _repeat(make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    now, pause_s = asyncio.get_running_loop().time, FIRST_PAUSE_S
    while True:
        began = now()
        try:
            await make()
        except Exception:
            if now() - began > MAX_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            log.exception("task %s failed; it begins again in %g s", name, pause_s)
        else:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(MAX_PAUSE_S, pause_s * 2)


async def in_thread(step: Callable[..., Result], *args: Any) -> Result:
    """Run a step that blocks in a thread, to its end even where the task is cancelled: then it can be undone."""
    return await in_thread_of(None, step, *args)


async def in_thread_of(executor: Executor | None, step: Callable[..., Result], *args: Any) -> Result:
    """Do the same in a thread of an executor; None is that of the loop."""
    running = asyncio.get_running_loop().run_in_executor(executor, partial(step, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


# What runs `in_background`; None are the threads of the loop.
_background: Executor | None = None


def set_background(executor: Executor | None) -> None:
    """Have long work of this process done by threads of an executor from now on."""
    global _background
    _background = executor


def start_in_background(step: Callable[..., Result], *args: Any) -> "asyncio.Future[Result]":
    """Begin long work that is less urgent than what clients wait for, such as to read or write of all apps."""
    return asyncio.get_running_loop().run_in_executor(_background, partial(step, *args))


async def in_background(step: Callable[..., Result], *args: Any) -> Result:
    """Do such work to its end, even where the task is cancelled."""
    return await in_thread_of(_background, step, *args)


async def busy_wait_for(coroutine: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
    """Do as `asyncio.wait_for`, but give what is waited for more time where this process is busy itself.

    The time passes in parts, between which the loop handles what has arrived. So a peer is not taken for slow whose
    answer waits in a socket.

    Raises:
        TimeoutError: If the time is over.
    """
    task = asyncio.create_task(coroutine)
    try:
        for _ in range(WAIT_PARTS):
            done, _ = await asyncio.wait((task,), timeout=timeout_s / WAIT_PARTS)
            if done:
                return task.result()
    finally:
        if task.cancel():
            await asyncio.wait((task,))
    raise TimeoutError


class Threads(ThreadPoolExecutor):
    """Threads for steps that block. Where no more can be started, a step waits for one of those that there are.

    One is started at once. The standard library's executor refuses a step where it cannot start a thread for it, and
    runs it all the same as soon as another one is free.

    Args:
        begin: Called first in each thread.
    """

    def __init__(self, begin: Callable[[], object] = lambda: None) -> None:
        super().__init__(thread_name_prefix="blocking", initializer=begin)
        self.submit(int).result()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise


def shortage(exc: BaseException) -> str:
    """Return what the machine lacks, where that is why something failed; "" where it failed for another reason."""
    if isinstance(exc, MemoryError):
        return "there is not enough memory for it"
    if isinstance(exc, RuntimeError) and "new thread" in str(exc):  # the only sign of it (Modules/_threadmodule.c)
        return "no thread can be started: out of memory, or at the limit of processes"
    return ""
