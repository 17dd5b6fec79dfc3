"""A sink that writes records to a file, one per line, and rotates it by size."""

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from spectrum.core.records.formats import RecordFormat
from spectrum.core.records.journal import IDENTIFIED, Batch

log = logging.getLogger(__name__)

# Bytes in which the rest of an incomplete last line is searched after a crash.
TAIL_BYTES = 64 * 1024


class FileSink:
    """Appends to a file; the older ones are beside it, as `path.1` (the latest), `path.2` and so on.

    If another program moves the file, as logrotate does, a new one is created.

    Args:
        path: The file.
        max_bytes: The size at which the file is rotated.
        max_files: The number of older files that are kept.
        form: The format of records; None for whole records in JSON.
    """

    def __init__(self, path: Path, max_bytes: int, max_files: int, form: RecordFormat | None = None) -> None:
        self._form = form or RecordFormat("json")
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._descriptor = -1
        self._size = 0

    def deliver(self, batches: Sequence[Batch]) -> None:
        """Write the lines of batches, each with its `RecordId`.

        Raises:
            OSError: If they cannot be written; the file is unchanged.
        """
        data = b"".join(map(self._form.lines, batches))
        self._open()
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def flush(self) -> None:
        """Sync the file to disk.

        Raises:
            OSError: If that fails.
        """
        if self._descriptor >= 0:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        if self._descriptor >= 0 and self._is_in_place():
            return
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Not blocking: a pipe without a reader is refused.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o640)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(f"{self._path} is not a file")
            self._size = _end_last_line(descriptor, found.st_size)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        self.flush()
        files = [self._path, *(self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(self._max_files))]
        files[-1].unlink(missing_ok=True)
        for before, after in reversed(list(pairwise(files))):
            with suppress(FileNotFoundError):
                before.rename(after)
        self._open()


def _end_last_line(descriptor: int, size: int) -> int:
    """Cut off a record that a crash left incomplete, as it will be delivered again; return the size of the file."""
    tail_at = max(0, size - TAIL_BYTES)
    tail = os.pread(descriptor, TAIL_BYTES, tail_at)
    line = tail[tail.rfind(b"\n") + 1 :]
    if line and IDENTIFIED.startswith(line[: len(IDENTIFIED)]):
        os.ftruncate(descriptor, size - len(line))
        return size - len(line)
    return size + os.write(descriptor, b"\n") if line else size  # The file is not of our format.
