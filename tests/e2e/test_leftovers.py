"""What tests leave is found, and ended."""

import os
import signal
import subprocess
import sys

import pytest

from tests.e2e import leftovers
from tests.engine.harness import eventually

# A child that runs on without its parent, as the successor of an upgrade; it ends, or does not, when it is told to.
ORPHAN = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1:] else signal.SIG_DFL)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def orphan(log, *arguments):
    """Return the process id of a child whose parent has ended."""
    with log.open("wb") as err:
        command = [sys.executable, "-c", ORPHAN, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True) as parent:
            return int(parent.stdout.readline())


def test_an_orphan_is_found_and_ended(tmp_path):
    log = tmp_path / "log"
    pid = orphan(log)
    assert "os.fork" in leftovers.marked()[pid]
    leftovers.end_those_of(log)
    assert pid not in leftovers.marked()


def test_one_that_does_not_end_is_killed_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "ENDS_S", 0.2)
    monkeypatch.setattr(leftovers, "DRAINS_S", 0.2)
    log = tmp_path / "log"
    pid = orphan(log, "stays")
    with pytest.raises(AssertionError, match=f"did not end: {{{pid}"):
        leftovers.end_those_of(log)
    eventually(lambda: pid not in leftovers.marked())


def test_those_of_others_stay(tmp_path):
    other = tmp_path / "other"
    other.touch()
    pid = orphan(tmp_path / "log")
    try:
        leftovers.end_those_of(other)
        assert pid in leftovers.marked()
    finally:
        os.kill(pid, signal.SIGKILL)
