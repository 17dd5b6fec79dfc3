"""Tasks that are named and referenced, and whose failures are logged."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Restart pause of a failed task, doubled each time; after a run longer than the maximum it starts at the minimum again.
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
        """Run a coroutine in the background; after a failure, which is logged, and a pause, run a new one of `make`."""
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
    """A coroutine function whose concurrent callers share one run.

    Args:
        make: The function; each caller of a run gets its result, or its exception.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._make = make
        self._running: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        """Return the result of the present run, or of a new one."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._make())
            self._running.add_done_callback(self._forget)
        return await asyncio.shield(self._running)  # a cancelled caller does not end it for the others

    def _forget(self, done: asyncio.Task[Result]) -> None:
        if self._running is done:
            self._running = None  # its result may have megabytes


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
    """Run a blocking step in a thread, to its end even if the task is cancelled, so that it can be undone."""
    return await in_thread_of(None, step, *args)


async def in_thread_of(executor: Executor | None, step: Callable[..., Result], *args: Any) -> Result:
    """Do the same in a thread of an executor; None for the loop's."""
    running = asyncio.get_running_loop().run_in_executor(executor, partial(step, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


# The executor of `in_background`; None for the threads of the loop.
_background: Executor | None = None


def set_background(executor: Executor | None) -> None:
    """Run long work of this process in threads of an executor from now on."""
    global _background
    _background = executor


def start_in_background(step: Callable[..., Result], *args: Any) -> "asyncio.Future[Result]":
    """Begin long work that is less urgent than clients' requests, such as reading or writing all apps."""
    return asyncio.get_running_loop().run_in_executor(_background, partial(step, *args))


async def in_background(step: Callable[..., Result], *args: Any) -> Result:
    """Run such work to its end, even if the task is cancelled."""
    return await in_thread_of(_background, step, *args)


async def busy_wait_for(coroutine: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
    """As `asyncio.wait_for`, but with more time if this process is busy itself.

    The time passes in parts, between which the loop handles events. So a peer whose answer waits in a socket is not
    considered slow.

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
    """Threads for blocking steps. If no more can be started, a step waits for an existing one.

    The first one is started at once. The standard library's executor raises an error for a step if it cannot start a
    thread, and yet runs the step when another thread is free.

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
    """Return which resource the machine lacks, if that caused a failure; "" for other causes."""
    if isinstance(exc, MemoryError):
        return "there is not enough memory for it"
    if isinstance(exc, RuntimeError) and "new thread" in str(exc):  # its only indication (Modules/_threadmodule.c)
        return "no thread can be started: out of memory, or at the limit of processes"
    return ""
