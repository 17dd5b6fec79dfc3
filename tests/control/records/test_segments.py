import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.records import segments as module
from spectrum.control.records.segments import SEGMENTS, Segments
from spectrum.core.records.journal import HEADER_BYTES, Batch, Cursor, encode_frame
from tests.properties import examples

BOUND = SEGMENTS * 1000


def batch(number, size=100, records=1):
    return Batch("n/0/a", number, records, 5, bytes([65 + number % 26]) * size)


def read_all(journal, cursor=None):
    """Return the numbers of the batches after a cursor, the place behind them, and how many records are lost."""
    numbers, lost = [], 0
    while True:
        reading = journal.read(cursor)
        cursor, lost = reading.cursor, lost + reading.lost
        numbers += [frame.batch.sequence for frame in reading.entries]
        if not reading.entries:
            return numbers, cursor, lost


def test_what_is_appended_is_read_also_after_a_restart(tmp_path):
    journal = Segments(tmp_path, BOUND)
    assert journal.read(None).entries == []
    assert journal.size == 0
    for number in range(0, 40, 2):
        journal.append([batch(number), batch(number + 1)])
    numbers, cursor, lost = read_all(journal)
    assert (numbers, lost) == (list(range(40)), 0)
    assert len(journal.extent.segments) > 1
    journal.sync()
    journal.close()
    again = Segments(tmp_path, BOUND)
    assert again.recovered == journal.extent
    assert again.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert read_all(again) == (list(range(40)), cursor, 0)
    again.append([batch(40)])
    assert read_all(again, cursor)[0] == [40]
    again.close()


def test_more_batches_than_one_call_takes(tmp_path):
    journal = Segments(tmp_path, BOUND * 100)
    journal.append([batch(number) for number in range(1500)])
    assert read_all(journal)[0] == list(range(1500))
    assert journal.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    journal.close()


def test_the_oldest_segment_goes_and_readers_know_what_they_lost(tmp_path):
    journal = Segments(tmp_path, BOUND)
    journal.append([batch(0, records=10)])
    place = journal.read(None).cursor
    for number in range(1, 400):
        journal.append([batch(number, records=10)])
        assert journal.size <= BOUND
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) == journal.size
    numbers, _, lost = read_all(journal, place)
    assert numbers == list(range(numbers[0], 400))
    assert lost == (numbers[0] - 1) * 10
    journal.close()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.data())
@examples(60, deadline=None)
def test_a_crash_at_any_byte(tmp_path_factory, sizes, data):
    """A write that was cut anywhere leaves all batches before it, and the next ones follow."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Segments(folder, SEGMENTS * 400)
    for number, size in enumerate(sizes):
        journal.append([batch(number, size)])
    journal.close()
    last = max(folder.iterdir())
    length = data.draw(st.integers(0, last.stat().st_size))
    os.truncate(last, length)
    again = Segments(folder, SEGMENTS * 400)
    numbers, cursor, lost = read_all(again)
    assert (numbers, lost) == (list(range(len(numbers))), 0)
    kept = sum(len(b"".join(encode_frame(batch(n, size), n))) for n, size in enumerate(sizes[: len(numbers)]))
    assert again.size == kept + HEADER_BYTES * len(list(folder.iterdir()))
    again.append([batch(len(numbers))])
    assert read_all(again, cursor)[0] == [len(numbers)]
    again.close()
    shutil.rmtree(folder)


def test_truncation_is_reported(tmp_path, caplog):
    journal = Segments(tmp_path, BOUND)
    journal.append([batch(0), batch(1)])
    journal.close()
    (path,) = tmp_path.iterdir()
    size = path.stat().st_size
    os.truncate(path, size - 1)
    Segments(tmp_path, BOUND).close()
    kept = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    Segments(tmp_path, BOUND).close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: cut from {size - 1} to {kept} bytes: the rest is an incomplete write",
        f"{path}: cut from {kept} to 0 bytes: the rest is damaged",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_segment_is_left_for_the_next_one(tmp_path):
    journal = Segments(tmp_path, BOUND)
    for number in range(20):
        journal.append([batch(number)])
    first, second = journal.extent.segments[:2]
    path = tmp_path / f"{first:020}.journal"
    data = bytearray(path.read_bytes())
    at = journal.read(None).entries[2].end.offset
    data[at + 20] ^= 1
    path.write_bytes(data)
    assert journal.read(None).entries[-1].batch.sequence == 2
    reading = journal.read(Cursor(first, at, 3))
    assert reading.lost == second - 3
    assert reading.damage == f"{path} is damaged at byte {at}"
    assert reading.entries[0].batch.sequence == second
    journal.close()


def test_files_that_somebody_else_removes(tmp_path, caplog):
    (tmp_path / "notes.journal").touch()
    journal = Segments(tmp_path, BOUND)
    for number in range(20):
        journal.append([batch(number)])
    first, second, *_, last = journal.extent.segments
    (tmp_path / f"{first:020}.journal").unlink()
    numbers, cursor, lost = read_all(journal)
    assert (numbers, lost) == (list(range(second, 20)), second)
    (tmp_path / f"{last:020}.journal").unlink()
    assert read_all(journal, Cursor(last, 0, last)) == ([], cursor, 20 - last)
    journal.sync()
    assert "removed by another program" in caplog.text
    journal.append([batch(20)])
    assert read_all(journal, cursor)[0] == [20]
    journal.close()


class Disk:
    """`os` with a disk that takes so many bytes, a few at a time."""

    def __init__(self, room):
        self.room = room
        self.truncates = True

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, descriptor, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        written = os.write(descriptor, data[: min(self.room, 50)])
        self.room -= written
        return written

    def writev(self, descriptor, parts):
        return self.write(descriptor, b"".join(parts))

    def ftruncate(self, descriptor, size):
        if not self.truncates:
            raise OSError(errno.EIO, "broken")
        os.ftruncate(descriptor, size)


@pytest.mark.parametrize("truncates", [True, False])
@pytest.mark.parametrize("room", [0, 10, 60, 700])
def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch, room, truncates):
    disk = Disk(10**9)
    monkeypatch.setattr(module, "os", disk)
    journal = Segments(tmp_path, BOUND)
    written = 0
    for number in range(12):  # one begins a segment
        disk.room, disk.truncates = room, truncates
        try:
            journal.append([batch(number), batch(number)])
        except OSError:
            disk.room = 10**9
            journal.append([batch(number), batch(number)])
        written += 2
        assert len(read_all(journal)[0]) == written
    disk.truncates = True
    journal.close()
    again = Segments(tmp_path, BOUND)
    assert read_all(again)[0] == [number for number in range(12) for _ in range(2)]
    again.close()


def test_a_folder_that_is_not_there():
    with pytest.raises(OSError):
        Segments(Path("/proc/nowhere"), BOUND).append([batch(0)])
