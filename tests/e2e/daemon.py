"""The daemon as users run it: a file, a process, its output."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from spectrum.cli.client import DaemonError, ask
from tests.e2e.leftovers import end_those_of
from tests.e2e.warm import Warm, can_stand_for


class Daemon:
    """A running `spectrum run`; `with` stops it, and its successors, and fails the test on a traceback in its messages.

    Args:
        folder: Of its file, and of what it says.
        text: The file; `control` is added.
        workers: How many.
        env: Variables of its environment beside this process's.
        options: More of the command's.
        start_timeout_s: How long it may take until it serves.
        warm: Whether it may be a fork of a process that has imported all (`tests.e2e.warm`); else its processes import
            what they need for themselves, as confined as they are by then.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        workers: int = 1,
        env: dict[str, str] | None = None,
        options: Sequence[str] = (),
        start_timeout_s: float = 60,
        warm: bool = True,
    ) -> None:
        self._start_timeout_s = start_timeout_s
        self.path = folder / "spectrum.yaml"
        self.socket = folder / "control.sock"
        self._out, self._err = folder / "out.log", folder / "err.log"
        self.write(text)
        arguments = ["run", "-c", str(self.path), "--workers", str(workers), *options]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process: Warm | subprocess.Popen[bytes]
            if warm and can_stand_for(env or {}):
                self.process = Warm(arguments, out, err)
            else:
                command = [sys.executable, "-m", "spectrum", *arguments]
                self.process = subprocess.Popen(command, stdout=out, stderr=err, env=os.environ | (env or {}))

    def write(self, text: str) -> None:
        """Write the file, at once for who may be reading it; the control socket is ours."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{text}\ncontrol: {{socket: {self.socket}}}\n")
        fresh.replace(self.path)

    def __enter__(self) -> "Daemon":
        deadline = time.monotonic() + self._start_timeout_s
        while "serving" not in self.messages():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.terminate()
                raise AssertionError(f"it does not serve: {self.messages()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                self.process.terminate()  # the second signal ends what still drains
                self.process.wait(10)
        end_those_of(self._err)
        assert "Traceback" not in self.messages(), self.messages()

    def messages(self) -> str:
        """What it said on standard error."""
        return self._err.read_text()

    def events(self) -> list[dict]:
        """The session records on standard output; one that is half written is not there yet."""
        written, _, _ = self._out.read_text().rpartition("\n")
        return [json.loads(line) for line in written.splitlines()]

    def output(self) -> str:
        """Standard output as it is."""
        return self._out.read_text()

    def wait_for_events(self, count: int, timeout_s: float = 10.0) -> list[dict]:
        """Wait until so many sessions have ended."""
        deadline = time.monotonic() + timeout_s
        while len(self.events()) < count:
            assert time.monotonic() < deadline, (self.events(), self.messages())
            time.sleep(0.02)
        return self.events()

    def status(self) -> dict:
        """What `spectrum status --json` prints."""
        return ask(self.socket, "GET", "/status")

    def app(self, name: str) -> dict:
        """The status of one app."""
        return next(app for app in self.status()["apps"] if app["name"] == name)

    def reload(self) -> list[str]:
        """Reload; return the errors."""
        return ask(self.socket, "POST", "/reload")["errors"]

    def worker_pids(self) -> list[int]:
        """The processes that serve."""
        try:
            return [worker["pid"] for worker in self.status()["workers"] if worker["ready"]]
        except DaemonError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)


def children_of(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
