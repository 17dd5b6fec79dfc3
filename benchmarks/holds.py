"""How long the supervisor's loop is held by single steps: a step that takes long delays everything else on the loop."""

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CoroutineType
from typing import Any

import uvloop

from benchmarks.changes import APPS_PER_ADDRESS, ECHO, PORT, ask_metrics, file_text, reload
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.cli.client import ask
from spectrum.control import daemon
from spectrum.control.configuration.loader import KnownObjects, load_file
from spectrum.control.configuration.source import FileSource
from spectrum.control.configuration.watch import FilesRead

# Shorter steps are not reported.
MIN_MS = 1.0
# What a line of the daemon's output about a step begins with; the rest is JSON.
MARK = "held: "
APPS = 10_000
CHANGES = 10
ROWS: Rows = {
    "change_ms": ("one app changed in the file", "ms", True),
    "reload_ms": ("all apps changed", "ms", True),
    "metrics_ms": ("`/metrics` of all apps", "ms", True),
    "metrics_changing_ms": ("`/metrics` of all apps, while one changes", "ms", True),
    "status_ms": ("`spectrum status`", "ms", True),
}


class TimedLoop(uvloop.Loop):
    """A loop that prints each long step: the processor time of its thread in ms, and where the step began and ended.

    Steps are those of tasks, of futures' callbacks, of timers and of watched descriptors.
    """

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        return super().call_soon(_timed, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, _timed, callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_later(delay, _timed, callback, *args, context=context)

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> Any:
        return super().add_reader(fd, _timed, callback, *args)


def _timed(callback: Callable[..., Any], *args: Any) -> None:
    task = getattr(callback, "__self__", None)
    began_at = _place(task) if isinstance(task, asyncio.Task) else ""
    began_ns = time.thread_time_ns()
    try:
        callback(*args)
    finally:
        took_ms = (time.thread_time_ns() - began_ns) / 1e6
        if took_ms >= MIN_MS:
            ended_at = _place(task) if isinstance(task, asyncio.Task) else repr(callback)
            _tell(took_ms, began_at, ended_at)


def _place(task: "asyncio.Task[Any]") -> str:
    """Return where a task waits: the innermost coroutine, its line, and who waits for it."""
    found: list[str] = []
    inner: Any = task.get_coro()
    while isinstance(inner, CoroutineType):
        if inner.cr_frame is not None:
            found.append(f"{inner.__qualname__}:{inner.cr_frame.f_lineno}")
        inner = inner.cr_await
    return " < ".join(found[:-4:-1])


def _tell(took_ms: float, began_at: str, ended_at: str) -> None:
    # One write: other threads print as well.
    os.write(sys.stderr.fileno(), f"{MARK}{json.dumps([round(took_ms, 2), began_at, ended_at])}\n".encode())


class _Collections:
    """Prints collections of garbage, in whichever thread: they hold the lock of the interpreter."""

    def __init__(self) -> None:
        self._began_ns = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_ns = time.thread_time_ns()
            return
        took_ms = (time.thread_time_ns() - self._began_ns) / 1e6
        if took_ms >= MIN_MS:
            _tell(took_ms, "garbage collection", f"generation {info['generation']}")


def longest(output: str) -> float:
    """Return the longest step in a part of the daemon's output, in ms; 0 if none was long enough to be printed."""
    steps = (json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK))
    return max((took_ms for took_ms, _, _ in steps), default=0.0)


def measure() -> Figures:
    """Return the longest step of each kind of work, with a session of each app before."""
    with work_folder("holds") as folder:
        path, log = folder / "spectrum.yaml", folder / "log"
        path.write_text(file_text(APPS, [600], folder))
        echo = subprocess.Popen([sys.executable, "-c", ECHO])
        with log.open("wb") as output:
            daemon = subprocess.Popen([sys.executable, "-m", "benchmarks.holds", path], stdout=output, stderr=output)
        try:
            while "serving" not in log.read_text():
                if daemon.poll() is not None:
                    raise RuntimeError(f"the daemon ended with {daemon.returncode}: {log.read_text()}")
                time.sleep(0.1)
            for number in range(APPS):
                address, port = divmod(number, APPS_PER_ADDRESS)
                socket.create_connection((f"127.1.0.{address + 1}", PORT + port)).close()
            return {name: _longest_of(log, work) for name, work in _works(path, folder).items()}
        finally:
            for process in (daemon, echo):
                process.terminate()
                process.wait(30)


def _works(path: Path, folder: Path) -> dict[str, Callable[[], object]]:
    control = folder / "control.sock"

    def change(idle_s: list[int]) -> None:
        path.write_text(file_text(APPS, idle_s, folder))
        reload(folder)

    def change_some() -> None:
        for number in range(CHANGES):
            change([*[600] * (APPS - 1), 500 + number])

    def ask_while_changing() -> None:
        path.write_text(file_text(APPS, [*[700] * (APPS - 1), 800], folder))
        command = [sys.executable, "-m", "spectrum", "reload", "--socket", str(control)]
        changing = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ask_metrics()
        assert changing.wait(60) == 0

    return {
        "change_ms": change_some,
        "reload_ms": lambda: change([700]),
        "metrics_ms": ask_metrics,
        "metrics_changing_ms": ask_while_changing,
        "status_ms": lambda: ask(control, "GET", "/status", 60.0),
    }


def _longest_of(log: Path, work: Callable[[], object]) -> float:
    """Do some work; return the longest step meanwhile and in the second after it, in which garbage is freed."""
    time.sleep(1.5)
    size = log.stat().st_size
    work()
    time.sleep(1)
    return longest(log.read_bytes()[size:].decode())


def main() -> None:
    """Serve the file that the argument names."""
    path = Path(sys.argv[1])
    files, known = FilesRead(), KnownObjects()
    config = load_file(path, files.reading, known)
    daemon.uvloop.run = partial(uvloop.run, loop_factory=TimedLoop)  # type: ignore[attr-defined]
    gc.callbacks.append(_Collections())
    daemon.serve(FileSource(path, files=files, known=known), config, None, "INFO")


if __name__ == "__main__":
    main()
