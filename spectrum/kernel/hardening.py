"""Confinement of processes of the daemon that serve clients or parse their input."""

import os
import pwd
from collections.abc import Iterable, Sequence
from pathlib import Path

from spectrum.kernel import seccomp
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.privileges import become, confine

# Keeps the current user.
SAME_USER = "-"


def harden(user: str, readable: Iterable[str], folders: Sequence[Path], forbids_calls: bool) -> None:
    """Drop all rights except to read some paths, and to write files in some folders.

    Args:
        user: The user to run as; `SAME_USER` to keep the current one.
        readable: Files and folders that can be read.
        folders: The only folders with writable files; the first one is created if missing.
        forbids_calls: Whether system calls are restricted, too.

    Raises:
        OSError: If the kernel refuses.
        KeyError: If there is no such user.
    """
    if user != SAME_USER and pwd.getpwnam(user).pw_uid != os.geteuid():
        become(pwd.getpwnam(user))
    confine(())
    folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)  # Landlock ignores a path that does not exist
    limit_files(map(Path, readable), (), folders)
    if forbids_calls:
        seccomp.forbid(seccomp.FORBIDDEN)
