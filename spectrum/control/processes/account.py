"""The user that the daemon runs as: `user` in the file."""

import os
import pwd
import sys
from collections.abc import Iterable
from pathlib import Path

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.kernel.folders import give_folder
from spectrum.kernel.privileges import become


class AccountError(Exception):
    """The daemon cannot run as that user; the message says why."""


def account(name: str) -> pwd.struct_passwd:
    """Return a user's entry in the password database.

    Raises:
        AccountError: If there is none.
    """
    try:
        return pwd.getpwnam(name)
    except KeyError as exc:
        raise AccountError(f"there is no user {name!r} on this machine; useradd --system {name} makes one") from exc


def account_faults(config: Config) -> list[Fault]:
    """Return what is wrong with the user of a configuration."""
    try:
        if config.user is not None:
            account(config.user)
    except AccountError as exc:
        return [Fault(("user",), str(exc))]
    return []


def make_folder(folder: Path, user: str, mode: int = 0o755) -> None:
    """Make a folder that is not there. Made by root it is for a user, unless that is empty.

    Raises:
        AccountError: If there is no such user.
        OSError: If it cannot be made.
    """
    if folder.exists():
        return
    folder.mkdir(mode=mode, parents=True)
    if user and os.geteuid() == 0:
        entry = account(user)
        give_folder(folder, entry.pw_uid, entry.pw_gid)


def have_folder(folder: Path, user: str, setting: str) -> None:
    """Make a folder that nobody else can read, where it is not there.

    Args:
        folder: The folder.
        user: Whose it is to be; empty for this process's user.
        setting: What names it in the file.

    Raises:
        AccountError: If it cannot be made, or belongs to somebody else.
    """
    try:
        make_folder(folder, user, mode=0o700)
        owner = folder.stat().st_uid
    except OSError as exc:
        raise AccountError(f"{setting}: {folder}: {(exc.strerror or str(exc)).lower()}") from exc
    if user and owner != account(user).pw_uid:
        raise AccountError(f"{setting}: {folder} belongs to another user; chown -R {user} {folder}")


def leave_root(name: str, path: Path | None, folder: Path, shared: bool, made: Iterable[Path] = ()) -> None:
    """Become the user, if this process is not yet, and let it have the folder of the control socket.

    Args:
        name: The user.
        path: The configuration file, which reloads must be able to read; None where there is none.
        folder: Where the control socket is to be. It is made if it is not there, and then belongs to the user.
        shared: One that is there belongs to others.
        made: Other folders. Those that are not there are made, and then belong to the user.

    Raises:
        AccountError: If that cannot be, or the user could not serve.
    """
    user = account(name)
    if os.geteuid() == user.pw_uid:
        return
    if os.geteuid() != 0:
        raise AccountError(f"user: only root can become {name}; start it with sudo, or leave user out")
    try:
        if not folder.exists() or not shared:
            folder.mkdir(parents=True, exist_ok=True)
            give_folder(folder, user.pw_uid, user.pw_gid)
        for other in made:
            if not other.exists():
                other.mkdir(parents=True, mode=0o750)
                give_folder(other, user.pw_uid, user.pw_gid)
        become(user)
    except OSError as exc:
        raise AccountError(f"user: {name}: {(exc.strerror or str(exc)).lower()}") from exc
    # Better now than at the first reload, or worker by worker.
    if path is not None and not os.access(path, os.R_OK):
        raise AccountError(f"user: {name} cannot read {path}, which reloads need; chgrp and chmod g+r let it")
    if not os.access(sys.executable, os.X_OK):
        raise AccountError(
            f"user: {name} cannot run {sys.executable}; install it where others can, as in /opt/spectrum"
        )
