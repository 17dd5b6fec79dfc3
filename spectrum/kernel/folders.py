"""Create folders for the daemon's files, and check whether existing ones can be trusted."""

import os
import stat
from pathlib import Path

_OTHERS, _GROUP_AND_OTHERS = stat.S_IWOTH, stat.S_IWGRP | stat.S_IWOTH


class FolderError(Exception):
    """Another user could replace files of a folder; the message says why."""


def check_folder(folder: Path) -> None:
    """Check that only this user and root can create files in a folder or replace the folder.

    That is what sshd asks of a user's files (`StrictModes`). A link is refused: who made it could lead it elsewhere.

    Raises:
        FolderError: If another user can.
        OSError: If it is not there.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{folder} is no folder" + (" but a link" if stat.S_ISLNK(found.st_mode) else ""))
    if found.st_uid not in (0, os.geteuid()):
        raise FolderError(f"{folder} belongs to another user (uid {found.st_uid})")
    if found.st_mode & _GROUP_AND_OTHERS:
        raise FolderError(f"{folder} can be written by other users (mode {stat.S_IMODE(found.st_mode):04o})")
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & _OTHERS and not mode & stat.S_ISVTX:
            raise FolderError(
                f"{parent} can be written by all users, and is not sticky (mode {stat.S_IMODE(mode):04o})"
            )


def give_folder(folder: Path, uid: int, gid: int) -> None:
    """Give a folder to a user; the target of a symbolic link is left alone.

    Raises:
        OSError: If that cannot be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)
