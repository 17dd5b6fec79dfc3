"""Reads the text of a configuration from a file or from standard input."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from spectrum.control.configuration.diagnostics import ConfigError, Diagnostic
from spectrum.control.configuration.yaml_faults import Position

STANDARD_INPUT = Path("-")
# Enough for 300,000 apps. Also a bound for devices and for pipes that never end.
MAX_BYTES = 64 << 20
_STDIN = 0
_KINDS = ((stat.S_ISCHR, "a character device"), (stat.S_ISBLK, "a block device"), (stat.S_ISSOCK, "a socket"))


def name_of_file(path: Path) -> str:
    """Return the name of a file for messages."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def read_text(path: Path) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises:
        ConfigError: If it cannot be read, is a device, longer than `MAX_BYTES`, or not UTF-8.
    """
    try:
        if path == STANDARD_INPUT:
            data = _standard_input()
        else:
            _refuse_devices(path.stat().st_mode)
            with path.open("rb") as file:
                _refuse_devices(os.fstat(file.fileno()).st_mode)
                data = _bytes(file)
        return data.decode()
    except OSError as exc:
        raise _unreadable(path, f"cannot be read: {exc.strerror.lower() if exc.strerror else exc}") from exc
    except UnicodeDecodeError as exc:
        raise _unreadable(path, "not UTF-8 text", exc.object[: exc.start].count(b"\n") + 1) from exc


def keep_standard_input() -> None:
    """Copy standard input to memory and put that in its place: a successor, which inherits it, can read it too.

    Raises:
        ConfigError: As `read_text`.
    """
    text = read_text(STANDARD_INPUT)
    with open(os.memfd_create("configuration"), "r+b") as file:
        file.write(text.encode())
        file.seek(0)
        os.dup2(file.fileno(), _STDIN)


def _standard_input() -> bytes:
    """Return all of standard input, and rewind it if possible."""
    with open(_STDIN, "rb", closefd=False) as file:
        begin = file.tell() if file.seekable() else None
        data = _bytes(file)
        if begin is not None:
            file.seek(begin)
        return data


def _refuse_devices(mode: int) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise OSError(f"it is {kind}; write a file")


def _bytes(file: BinaryIO) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"it is longer than {MAX_BYTES >> 20} MiB")
    return data


def _unreadable(path: Path, message: str, line: int = 1) -> ConfigError:
    return ConfigError([Diagnostic(name_of_file(path), Position(line, 1), "", message)])
