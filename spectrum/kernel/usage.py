"""What a process takes of the machine: memory, processor time, descriptors (proc(5))."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Of proc_pid_stat(5), counted from the field after the command, which is in parentheses and may have spaces.
_USER_TICKS, _SYSTEM_TICKS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 11, 12, 19, 20, 21


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What one process takes.

    Attributes:
        resident_bytes: Memory that it has, shared memory included.
        virtual_bytes: Its address space.
        cpu_s: Processor time, in user and kernel mode.
        started_at: Seconds since 1970.
        descriptors: How many are open; None where the kernel does not tell this user.
        max_descriptors: So many it may have (RLIMIT_NOFILE); None for any number.
    """

    resident_bytes: int
    virtual_bytes: int
    cpu_s: float
    started_at: float
    descriptors: int | None
    max_descriptors: int | None


def usage_of(pid: int) -> ProcessUsage | None:
    """Return what a process takes; None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        with open(f"/proc/{pid}/limits", "rb") as file:
            limits = file.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return ProcessUsage(
        resident_bytes=int(fields[_RESIDENT_PAGES]) * _PAGE_BYTES,
        virtual_bytes=int(fields[_VIRTUAL_BYTES]),
        cpu_s=(int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S,
        started_at=_booted_at() + int(fields[_START_TICKS]) / _TICKS_PER_S,
        descriptors=_descriptors(pid),
        max_descriptors=_max_descriptors(limits),
    )


def _descriptors(pid: int) -> int | None:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        # The folder's size is their number since Linux 6.2; it was 0 before.
        return (os.access(folder, os.R_OK) and os.stat(folder).st_size) or len(os.listdir(folder))
    return None


def _max_descriptors(limits: bytes) -> int | None:
    found = re.search(rb"^Max open files +(\d+)", limits, re.MULTILINE)
    return int(found[1]) if found else None


@cache
def _booted_at() -> float:
    """Return when the clock of processes' starts began; the same for all of them as long as this process runs."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
