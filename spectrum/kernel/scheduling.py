"""Scheduling latency of a process that wakes while others compute on its CPU (sched(7), sched_setattr(2))."""

import ctypes
import os
import platform
import struct

# asm/unistd.h of each architecture; glibc has a function since 2.41.
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
# struct sched_attr, version 0: size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
# The default is 3 ms on most machines; the kernel takes 0.1 ms to 100 ms.
SHORT_TURN_NS = 200_000


def take_short_turns(turn_ns: int = SHORT_TURN_NS) -> bool:
    """Request short time slices for this thread, and thereby earlier ones; its share stays the same.

    Linux 6.12 and later accept the length of a slice for ordinary threads (EEVDF): a waking thread precedes those with
    longer slices, where it would otherwise wait for a scheduler tick, up to 4 ms. It needs no privilege. Threads of
    other scheduling policies are not changed, nor is the nice value.

    Returns:
        Whether the kernel accepted it. An older kernel may accept it without effect.
    """
    number = _SET_ATTRIBUTES.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, turn_ns, 0, 0)
    return not ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def give_way(nice: int) -> None:
    """Lower the priority of this thread, so that it runs in the time that other threads leave.

    Without that, a thread that wakes shortly after it slept precedes a computing one only if it has had less than its
    share, and otherwise waits for the next scheduler tick, up to 4 ms (EEVDF). Against a thread of low weight it nearly
    always has had less.

    It cannot be undone without a privilege, and is inherited by threads and processes that this thread starts.

    Args:
        nice: Added to its nice value. Against a thread with the former value, 5 leave a quarter of a CPU, and 10 a
            tenth (sched_prio_to_weight in the kernel's sources).
    """
    os.nice(nice)
