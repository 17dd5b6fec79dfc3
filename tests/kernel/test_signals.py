import signal
import subprocess
import sys
import threading

import pytest

from spectrum.kernel import signals

# A parent may leave these so to its children.
HOSTILE = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
PREPARED = """
import os, signal, subprocess, time
from spectrum.kernel import signals
signals.prepare(hold=signals.EARLY)
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(signals.EARLY)
for number in (*signals.SPARE, signal.SIGTTIN, signal.SIGTTOU, *signals.EARLY):
    os.kill(os.getpid(), number)
assert set(signal.sigpending()) == set(signals.EARLY)
assert subprocess.run(["sh", "-c", "exit 7"]).returncode == 7
heard = []
signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
signals.release({signal.SIGHUP})
assert heard == [signal.SIGHUP]
"""
TERM = "os.kill(os.getpid(), signal.SIGTERM)"


def test_every_signal_is_known():
    """SIGUSR1 to SIGRTMAX: each one has a meaning, is the system's, or is ignored."""
    known = {*signals.SPARE, *signals.STOP, *signals.EARLY, *signals._OF_SYSTEM, *signals._OF_BACKGROUND}
    assert known == signal.valid_signals()
    assert not set(signals.SPARE) & {*signals.STOP, *signals.EARLY, *signals._OF_SYSTEM}
    assert {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN, signal.SIGRTMAX} <= set(signals.SPARE)


@pytest.mark.parametrize(("at_last", "status"), [("", 0), (TERM, -signal.SIGTERM)])
def test_what_comes_early(at_last, status):
    """SIGHUP waits; what has no meaning ends nothing; SIGTERM ends, whatever the parent left blocked."""
    command = [sys.executable, "-c", HOSTILE, PREPARED + at_last]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (status, "")


def test_held_signals_wait():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with signals.all_held():
        # To this thread: another one, which a test before left behind, would take one that is the process's.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert signal.sigpending() == {signal.SIGTERM}
        assert signal.sigtimedwait({signal.SIGTERM}, 1)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize(("number", "name"), [(10, "SIGUSR1"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (64, "SIGRTMAX")])
def test_names(number, name):
    assert signals.name(number) == name
    assert signals.how_ended(-number) == f"killed by {name}"


def test_exit_statuses():
    assert signals.how_ended(3) == "exit status 3"
