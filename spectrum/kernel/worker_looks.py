"""Samples of a worker's engine for the detector, and counts of its rules, in a memory file of the supervisor.

Used where the filter does not see the packets. Records are those of the filter's ring buffer (`looks.py`); the header
of the synthetic frame is followed by the number of the app (`group_of` of core/limits/rules.py). The worker writes, and
trusts nothing that the detector could write; the file cannot be shrunk.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterable
from typing import Self

from spectrum.kernel.looks import RECORD_BYTES, LooksError

# struct Ring of engine/lookout.pxd.
RECORDS = 8192
RULE_NUMBERS = 128
_RULES_AT, _RECORDS_AT = 64, 4096
FILE_BYTES = _RECORDS_AT + RECORDS * RECORD_BYTES
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_TALLY = struct.Struct("=QQ")


def make_file(name: str, size: int = FILE_BYTES) -> int:
    """Create an empty memory file of fixed size; return its descriptor, which the caller closes."""
    descriptor = os.memfd_create(f"spectrum-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


class WorkerLooks:
    """Reads the samples of one worker.

    Args:
        descriptor: Its memory file's; the caller may close it afterwards.

    Raises:
        LooksError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            self._memory = mmap.mmap(descriptor, FILE_BYTES)
        except (OSError, ValueError) as exc:
            raise LooksError(f"the memory of a worker's looks cannot be mapped: {exc}") from exc
        # Locked and unlocked between reading the position and the records: see `Looks`.
        self._barrier = threading.Lock()
        self._words = memoryview(self._memory)[:64].cast("Q")
        self._data = memoryview(self._memory)[_RECORDS_AT:]

    @property
    def lost(self) -> int:
        """The number of samples without room since the file was created."""
        return self._words[2]

    def read(self) -> bytes:
        """Return the records since the last call."""
        end, at = self._words[0], self._words[1]
        if end == at:
            return b""
        at = max(at, end - RECORDS)
        first, count = at % RECORDS, end - at
        with self._barrier:
            head = self._data[first * RECORD_BYTES : min(first + count, RECORDS) * RECORD_BYTES]
            found = bytes(head) + bytes(self._data[: max(0, first + count - RECORDS) * RECORD_BYTES])
        self._words[1] = end
        return found

    def counts(self) -> list[tuple[int, int]]:
        """Return packets and bytes of rules, by number."""
        return list(_TALLY.iter_unpack(self._memory[_RULES_AT : _RULES_AT + RULE_NUMBERS * _TALLY.size]))

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._data.release()
        self._memory.close()


class AllLooks:
    """Reads the samples of several workers, with the interface of `Looks`.

    Args:
        descriptors: Their memory files'; the caller may close them afterwards.

    Raises:
        LooksError: If one cannot be mapped.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._all: list[WorkerLooks] = []
        try:
            for descriptor in descriptors:
                self._all.append(WorkerLooks(descriptor))
        except LooksError:
            self.close()
            raise

    @property
    def lost(self) -> int:
        """The number of samples without room."""
        return sum(one.lost for one in self._all)

    def read(self) -> bytes:
        """Return the records since the last call, worker by worker."""
        return b"".join(one.read() for one in self._all)

    def counts(self) -> list[tuple[int, int]]:
        """Return packets and bytes of rules, by number."""
        found = [one.counts() for one in self._all]
        return [(sum(packets for packets, _ in of), sum(size for _, size in of)) for of in zip(*found, strict=True)]

    def discard(self) -> None:
        """Skip all records: they may be old."""
        self.read()

    def close(self) -> None:
        """Unmap the files."""
        for one in self._all:
            one.close()
        self._all.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
