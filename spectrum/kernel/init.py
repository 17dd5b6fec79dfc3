"""A small parent of the daemon, for containers, which end with their first process.

An upgrade makes another process the daemon. The first process of a container cannot be replaced: when it ends, the
kernel ends all others (pid_namespaces(7)), and `docker run --init` ends with the process that it started. So the parent
stays. It forwards signals, reaps orphaned processes, and ends when the daemon ends.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

# In the daemon's environment: the descriptor by which it tells the parent its successor.
VARIABLE = "SPECTRUM_PARENT"
# Init programs that start one process and end with it.
_TINY_INITS = {"tini", "docker-init", "dumb-init", "catatonit"}
# linux/include/uapi/linux/prctl.h
_SET_CHILD_SUBREAPER = 36
# Variables that sd_listen_fds(3) and sd_watchdog_enabled(3) compare with the process id.
_PID_VARIABLES = ("LISTEN_PID", "WATCHDOG_PID")
_FIRST_OTHER_DESCRIPTOR = 3


def is_needed() -> bool:
    """Return whether the container ends with this process: it is the first one, or was started by a minimal init.

    The parent's id is 0 for the first process of a PID namespace, and for one that was started into it from outside.
    """
    if VARIABLE in os.environ:
        return False
    parent = os.getppid()
    return parent == 0 or (parent == 1 and _is_tiny_init())


def _is_tiny_init() -> bool:
    with suppress(OSError):
        return Path("/proc/1/comm").read_text(encoding="utf-8").strip() in _TINY_INITS
    return False


def become_parent() -> None:
    """Fork, and return in the child, which becomes the daemon; this process stays as its parent.

    The child has its own session, so that a terminal's signals reach it once, through the parent.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if os.getpid() != 1:  # before the daemon can leave a process behind; the setting is not inherited
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reading, writing = os.pipe()
    parent = str(os.getpid())
    child = os.fork()
    if child:
        os.close(writing)
        os._exit(_stay(child, reading))
    os.close(reading)
    os.setsid()
    os.environ[VARIABLE] = str(writing)
    for variable in _PID_VARIABLES:
        if os.environ.get(variable) == parent:
            os.environ[variable] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def descriptors() -> list[int]:
    """Return the descriptors that a successor of this process must inherit."""
    told = os.environ.get(VARIABLE)
    return [int(told)] if told else []


def followed_by(pid: int) -> bool:
    """Tell the parent the id of the new daemon; return False if there is no parent."""
    with suppress(OSError):
        for descriptor in descriptors():
            os.write(descriptor, f"{pid}\n".encode())
            return True
    return False


def _stay(daemon: int, told: int) -> int:
    """Forward signals and reap children until the daemon ends without a successor; return its exit status."""
    # Only the daemon may hold passed sockets, so that it can close them.
    os.closerange(_FIRST_OTHER_DESCRIPTOR, told)
    os.closerange(told + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_blocking(told, False)
    while True:
        number = signal.sigwait(signal.valid_signals())
        # First, because kill(2) succeeds for a zombie.
        for pid, status in _ended():
            if pid != daemon:
                continue
            daemon = _follower(told)
            if not daemon:
                return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(daemon, number)


def _ended() -> list[tuple[int, int]]:
    """Reap; return the process ids and wait statuses of all children that have ended."""
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _follower(told: int) -> int:
    """Return the successor that the daemon named last, if it is a child of this process; otherwise 0."""
    with suppress(OSError, IndexError, ValueError):
        pid = int(os.read(told, 4096).split()[-1])
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return pid
    return 0
