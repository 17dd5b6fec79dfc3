import errno
import json
import os

import pytest

from spectrum.control.records import file_sink
from spectrum.control.records.file_sink import FileSink
from spectrum.core.records.journal import IDENTIFIED, Batch
from tests.control.records.test_segments import Disk


def batch(first, records=2):
    return Batch("n/0/a", first, records, 5, b'{"x":1}\n' * records)


def ids(path):
    return [int(json.loads(line)["RecordId"].rpartition("/")[2]) for line in path.read_text().splitlines()]


@pytest.fixture
def sink(tmp_path):
    sink = FileSink(tmp_path / "records", 10_000, 2)
    yield sink
    sink.close()


def test_lines_have_their_ids(tmp_path, sink):
    sink.flush()
    sink.deliver([batch(1), batch(3)])
    sink.flush()
    assert (tmp_path / "records").read_text().splitlines()[0] == '{"RecordId":"n/0/a/1","x":1}'
    assert ids(tmp_path / "records") == [1, 2, 3, 4]
    sink.close()
    sink.deliver([batch(5)])
    assert ids(tmp_path / "records") == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("max_files", [0, 1, 2])
def test_another_file_is_begun_when_one_is_large(tmp_path, max_files):
    tmp_path /= "made/for it"
    sink = FileSink(tmp_path / "records", 300, max_files)
    for first in range(0, 50, 5):
        sink.deliver([batch(first, 5)])
    sink.close()
    names = ["records", "records.1", "records.2"][: max_files + 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    kept = [number for name in reversed(names) for number in ids(tmp_path / name)]
    assert kept == list(range(50 - len(kept), 50))
    assert all((tmp_path / name).stat().st_size <= 300 for name in names)


@pytest.mark.parametrize("cut", [1, 5, len(IDENTIFIED), 20])
def test_a_line_that_a_crash_cut_is_removed(tmp_path, sink, cut):
    sink.deliver([batch(1)])
    sink.close()
    path = tmp_path / "records"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:cut])
    sink.deliver([batch(1)])
    assert path.read_bytes() == whole * 2


def test_what_is_not_ours_is_left(tmp_path, sink):
    (tmp_path / "records").write_text("something else")
    sink.deliver([batch(1)])
    assert (tmp_path / "records").read_text().startswith('something else\n{"RecordId"')


def test_a_file_that_is_moved_away_is_begun_again(tmp_path, sink):
    path = tmp_path / "records"
    sink.deliver([batch(1)])
    path.rename(tmp_path / "moved")
    sink.deliver([batch(3)])
    path.unlink()
    path.touch()
    sink.deliver([batch(5)])
    assert (ids(tmp_path / "moved"), ids(path)) == ([1, 2], [5, 6])


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, sink, monkeypatch):
    disk = Disk(10**9)
    monkeypatch.setattr(file_sink, "os", disk)
    sink.deliver([batch(1)])
    disk.room = 30
    with pytest.raises(OSError, match="full") as raised:
        sink.deliver([batch(3)])
    assert raised.value.errno == errno.ENOSPC
    assert ids(tmp_path / "records") == [1, 2]
    disk.room = 10**9
    sink.deliver([batch(3)])
    assert ids(tmp_path / "records") == [1, 2, 3, 4]


def test_other_kinds_of_files_are_refused(tmp_path, sink):
    path = tmp_path / "records"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is not a file"):
        sink.deliver([batch(1)])
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        sink.deliver([batch(1)])
