"""Live traffic: many sessions that ask at a fixed rate, whether or not former answers are late (an open loop)."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.processes import LOAD_CORE

SESSIONS = 50
REQUESTS_PER_S = 1_000
REQUEST = b"x" * 99 + b"."
# Answers to the last requests arrive in this time.
LAST_ANSWERS_S = 0.5


@contextmanager
def live_traffic(addresses: list[tuple[str, int]]) -> Iterator[list[float]]:
    """Run the traffic in a process of its own, which has a core apart from the daemon's.

    Args:
        addresses: Where its sessions connect to, in turns. What is there has to return what it gets.

    Yields:
        A list that has the time from when each request was due until its answer came, in seconds, sorted, after the
        context.
    """
    took: list[float] = []
    with tempfile.NamedTemporaryFile() as found:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.traffic", json.dumps(addresses), found.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield took
            process.communicate("\n", timeout=30)
            took += sorted(json.load(found))
        finally:
            process.kill()
            process.wait()


class _Session(asyncio.Protocol):
    """One session, whose requests may overlap; each answer ends with a full stop."""

    def __init__(self, took: list[float]) -> None:
        self._took = took
        self._due: deque[float] = deque()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base class.

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._took.extend(now - self._due.popleft() for _ in range(data.count(REQUEST[-1:])))

    def ask(self, due: float) -> None:
        self._due.append(due)
        self._transport.write(REQUEST)


async def _run(addresses: list[tuple[str, int]]) -> list[float]:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    sessions = []
    for number in range(SESSIONS):
        _, session = await loop.create_connection(lambda: _Session(took), *addresses[number % len(addresses)])
        sessions.append(session)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    print("begun", flush=True)
    due, number = time.perf_counter(), 0
    while not ended.is_set():
        while due <= time.perf_counter():
            sessions[number % SESSIONS].ask(due)
            due, number = due + 1 / REQUESTS_PER_S, number + 1
        await asyncio.sleep(due - time.perf_counter())
    loop.remove_reader(sys.stdin.fileno())
    await asyncio.sleep(LAST_ANSWERS_S)
    assert len(took) == number, f"{number - len(took)} of {number} requests have no answer"
    return took


if __name__ == "__main__":
    os.sched_setaffinity(0, LOAD_CORE)
    answer = uvloop.run(_run([(host, port) for host, port in json.loads(sys.argv[1])]))
    Path(sys.argv[2]).write_text(json.dumps(answer))
