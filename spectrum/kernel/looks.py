"""Packets that the filter's program shows the detector: a ring buffer of records of one length, read as it lies.

The buffer is mapped directly, without libbpf, which calls back for each record and asks the kernel by bpf(2): here
records are copied in one piece, and who reads needs no right but the descriptor (linux/kernel/bpf/ringbuf.c; the layout
is part of its interface).
"""

import mmap
import threading
from typing import Self

# struct look of bpf/flows.h, behind the header of a record of the ring buffer.
LOOK_BYTES = 184
HEADER_BYTES = 8
RECORD_BYTES = HEADER_BYTES + LOOK_BYTES
# The buffer's length: LOOKS_BYTES of bpf/flows.h.
RING_BYTES = 4 * 2**20
# In the first word of a record: it is still being written; it was given up. The program does not give up any.
_BUSY = 1 << 31


class LooksError(Exception):
    """The ring buffer cannot be read; the message says why."""


class Looks:
    """Reads the looks of the filter; there can be one reader.

    Args:
        descriptor: Of the ring buffer; it may be closed behind this.
        ring_bytes: How long the buffer is.

    Raises:
        LooksError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int, ring_bytes: int = RING_BYTES) -> None:
        page = mmap.PAGESIZE
        self._ring_bytes = ring_bytes
        # Taken and let go between looking at what is there and reading it, so that a processor that reads ahead (arm64)
        # reads no records older than their headers.
        self._barrier = threading.Lock()
        try:
            self._consumer = mmap.mmap(descriptor, page, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            # The data follow twice in a row, so that no record has a gap.
            self._producer = mmap.mmap(descriptor, page + 2 * ring_bytes, prot=mmap.PROT_READ, offset=page)
        except (OSError, ValueError) as exc:
            raise LooksError(f"the ring buffer of looks cannot be mapped: {exc}") from exc
        self._read_at = memoryview(self._consumer)[:8].cast("Q")
        self._written_at = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[page:]

    def read(self) -> bytes:
        """Return the records since the last call, each of `RECORD_BYTES`; the first eight of each are the buffer's."""
        at, end = self._read_at[0], self._written_at[0]
        if at == end:
            return b""
        start = at % self._ring_bytes
        whole = self._whole(start, end - at)
        with self._barrier:
            found = bytes(self._data[start : start + whole])
        self._read_at[0] = at + whole
        return found

    def _whole(self, start: int, size: int) -> int:
        """Return how many bytes of the records from a place on are of such that are no longer written."""
        words = self._data[start : start + size].cast("I")[:: RECORD_BYTES // 4]
        if max(words) < _BUSY:
            return size
        return next(n for n, word in enumerate(words) if word & _BUSY) * RECORD_BYTES

    def discard(self) -> None:
        """Forget what is there: it may be old."""
        while self.read():
            pass

    def close(self) -> None:
        """Unmap the buffer."""
        for view in (self._read_at, self._written_at, self._data):
            view.release()
        self._consumer.close()
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
