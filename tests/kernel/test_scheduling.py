"""In a process of its own: who has short turns keeps all else."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, os, platform, sys
from spectrum.kernel import scheduling

def read():
    found = ctypes.create_string_buffer(scheduling._ATTRIBUTES.size)
    assert not ctypes.CDLL(None).syscall(scheduling._SET_ATTRIBUTES[platform.machine()] + 1, 0, found, len(found), 0)
    _, policy, _, nice, priority, turn_ns, _, _ = scheduling._ATTRIBUTES.unpack(found.raw)
    return policy, nice, priority, turn_ns

os.nice(3)
if sys.argv[1] == "batch":
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
before = read()
print(scheduling.take_short_turns(), read()[:3] == before[:3], read()[3], before[3])
"""


def run(policy):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, policy], capture_output=True, text=True, check=True
    ).stdout.split()


def test_shorter_turns():
    taken, same, turn_ns, before = run("other")
    assert (taken, same) == ("True", "True")
    if int(before) == 0:
        pytest.skip("this kernel does not tell")  # before Linux 6.12
    assert int(turn_ns) == 200_000 < int(before)


def test_another_policy_is_not_changed():
    taken, same, turn_ns, before = run("batch")
    assert (taken, same) == ("False", "True")
    assert turn_ns == before


GIVES_WAY = """
import os, threading
from spectrum.kernel.scheduling import give_way

def one():
    give_way(10)
    print(os.getpriority(os.PRIO_PROCESS, 0), end=" ")

thread = threading.Thread(target=one)
thread.start()
thread.join()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_a_thread_gives_way_and_no_other_does():
    found = subprocess.run([sys.executable, "-c", GIVES_WAY], capture_output=True, text=True, check=True).stdout.split()
    its, before = map(int, found)
    assert its == min(before + 10, 19) > before
