"""Resource usage of a process: memory, CPU time, descriptors (proc(5))."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of proc_pid_stat(5), counted from the one after the command, which is in parentheses and may contain spaces.
_USER_TICKS, _SYSTEM_TICKS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 11, 12, 19, 20, 21


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """The resource usage of one process.

    Attributes:
        resident_bytes: Resident memory, shared memory included.
        virtual_bytes: The address space.
        cpu_s: CPU time in seconds, in user and kernel mode.
        started_at: The time of its start, in seconds since 1970.
        descriptors: Open descriptors; None if the kernel does not tell this user.
        max_descriptors: Their limit (RLIMIT_NOFILE); None for no limit.
    """

    resident_bytes: int
    virtual_bytes: int
    cpu_s: float
    started_at: float
    descriptors: int | None
    max_descriptors: int | None


def usage_of(pid: int) -> ProcessUsage | None:
    """Return the resource usage of a process; None if it has ended."""
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
        # The size of the folder is the number of descriptors since Linux 6.2; it was 0 before.
        return (os.access(folder, os.R_OK) and os.stat(folder).st_size) or len(os.listdir(folder))
    return None


def _max_descriptors(limits: bytes) -> int | None:
    found = re.search(rb"^Max open files +(\d+)", limits, re.MULTILINE)
    return int(found[1]) if found else None


@cache
def _booted_at() -> float:
    """Return the time base of processes' start times; constant as long as this process runs."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
