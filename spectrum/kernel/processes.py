"""Sockets of other processes (pidfd_getfd(2))."""

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

# asm/unistd_64.h, the same number on every architecture.
_PIDFD_GETFD = 438


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """Yield duplicates of a process's sockets; the caller closes them.

    Raises:
        OSError: If there is no such process, or it belongs to another user (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS).
    """
    library = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        for entry in sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name)):
            try:
                if not os.readlink(entry).startswith("socket:"):
                    continue
            except FileNotFoundError:  # closed meanwhile
                continue
            copy = library.syscall(_PIDFD_GETFD, process, int(entry.name), 0)
            if copy < 0:
                raise OSError(ctypes.get_errno(), f"socket {entry.name} of process {pid} cannot be copied")
            yield socket.socket(fileno=copy)
    finally:
        os.close(process)
