"""Atomic replacement of files, durable in a power failure."""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file; only its owner may read it (rename(2), fsync(2)).

    Raises:
        OSError: If it cannot be written; the file is then unchanged.
    """
    beside = path.with_name(f".{path.name}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
