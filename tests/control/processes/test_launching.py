"""Weight cannot be had back, so what is given up is given up in a process of its own."""

import signal
import subprocess
import sys

import pytest

from spectrum.control.processes import launching
from spectrum.control.processes.launching import have_launcher, start_process

SCRIPT = """
import os, subprocess, sys, threading
from spectrum.control.processes.launching import have_launcher, start_process
from spectrum.kernel.scheduling import give_way

CHILD = '''
import os, signal
print(os.getpriority(os.PRIO_PROCESS, 0), len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
'''

def start():
    child = start_process([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    print(child.communicate()[0], end="")

print(os.getpriority(os.PRIO_PROCESS, 0))
have_launcher()
give_way(5)
print(os.getpriority(os.PRIO_PROCESS, 0))
start()
thread = threading.Thread(target=lambda: (give_way(5), start()))
thread.start()
thread.join()
try:
    start_process(["/nowhere/python"])
except OSError as exc:
    print(exc.strerror)
"""


def test_children_keep_the_weight_that_others_gave_up():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, own, *children, fault = done.stdout.splitlines()
    assert int(own) == min(int(before) + 5, 19) > int(before)
    # With all signals held back but SIGKILL and SIGSTOP.
    assert len(set(children)) == 1 and len(children) == 2
    weight, held = map(int, children[0].split())
    assert weight == int(before) and held == len(signal.valid_signals()) - 2
    assert fault == "No such file or directory"


def starts():
    child = start_process(["sh", "-c", "echo $X"], stdout=subprocess.PIPE, env={"X": "7"}, text=True)
    assert child.communicate(timeout=10)[0] == "7\n" and child.returncode == 0
    with pytest.raises(FileNotFoundError):
        start_process(["/nowhere/python"])


def test_without_a_launcher():
    starts()


def test_with_one(monkeypatch):
    monkeypatch.setattr(launching, "_launcher", None)
    have_launcher()
    try:
        starts()
    finally:
        launching._launcher.shutdown()
