"""Signals (signal(7)): which ones are handled, and blocking of those that arrive before their handlers exist.

docs/operations.md lists the effect of each. All others are ignored: a stray signal ends no process that serves.
"""

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from signal import Signals

# The first one drains, the second one ends immediately. SIGQUIT is Ctrl-\ on a terminal, and nginx's graceful stop.
STOP = (Signals.SIGTERM, Signals.SIGINT, Signals.SIGQUIT)
# Blocked until they can be handled; SIGTERM and SIGINT end a process that does not serve yet.
EARLY = (Signals.SIGHUP, Signals.SIGQUIT)
# Signals of a terminal (Ctrl-C, Ctrl-\, hang-up) reach all processes of its group.
OF_TERMINAL = (Signals.SIGHUP, Signals.SIGINT, Signals.SIGQUIT)
# A background process writes to its terminal, or reads from it: a handler would be called endlessly.
_OF_BACKGROUND = (Signals.SIGTTIN, Signals.SIGTTOU)
# Faults dump core; job control stops and continues; resource limits (setrlimit(2)) apply; Python ignores SIGPIPE and
# SIGXFSZ; the rest does nothing by default.
_OF_SYSTEM = {
    *(
        Signals.SIGILL,
        Signals.SIGTRAP,
        Signals.SIGABRT,
        Signals.SIGBUS,
        Signals.SIGFPE,
        Signals.SIGSEGV,
        Signals.SIGSYS,
    ),
    *(Signals.SIGKILL, Signals.SIGSTOP, Signals.SIGTSTP, Signals.SIGCONT),
    *(Signals.SIGXCPU, Signals.SIGXFSZ, Signals.SIGPIPE, Signals.SIGCHLD, Signals.SIGURG, Signals.SIGWINCH),
}
# All others would end a process, and are ignored: SIGUSR1, SIGALRM, SIGPWR, the real-time signals.
SPARE = tuple(
    sorted(number for number in signal.valid_signals() if number not in {*_OF_SYSTEM, *STOP, *EARLY, *_OF_BACKGROUND})
)


def prepare(hold: Collection[int] = ()) -> None:
    """Ignore the signals that are not handled, and reset those that the parent has blocked or ignored.

    Args:
        hold: Signals to block until `release`.
    """
    for number in (*SPARE, *_OF_BACKGROUND):
        signal.signal(number, signal.SIG_IGN)
    # If it were ignored, the exit status of children would be lost (wait(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, hold)


def hold_all() -> set[int]:
    """Block all signals of this thread and its children; return those that were blocked before."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))


def release(numbers: Collection[int]) -> None:
    """Unblock the signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextmanager
def all_held() -> Iterator[None]:
    """Return a context in which signals are blocked; a child that is started in it unblocks them by `prepare`."""
    before = hold_all()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def name(number: int) -> str:
    """Return a signal's name, such as SIGUSR1 or SIGRTMIN+1."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    return Signals(number).name


def how_ended(status: int) -> str:
    """Return how a process ended, from its exit status, which is negative for a signal."""
    return f"killed by {name(-status)}" if status < 0 else f"exit status {status}"
