"""The user that the daemon runs as: `user` in the file."""

import os
import pwd
import subprocess
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
        AccountError: If there is no such user.
    """
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError) as exc:  # ValueError for a name that no system call takes
        raise AccountError(
            f"there is no user {name!r} on this machine; create it with: useradd --system {name}"
        ) from exc


def account_faults(config: Config) -> list[Fault]:
    """Return the faults of the user of a configuration."""
    try:
        if config.user is not None:
            account(config.user)
    except AccountError as exc:
        return [Fault(("user",), str(exc))]
    return []


def account_refusals(config: Config, path: Path | None) -> list[Fault]:
    """Return why a daemon that root starts could not run as the user of a configuration, by an attempt.

    Args:
        config: The configuration.
        path: Its file, which reloads must be able to read; None if there is none.
    """
    if config.user is None or os.geteuid() != 0 or account_faults(config):
        return []
    user, reads = account(config.user), "import os, sys; sys.exit(not os.access(sys.argv[1], os.R_OK))"
    try:
        is_read = subprocess.run(
            [sys.executable, "-S", "-E", "-c", reads, (path or Path("/")).absolute()],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
            cwd="/",
            check=False,
        )
    except OSError:
        return [Fault(("user",), _not_runnable(config.user))]
    return [Fault(("user",), _unreadable(config.user, path))] if is_read.returncode and path is not None else []


def only_for_root(config: Config) -> list[str]:
    """Return that this user could not start a daemon with the user of a configuration."""
    if config.user is None or account_faults(config) or os.geteuid() in (0, account(config.user).pw_uid):
        return []
    return [_only_root(config.user)]


def _only_root(name: str) -> str:
    return f"user: only root can switch to {name}; start it with sudo, or leave user out"


def _not_runnable(name: str) -> str:
    return f"{name} cannot run {sys.executable}; install it where others can, as in /opt/spectrum"


def _unreadable(name: str, path: Path) -> str:
    return f"{name} cannot read {path}, which reloads need; chgrp and chmod g+r let it"


def _of_another(folder: Path, user: str) -> str:
    return f"{folder} belongs to another user; chown -R {user} {folder}"


def folder_refusals(folder: Path, user: str, setting: str) -> list[Fault]:
    """Return why `have_folder` would refuse a folder; nothing if it is missing, and can be created.

    Args:
        folder: The folder.
        user: The owner; empty for this process's user.
        setting: The setting of the file that names it.
    """
    place = tuple(setting.split("."))
    if folder.exists():
        if not folder.is_dir():
            return [Fault(place, f"{folder} is not a folder")]
        if user and folder.stat().st_uid != account(user).pw_uid:
            return [Fault(place, _of_another(folder, user))]
    return []


def make_folder(folder: Path, user: str, mode: int = 0o755) -> None:
    """Create a folder if it is missing. Root creates it for a user, unless that is empty.

    Raises:
        AccountError: If there is no such user.
        OSError: If it cannot be created.
    """
    if folder.exists():
        return
    folder.mkdir(mode=mode, parents=True)
    if user and os.geteuid() == 0:
        entry = account(user)
        give_folder(folder, entry.pw_uid, entry.pw_gid)


def have_folder(folder: Path, user: str, setting: str) -> None:
    """Create a folder that only its owner can read, if it is missing.

    Args:
        folder: The folder.
        user: The owner; empty for this process's user.
        setting: The setting of the file that names it.

    Raises:
        AccountError: If it cannot be created, or has another owner.
    """
    try:
        make_folder(folder, user, mode=0o700)
        owner = folder.stat().st_uid
    except OSError as exc:
        raise AccountError(f"{setting}: {folder}: {(exc.strerror or str(exc)).lower()}") from exc
    if user and owner != account(user).pw_uid:
        raise AccountError(f"{setting}: {_of_another(folder, user)}")


def leave_root(name: str, path: Path | None, folder: Path, shared: bool, made: Iterable[Path] = ()) -> None:
    """Switch to the user, if this process does not run as it yet, and give it the folder of the control socket.

    Args:
        name: The user.
        path: The configuration file, which reloads must be able to read; None if there is none.
        folder: The folder of the control socket. It is created if it is missing, and then belongs to the user.
        shared: An existing folder belongs to others.
        made: Other folders. Missing ones are created, and then belong to the user.

    Raises:
        AccountError: If that fails, or the user could not serve.
    """
    user = account(name)
    if os.geteuid() == user.pw_uid:
        return
    if os.geteuid() != 0:
        raise AccountError(_only_root(name))
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
    # Reported now rather than at the first reload, or by each worker.
    if path is not None and not os.access(path, os.R_OK):
        raise AccountError(f"user: {_unreadable(name, path)}")
    if not os.access(sys.executable, os.X_OK):
        raise AccountError(f"user: {_not_runnable(name)}")
