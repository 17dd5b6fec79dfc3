"""Restrict file access of this process irrevocably, by Landlock (landlock(7)); needs no privilege."""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

# asm-generic/unistd.h, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
# linux/landlock.h
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Rights of the first version (execute, write, read, remove, make), and truncate(2) of later ones. Listing folders
# stays allowed: libbpf opens "/" where it only needs a descriptor (libbpf.c, bpf_map__reuse_fd).
_EVERYTHING = (1 << 13) - 1 & ~_READ_DIR
_TRUNCATE_SINCE = 3
_RULE = struct.Struct("=Qi")

_libc = ctypes.CDLL(None, use_errno=True)


def limit_files(
    readable: Iterable[Path], writable: Iterable[Path], own: Iterable[Path], executable: Iterable[Path] = ()
) -> bool:
    """Restrict which files can be opened from now on; return False without Landlock (Linux 5.13).

    Open descriptors stay usable, and folders may be listed. Paths that cannot be opened are skipped.

    Args:
        readable: Read access below these paths.
        writable: Read access, and write access to existing files, below these paths.
        own: Full access below these paths.
        executable: Read and execute access below these paths.

    Raises:
        OSError: If the kernel refuses. no_new_privs must be set.
    """
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 0:
        return False
    truncate = _TRUNCATE if version >= _TRUNCATE_SINCE else 0
    handled = struct.pack("=Q", _EVERYTHING | truncate)
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0))
    try:
        for paths, access in (
            (readable, _READ_FILE),
            (writable, _READ_FILE | _WRITE_FILE | truncate),
            (own, _EVERYTHING | truncate),
            (executable, _READ_FILE | _EXECUTE),
        ):
            for path in paths:
                _allow(ruleset, path, access)
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, _RULE.pack(access, beneath), 0))
    finally:
        os.close(beneath)


def _checked(outcome: int) -> int:
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return outcome
