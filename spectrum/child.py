"""The first steps of a process that the supervisor starts from this package."""

import logging
import signal
import sys
from pathlib import Path

from spectrum.kernel import installation, seccomp, signals
from spectrum.kernel.installation import PackageChanged
from spectrum.log import configure_child_logging

log = logging.getLogger(__name__)

_RING_CALLS = ("io_uring_setup",)


def begin_child(what: str, name: str) -> None:
    """Log as the supervisor does, block SIGTERM until it is handled, and set the process's name.

    The process ends if the package was changed meanwhile.

    Args:
        what: The process, for messages.
        name: The name in `ps`, of 15 characters at most.
    """
    configure_child_logging()
    # Signals of a terminal reach the whole process group; only the supervisor acts on them.
    for number in signals.OF_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signals.prepare(hold={signal.SIGTERM})
    try:
        installation.verify()
    except PackageChanged as exc:
        log.error("%s does not start: %s", what, exc)
        sys.exit(1)
    Path("/proc/self/comm").write_text(name, encoding="ascii")


def forbid_rings() -> None:
    """Forbid io_uring, before there is a loop.

    libuv creates a ring for each loop, and aborts if its calls are forbidden afterwards (uv__epoll_ctl_flush).
    """
    seccomp.forbid(_RING_CALLS)
