"""The files of the journal: one thread appends to them, others read. All that waits is appended with one write, so a
crash leaves at most an incomplete frame at the end, which the next start cuts off.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from spectrum.core.records.journal import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Batch,
    Cursor,
    Entry,
    Extent,
    Stop,
    encode_frame,
    following,
    read_frames,
    resume,
    segment_header,
    surplus,
)

log = logging.getLogger(__name__)

# Number of segments: the oldest is dropped as a whole, a small part of the journal.
SEGMENTS = 16
MAX_SEGMENT_BYTES = 64 * 2**20
# A read has room for the largest frame.
READ_BYTES = 2 * MAX_FRAME_BYTES
# Linux takes 1024 (IOV_MAX).
_PARTS_AT_ONCE = 1024

_SUFFIX = ".journal"


class Reading(NamedTuple):
    """The result of a read.

    Attributes:
        entries: Batches; none at the end of the journal.
        cursor: The position behind them.
        lost: Records before them that the journal no longer has.
        damage: Why some of these cannot be read; "" if they were dropped.
    """

    entries: list[Entry]
    cursor: Cursor
    lost: int = 0
    damage: str = ""


class Segments:
    """The segments in a folder that the caller has locked.

    Args:
        folder: The folder.
        max_bytes: Their maximum size; the oldest are dropped for new ones.

    Attributes:
        extent: The extent of the journal, for readers in other threads: it is replaced, never changed.
        recovered: The extent when they were opened.
        size: Their size in bytes.

    Raises:
        OSError: If they cannot be read, or the last one cannot be truncated to its whole frames.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(max_bytes // SEGMENTS, MAX_SEGMENT_BYTES)
        paths = (path for path in sorted(folder.glob(f"*{_SUFFIX}")) if path.stem.isdecimal())
        self._sizes = {int(path.stem): path.stat().st_size for path in paths}
        # Of the last segment; -1 if the next batch begins a new one.
        self._descriptor = -1
        self._end = self._recover()
        self._publish()
        self.recovered = self.extent

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:020}{_SUFFIX}"

    def _publish(self) -> None:
        self.extent = Extent(tuple(self._sizes) or (self._end.segment,), self._end)
        self.size = sum(self._sizes.values())

    # --- at the start ---------------------------------------------------------------------------------------------

    def _recover(self) -> Cursor:
        """Cut off an incomplete frame at the end; return the end."""
        for segment in reversed(tuple(self._sizes)):
            size = self._sizes[segment]
            place, damaged = self._scan(segment)
            if place.offset < size:
                what = "damaged" if damaged else "an incomplete write"
                path = self._path(segment)
                log.warning("%s: cut from %d to %d bytes: the rest is %s", path, size, place.offset, what)
            if place.offset:
                self._descriptor = os.open(self._path(segment), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                if place.offset < size:
                    os.ftruncate(self._descriptor, place.offset)
                self._sizes[segment] = place.offset
                return place
            self._drop(segment)
        return Cursor(0, 0, 0)

    def _scan(self, segment: int) -> tuple[Cursor, bool]:
        """Return the position behind the last whole frame of a segment, and whether what follows is damaged."""
        place = Cursor(segment, 0, segment)
        while True:
            frames, stop = read_frames(self._bytes_at(place, READ_BYTES), place)
            if not frames:
                return place, stop is Stop.DAMAGED
            place = frames[-1].end

    # --- appending ------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> None:
        """Append batches, all or none.

        Raises:
            OSError: If they cannot be written; the journal is unchanged.
        """
        record = self._end.record
        parts: list[bytes] = []
        for batch in batches:
            parts += encode_frame(batch, record)
            record += batch.records
        size = sum(map(len, parts))
        begins = self._descriptor < 0 or self._end.offset + size > self._segment_bytes
        segment, offset = (self._end.record, 0) if begins else self._end[:2]
        if begins:
            parts.insert(0, segment_header(segment))
            size += HEADER_BYTES
        for old in surplus(tuple(self._sizes.items()), size, self._max_bytes):
            self._drop(old)
        self._publish()
        if begins:
            self._begin(segment)
        try:
            _write_all(self._descriptor, parts)
        except OSError:
            self._take_back(segment, offset)
            raise
        self._end = Cursor(segment, offset + size, record)
        self._sizes[segment] = self._end.offset
        self._publish()

    def _begin(self, segment: int) -> None:
        self.sync()
        # A segment without records remains if it could not be removed.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self._path(segment), flags, 0o640)
        self._close_last()
        self._descriptor = descriptor

    def _take_back(self, segment: int, offset: int) -> None:
        """Remove the part of a batch that was written."""
        try:
            if offset:
                os.ftruncate(self._descriptor, offset)
                return
            self._path(segment).unlink()
        except OSError as exc:  # Readers find the end of the whole frames.
            log.error("%s: %s", self._path(segment), os.strerror(exc.errno or 0).lower())
        self._close_last()

    def _drop(self, segment: int) -> None:
        self._path(segment).unlink(missing_ok=True)
        del self._sizes[segment]

    def sync(self) -> None:
        """Sync the segment to disk.

        Raises:
            OSError: If that fails.
        """
        if self._descriptor < 0:
            return
        os.fdatasync(self._descriptor)
        if not os.fstat(self._descriptor).st_nlink:
            log.error("%s: removed by another program; going on with a new one", self._path(self._end.segment))
            self._close_last()

    def close(self) -> None:
        """Append no more."""
        self._close_last()

    def _close_last(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- reading, in any thread -----------------------------------------------------------------------------------

    def read(self, cursor: Cursor | None) -> Reading:
        """Return what follows a cursor, up to some megabytes; the oldest batches without one.

        Raises:
            OSError: If a segment cannot be read.
        """
        extent = self.extent
        place, lost = resume(cursor, extent)
        damage = ""
        while place.record < extent.end.record:
            room = extent.end.offset - place.offset if place.segment == extent.end.segment else READ_BYTES
            try:
                frames, stop = read_frames(self._bytes_at(place, min(room, READ_BYTES)), place)
            except FileNotFoundError:  # Dropped since, or removed by another program.
                frames, stop = [], Stop.END
                extent = self.extent
            if frames:
                return Reading(frames, frames[-1].end, lost, damage)
            at = place
            place, skipped = following(place, extent)
            if skipped and stop is Stop.DAMAGED:
                damage = f"{self._path(at.segment)} is damaged at byte {at.offset}"
            lost += skipped
        return Reading([], place, lost, damage)

    def open_segment(self, segment: int) -> list[int]:
        """Return a descriptor of a segment for another process that reads it; none if it does not exist."""
        try:
            return [os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)]
        except FileNotFoundError:
            return []

    def _bytes_at(self, place: Cursor, size: int) -> bytes:
        descriptor = os.open(self._path(place.segment), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, size, place.offset)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, parts: Sequence[bytes]) -> None:
    for first in range(0, len(parts), _PARTS_AT_ONCE):
        some = parts[first : first + _PARTS_AT_ONCE]
        written = os.writev(descriptor, some)
        left = memoryview(b"".join(some))[written:] if written < sum(map(len, some)) else b""
        while left:
            left = left[os.write(descriptor, left) :]
