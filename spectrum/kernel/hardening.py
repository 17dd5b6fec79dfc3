"""What a process of the daemon gives up that serves others, or reads what anybody sends."""

import os
import pwd
from collections.abc import Iterable, Sequence
from pathlib import Path

from spectrum.kernel import seccomp
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.privileges import become, confine

# The user that a process stays.
SAME_USER = "-"


def harden(user: str, readable: Iterable[str], folders: Sequence[Path], forbids_calls: bool) -> None:
    """Give up all rights but those to read some paths, and to keep files in some folders.

    Args:
        user: Whom to become; `SAME_USER` to stay.
        readable: Files and folders that can be read.
        folders: Here alone files can be written; the first one is made where it is not there.
        forbids_calls: Whether system calls are forbidden, too.

    Raises:
        OSError: If the kernel refuses.
        KeyError: If there is no such user.
    """
    if user != SAME_USER and pwd.getpwnam(user).pw_uid != os.geteuid():
        become(pwd.getpwnam(user))
    confine(())
    folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)  # a path that is not there gets no rule
    limit_files(map(Path, readable), (), folders)
    if forbids_calls:
        seccomp.forbid(seccomp.FORBIDDEN)
