"""How soon the kernel runs a process that wakes while others compute on its processor (sched(7), sched_setattr(2))."""

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
    """Have the kernel give this thread shorter turns on a processor, and these sooner; its share stays the same.

    Linux 6.12 and later take the length of a turn for ordinary threads (EEVDF): one that wakes precedes those with
    longer turns, where it would otherwise wait for a tick of the kernel, up to 4 ms. It needs no privilege. A thread
    of another policy than the ordinary one is left alone, and so is its priority.

    Returns:
        Whether the kernel took it. An older one may, too, and does nothing.
    """
    number = _SET_ATTRIBUTES.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, turn_ns, 0, 0)
    return not ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def give_way(nice: int) -> None:
    """Have this thread leave the processor to others that want it, and run in what is left.

    A thread that wakes up just after it slept precedes one that computes only if it has had less than its share by
    then, and otherwise waits for the next tick of the kernel, up to 4 ms (EEVDF). Beside one with little weight it
    nearly always has.

    It cannot be undone without a privilege, and holds for threads and processes that this thread starts.

    Args:
        nice: Added to its nice value. Beside a thread with the value before, 5 leave a quarter of a processor, and 10 a
            tenth (sched_prio_to_weight in the kernel's sources).
    """
    os.nice(nice)
