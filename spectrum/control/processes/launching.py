"""Starts processes with the weight on the processor that this one began with.

A child has the nice value of the thread that starts it, and without a privilege neither can take back what is given up
(nice(2), setpriority(2)). So a thread that never gives way starts all of them.
"""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spectrum.kernel import signals

_launcher: ThreadPoolExecutor | None = None


def have_launcher() -> None:
    """Have a thread start what `start_process` is asked for from now on.

    It has the weight, the privileges and the user of the thread that calls this. It lasts as long as this process: a
    child may ask to end with the thread that started it (PR_SET_PDEATHSIG).
    """
    global _launcher
    launcher = ThreadPoolExecutor(1, "launcher", signals.hold_all)
    launcher.submit(int).result()  # it inherits what this thread has now
    _launcher = launcher


def start_process(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process that begins with all signals held back: none ends it before it has said what they mean to it.

    It unblocks them by `signals.prepare`. Without a launcher the calling thread starts it.

    Args:
        command: The program and its arguments.
        options: Those of `subprocess.Popen`.

    Raises:
        OSError: If it cannot be started.
    """
    if _launcher is not None:
        return _launcher.submit(_start, command, options).result()
    with signals.all_held():
        return _start(command, options)


def _start(command: Sequence[str], options: dict[str, Any]) -> "subprocess.Popen[bytes]":
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)
    return process
