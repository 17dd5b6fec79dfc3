"""Create folders for the daemon's files, and check that other users cannot change existing ones."""

import os
import stat
from pathlib import Path

_OTHERS, _GROUP_AND_OTHERS = stat.S_IWOTH, stat.S_IWGRP | stat.S_IWOTH


class FolderError(Exception):
    """Another user could replace files of a folder; the message has the reason."""


def check_folder(folder: Path, is_ours: bool = True) -> None:
    """Check that only this user and root can create files in a folder or replace the folder.

    The same check as sshd's of a user's files (`StrictModes`). A symbolic link is refused: its owner could redirect it.

    Args:
        folder: The folder.
        is_ours: Whether it must belong to this user or root; otherwise its owner can create files, too.

    Raises:
        FolderError: If another user can.
        OSError: If it is not there.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{folder} is no folder" + (" but a link" if stat.S_ISLNK(found.st_mode) else ""))
    if is_ours and found.st_uid not in (0, os.geteuid()):
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
    """Change the owner of a folder; the target of a symbolic link is not changed.

    Raises:
        OSError: If the kernel refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)
