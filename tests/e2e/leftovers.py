"""Processes that outlive what started them: the successor of an upgrade, workers whose supervisor was killed."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.engine.harness import eventually

# In the environment of every process that a run of pytest has started, its process id.
MARK = "SPECTRUM_TESTS_OF"
# The command of the server that forks daemons; its forks have it, too.
SERVER = "tests.e2e.warm"
DRAINS_S, ENDS_S = 1, 30


def mark() -> None:
    """Mark what this process starts from now on."""
    os.environ[MARK] = str(os.getpid())


def marked() -> dict[int, str]:
    """Return the command lines, by process id, of what this process has started and still runs.

    The server of `tests.e2e.warm` itself, which ends with this process, is not among them; its forks are.
    """
    wanted = f"{MARK}={os.getpid()}".encode()
    found = {pid: _command(pid) for pid in _processes(lambda path: wanted in _environment(path))}
    return {pid: text for pid, text in found.items() if SERVER not in text or _parent(pid) != os.getpid()}


def end_those_of(log: Path) -> None:
    """End the processes whose standard error is this file; one that drains is told twice.

    Raises:
        AssertionError: If some do not end, and had to be killed.
    """
    for number, timeout_s in ((signal.SIGTERM, DRAINS_S), (signal.SIGTERM, ENDS_S)):
        if not (running := _writers(log)):
            return
        for pid in running:
            if _parent(pid) not in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        with suppress(AssertionError):
            eventually(lambda: not _writers(log), timeout_s)
    for pid in (left := {pid: _command(pid) for pid in _writers(log)}):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"they did not end: {left}"


def _writers(log: Path) -> set[int]:
    """Return the processes whose standard error is this file."""
    wanted = log.stat()
    return set(_processes(lambda path: os.path.samestat(wanted, (path / "fd/2").stat())))


def _processes(is_wanted: Callable[[Path], bool]) -> Iterator[int]:
    """Return the processes of which this is true; one that has ended while it was read is none of them."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                if is_wanted(path):
                    yield int(path.name)


def _environment(process: Path) -> list[bytes]:
    return (process / "environ").read_bytes().split(b"\0")


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""
