"""Packets that the filter's program passes to the detector: a ring buffer of records of one length.

The buffer is mapped directly, without libbpf, which calls back for each record and uses bpf(2): here records are copied
in one piece, and the reader needs no privilege besides the descriptor (linux/kernel/bpf/ringbuf.c; the layout is part
of its interface).
"""

import mmap
import threading
from typing import Self

# struct look of bpf/flows.h, after the header of a record of the ring buffer.
LOOK_BYTES = 184
# The start of the frame in it; 8 bytes of another meaning follow, which are not the same in looks of workers.
FRAME_BYTES = 88
HEADER_BYTES = 8
RECORD_BYTES = HEADER_BYTES + LOOK_BYTES
# The size of the buffer: LOOKS_BYTES of bpf/flows.h.
RING_BYTES = 4 * 2**20
# Bits in the first word of a record: being written; discarded. The program never discards.
_BUSY = 1 << 31


class LooksError(Exception):
    """The ring buffer cannot be read; the message has the reason."""


class Looks:
    """Reads the records of the filter; there can be one reader.

    Args:
        descriptor: The ring buffer's; the caller may close it afterwards.
        ring_bytes: The size of the buffer.

    Raises:
        LooksError: If it cannot be mapped.
    """

    def __init__(self, descriptor: int, ring_bytes: int = RING_BYTES) -> None:
        page = mmap.PAGESIZE
        self._ring_bytes = ring_bytes
        # Locked and unlocked between reading the headers and the records: a barrier, so that a weakly ordered CPU
        # (arm64) does not read records that are older than their headers.
        self._barrier = threading.Lock()
        try:
            self._consumer = mmap.mmap(descriptor, page, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            # The data are mapped twice in a row, so that no record wraps around.
            self._producer = mmap.mmap(descriptor, page + 2 * ring_bytes, prot=mmap.PROT_READ, offset=page)
        except (OSError, ValueError) as exc:
            raise LooksError(f"the ring buffer of looks cannot be mapped: {exc}") from exc
        self._read_at = memoryview(self._consumer)[:8].cast("Q")
        self._written_at = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[page:]

    def read(self) -> bytes:
        """Return the records since the last call, each of `RECORD_BYTES`; its first eight bytes are the buffer's."""
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
        """Return the number of bytes from a position on whose records are completely written."""
        words = self._data[start : start + size].cast("I")[:: RECORD_BYTES // 4]
        if max(words) < _BUSY:
            return size
        return next(n for n, word in enumerate(words) if word & _BUSY) * RECORD_BYTES

    def discard(self) -> None:
        """Skip all records: they may be old."""
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
