"""Processes under measurement: started on one core, their processor time and memory read from /proc."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PROXY_CORE = {1} if (os.cpu_count() or 1) > 1 else {0}
LOAD_CORE = {0}


class Running:
    """A process and its children, pinned to a core."""

    def __init__(self, command: list[str], cores: set[int], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=env,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

    def wait_for_port(self, port: int, timeout_s: float = 15.0) -> None:
        """Wait until somebody accepts on a port of the loopback."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"{self._process.args!r} ended with {self._process.returncode}; see {self._log.name}"
                )
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"{self._process.args!r} does not listen on {port}; see {self._log.name}")

    def pids(self) -> list[int]:
        """Return the ids of the process and its descendants."""
        found = [self._process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(map(int, task.read_text().split()))
        return found

    def cpu_s(self) -> float:
        """Return the processor time that all its threads have used, system calls included."""
        total_ns = 0
        for pid in self.pids():
            for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total_ns += int(stat.read_text().split()[0])
        return total_ns / 1e9

    def memory_bytes(self) -> int:
        """Return its proportional memory (Pss)."""
        total_kib = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kib += int(line.split()[1])
        return total_kib * 1024

    def stop(self) -> None:
        """Terminate, and kill what does not end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()
