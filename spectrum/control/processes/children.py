"""A child process, and its end (pidfd_open(2))."""

import asyncio
import os
from collections.abc import Mapping, Sequence

from spectrum.control.processes.launching import start_process


class Child:
    """A process, which begins with all signals held back: none can end it before it has said what they mean to it.

    The loop's own subprocesses begin with every signal at its default (libuv).

    Args:
        command: The program and its arguments.
        descriptors: What it inherits besides 0, 1 and 2.
        errors: Its standard error; None for ours.
        environment: Its environment; None for ours.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        descriptors: Sequence[int] = (),
        errors: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = start_process(command, pass_fds=descriptors, stderr=errors, env=environment)
        self._ended = asyncio.Event()
        try:
            self._descriptor = os.pidfd_open(self.pid)
        except OSError:  # Out of descriptors: its end would not be noticed.
            self._process.kill()
            self._process.wait()
            raise
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end; return its exit status."""
        await self._ended.wait()
        assert self._process.returncode is not None, "it has ended"
        return self._process.returncode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def _reap(self) -> None:
        self._process.wait()  # it has ended
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set()
