"""Files that are there whole or not at all, also after a loss of power."""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file, which only its owner reads (rename(2), fsync(2)).

    Raises:
        OSError: If it cannot be written; then it is as it was.
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
