"""Programs that nobody here wrote, run for a test."""

import os
import subprocess
from pathlib import Path

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def run(*command, timeout_s=60, **options):
    """Run a program to its end; return its exit status and output."""
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | {"PATH": PATH},
        **options,
    )


class Programs:
    """Servers that run until the test's end, their output in files of `folder`."""

    def __init__(self, folder):
        self._folder = folder
        self._running = []

    def start(self, *command):
        log = (self._folder / f"{Path(str(command[0])).name}-{len(self._running)}.log").open("wb")
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PATH": PATH},
            cwd=self._folder,
        )
        self._running.append((process, log))
        return process

    def output(self, process):
        """What a program printed."""
        return next(Path(log.name).read_text() for started, log in self._running if started is process)

    def stop(self):
        for process, log in self._running:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()
