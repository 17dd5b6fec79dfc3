"""The format of the journal's files, and positions of readers. No I/O.

A journal is a sequence of segments, which are named by the number of their first record; records are numbered from 0 in
the order of appending. A segment is a header and then frames, one for each batch. A frame begins with its length and
checksum, so a reader finds the last complete one, wherever a write was cut off.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from struct import Struct
from typing import NamedTuple, Self
from zlib import crc32

import msgspec

_MAGIC = b"SPECTRUM"
_VERSION = 1
# Magic, version, the number of the first record; then the CRC-32 of these.
_HEADER = Struct(">8sIQ")
_SUM = Struct(">I")
HEADER_BYTES = _HEADER.size + _SUM.size
# Length of what follows the checksum, and the CRC-32 of it (as zlib and gzip have it).
_PREFIX = Struct(">II")
# The number of the first record in the journal, time, sequence, number of records, length of the source. Source and
# lines follow.
_FIXED = Struct(">QQQIH")
# The bytes of a segment that contain the time of its first batch.
HEAD_BYTES = HEADER_BYTES + _PREFIX.size + _FIXED.size
# Batches of workers are a few packets at most. What a flipped bit makes of a length is rarely below it.
MAX_FRAME_BYTES = 2**20


class Batch(NamedTuple):
    """Consecutive records of one source.

    Attributes:
        source: Its id, as `node/worker/epoch`, unique to a process.
        sequence: The number of the first record at its source; the others follow without a gap.
        records: The number of records.
        at_us: When they were journaled, in microseconds since 1970.
        lines: One JSON object per line.
    """

    source: str
    sequence: int
    records: int
    at_us: int
    lines: bytes

    def keeping(self, records: int, lines: bytes) -> Self:
        """Return the batch with its last records only, of this number; it keeps its last numbers."""
        return self._replace(sequence=self.sequence + self.records - records, records=records, lines=lines)


class Cursor(NamedTuple):
    """A position between two batches.

    Attributes:
        segment: The number of the segment's first record.
        offset: The position in the segment, in bytes.
        record: The number of the next record.
    """

    segment: int
    offset: int
    record: int


class Entry(NamedTuple):
    """A batch that was read, and the position after it."""

    batch: Batch
    end: Cursor


class Stop(Enum):
    """Why no more frames follow: the end of the bytes, possibly within a frame, or damage."""

    END = "end"
    DAMAGED = "damaged"


class Extent(NamedTuple):
    """The extent of a journal: the numbers of its segments, oldest first, at least one; the position of its end."""

    segments: tuple[int, ...]
    end: Cursor


def segment_header(first_record: int) -> bytes:
    """Return the header of a segment."""
    header = _HEADER.pack(_MAGIC, _VERSION, first_record)
    return header + _SUM.pack(crc32(header))


def encode_frame(batch: Batch, record: int) -> tuple[bytes, bytes]:
    """Return a batch as a frame, in two parts; `record` is the number of its first record in the journal.

    The second part is its lines, uncopied: copies would be a third of the journal's cost.

    Raises:
        ValueError: If it is larger than a frame may be.
    """
    source = batch.source.encode()
    head = _FIXED.pack(record, batch.at_us, batch.sequence, batch.records, len(source)) + source
    size = len(head) + len(batch.lines)
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a batch of {size} bytes; a frame has at most {MAX_FRAME_BYTES}")
    return _PREFIX.pack(size, crc32(batch.lines, crc32(head))) + head, batch.lines


def read_frames(data: bytes, start: Cursor) -> tuple[list[Entry], Stop]:
    """Return the complete batches in `data`, which begins at `start`, and why there are no more."""
    frames: list[Entry] = []
    place, at = start, 0
    if not start.offset:
        if data[:HEADER_BYTES] != segment_header(start.segment)[: len(data)]:
            return frames, Stop.DAMAGED
        if len(data) < HEADER_BYTES:
            return frames, Stop.END
        at = HEADER_BYTES
        place = place._replace(offset=at)
    view = memoryview(data)
    while True:
        body_at = at + _PREFIX.size
        if body_at > len(data):
            return frames, Stop.END
        size, checksum = _PREFIX.unpack_from(data, at)
        if not _FIXED.size <= size <= MAX_FRAME_BYTES:
            return frames, Stop.DAMAGED
        at = body_at + size
        if at > len(data):
            return frames, Stop.END
        batch = _decode(view[body_at:at], checksum, place.record)
        if batch is None:
            return frames, Stop.DAMAGED
        place = Cursor(place.segment, start.offset + at, place.record + batch.records)
        frames.append(Entry(batch, place))


def _decode(body: memoryview, checksum: int, record: int) -> Batch | None:
    """Return the batch in a frame; None if it is damaged, or does not have this record."""
    if crc32(body) != checksum or _FIXED.unpack_from(body)[0] != record:
        return None
    return _batch(body)


def _batch(body: memoryview) -> Batch:
    _, at_us, sequence, count, length = _FIXED.unpack_from(body)
    lines_at = _FIXED.size + length
    return Batch(str(body[_FIXED.size : lines_at], "utf-8"), sequence, count, at_us, bytes(body[lines_at:]))


def resume(cursor: Cursor | None, extent: Extent) -> tuple[Cursor, int]:
    """Return where a reader with a cursor continues, and the number of records that it has lost.

    A new reader begins with the oldest record. If its segment was dropped, it continues with the next one; a cursor
    beyond the journal's end, as after a power failure, moves to the end.
    """
    segments, end = extent
    if cursor is None:
        return _start(segments[0]), 0
    if cursor.record >= end.record:
        return end, 0
    if cursor.segment in segments and (cursor.segment < end.segment or cursor.offset <= end.offset):
        return cursor, 0
    return following(cursor, extent)


def following(cursor: Cursor, extent: Extent) -> tuple[Cursor, int]:
    """Return the start of the segment after the cursor's, else the end; and the number of records in between."""
    segments, end = extent
    after = bisect_right(segments, cursor.segment)
    place = _start(segments[after]) if after < len(segments) else end
    return place, max(0, place.record - cursor.record)


def _start(segment: int) -> Cursor:
    return Cursor(segment, 0, segment)


def surplus(sizes: Sequence[tuple[int, int]], added: int, max_bytes: int) -> list[int]:
    """Return the segments to drop before `added` bytes are appended: the oldest ones, never the last.

    Args:
        sizes: Number and size of each segment, oldest first.
        added: Bytes.
        max_bytes: The limit of the journal.
    """
    dropped = []
    total = sum(size for _, size in sizes) + added
    for number, size in sizes[:-1]:
        if total <= max_bytes:
            break
        dropped.append(number)
        total -= size
    return dropped


def find_batches(
    data: bytes, segment: int, mark: bytes, wanted: Callable[[int, int], bool] | None = None
) -> tuple[list[Batch], int]:
    """Return the batches in a whole segment that contain a text; others are not decoded.

    Args:
        data: The bytes of the segment, to its end, or to where it is being written.
        segment: Its number.
        mark: The text.
        wanted: Returns whether to return a batch, from the number of the first record at its source, and the number of
            records.

    Returns:
        The batches, and the position of the first damage; -1 for none. Later batches are not read.
    """
    found: list[Batch] = []
    if data[:HEADER_BYTES] != segment_header(segment):
        return found, 0
    view = memoryview(data)
    begin = end = HEADER_BYTES
    checksum, hit = 0, data.find(mark, end)
    while hit >= 0:
        while end <= hit:
            begin = end + _PREFIX.size
            if begin > len(data):
                return found, -1
            size, checksum = _PREFIX.unpack_from(data, end)
            if not _FIXED.size <= size <= MAX_FRAME_BYTES:
                return found, end
            end = begin + size
        if end > len(data):
            return found, -1
        if wanted is None or wanted(*_FIXED.unpack_from(data, begin)[2:4]):
            body = view[begin:end]
            if crc32(body) != checksum:
                return found, begin - _PREFIX.size
            found.append(_batch(body))
        hit = data.find(mark, end)
    return found, -1


def first_at_us(head: bytes) -> int | None:
    """Return when the first batch of a segment was journaled, from its first `HEAD_BYTES`; None if it has none."""
    if len(head) < HEAD_BYTES:
        return None
    return int(_FIXED.unpack_from(head, HEADER_BYTES + _PREFIX.size)[1])


def end_of(data: bytes, segment: int) -> int:
    """Return the number after the last record in the bytes of a segment."""
    record, end = segment, HEADER_BYTES
    while end + _PREFIX.size + _FIXED.size <= len(data):
        size, _ = _PREFIX.unpack_from(data, end)
        number, _, _, count, _ = _FIXED.unpack_from(data, end + _PREFIX.size)
        end += _PREFIX.size + size
        if number != record or end > len(data):
            break
        record += count
    return record


def lines_with(lines: bytes, mark: bytes) -> Iterator[bytes]:
    """Yield the lines of a text that contain another text."""
    hit = lines.find(mark)
    while hit >= 0:
        end = lines.find(b"\n", hit)
        end = len(lines) if end < 0 else end
        yield lines[lines.rfind(b"\n", 0, hit) + 1 : end]
        hit = lines.find(mark, end)


class _Saved(msgspec.Struct):
    """A cursor in its file."""

    segment: int
    offset: int
    record: int


def encode_cursor(cursor: Cursor) -> bytes:
    """Return the content of a cursor's file."""
    return msgspec.json.encode(_Saved(*cursor)) + b"\n"


def decode_cursor(data: bytes) -> Cursor:
    """Return the cursor in a file.

    Raises:
        ValueError: If the content is invalid.
    """
    saved = msgspec.json.decode(data, type=_Saved)
    if not 0 <= saved.segment <= saved.record or saved.offset < 0:
        raise ValueError("no place in a journal")
    return Cursor(saved.segment, saved.offset, saved.record)


# The begin of a line with an id.
IDENTIFIED = b'{"RecordId":'


def identified(batch: Batch) -> bytes:
    """Return the lines of a batch, each with its `RecordId` first: `node/worker/epoch/sequence`."""
    return b"".join(_identified(batch))


def _identified(batch: Batch) -> Iterator[bytes]:
    head = IDENTIFIED + msgspec.json.encode(batch.source)[:-1] + b"/"
    for number, line in enumerate(batch.lines.splitlines(keepends=True), batch.sequence):
        yield b'%b%d",%b' % (head, number, line[1:])
