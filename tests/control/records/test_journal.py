import os
import threading

import msgspec
import pytest

from spectrum.control.records import journal as module
from spectrum.control.records import segments
from spectrum.control.records.journal import MAX_BATCH_BYTES, Journal, reason
from tests.control.records.test_segments import BOUND, Disk, read_all
from tests.control.records.waiting import soon

NEVER = threading.Event()


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Return a function that opens the journal in a folder; all are closed at the end."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    journals = []

    def open_journal(folder=tmp_path, **options):
        journals.append(Journal(folder, BOUND, **options))
        return journals[-1]

    yield open_journal
    for journal in journals:
        journal.close(5)
        journal.release()


def records(journal):
    return read_all(journal.wait_open(NEVER))[0]


def test_what_is_added_is_kept_over_a_restart(tmp_path, opened):
    journal = opened(tmp_path / "made" / "for it", clock=lambda: 12.5)
    for number in range(5):
        journal.add("n/0/a", number, 2, b"{}\n{}\n")
    soon(lambda: journal.end == 10)
    assert (journal.appended, journal.lost, journal.failure) == (10, 0, "")
    assert journal.size > 0
    first = journal.wait_open(NEVER).read(None).entries[0].batch
    assert first == ("n/0/a", 0, 2, 12_500_000, b"{}\n{}\n")
    assert journal.wait_beyond(10, 0.0, NEVER.is_set)
    journal.add("n/0/a", 5, 1, b"{}\n")
    journal.close(5)
    assert not journal.wait_beyond(11, None, NEVER.is_set)
    journal.add("n/0/a", 6, 1, b"{}\n")  # too late
    assert journal.lost == 1
    journal.release()
    assert records(opened(tmp_path / "made" / "for it")) == list(range(6))


def test_what_comes_soon_after_a_write_is_appended_together(opened, monkeypatch):
    monkeypatch.setattr(module, "LINGER_S", 3600.0)
    journal = opened()
    journal.add("n/0/a", 0, 1, b"{}\n")
    soon(lambda: journal.end == 1 and journal._lingers)
    journal.add("n/0/a", 1, 1, b"{}\n")
    assert journal.end == 1
    journal.add("n/0/a", 2, 1, bytes(BOUND // segments.SEGMENTS))  # more than is written at once
    soon(lambda: journal.end == 3)
    journal.add("n/0/a", 3, 1, b"{}\n")
    journal.close(5)
    assert journal.end == 4


def test_a_second_process_waits_for_the_first(tmp_path, opened, monkeypatch, caplog):
    monkeypatch.setattr(module, "LOCK_SILENT_S", 0.1)
    first = opened()
    first.wait_open(NEVER)
    second = opened()
    second.add("n/0/b", 7, 1, b"{}\n")
    soon(lambda: second.failure == "another process has it")
    first.add("n/0/a", 6, 1, b"{}\n")
    first.close(5)
    assert second.end == second.size == 0
    first.release()
    assert records(second) in ([6], [6, 7])
    soon(lambda: second.end == 2 and not second.failure)
    third = opened()
    third.add("n/0/c", 1, 3, b"")
    third.close(5)
    assert third.wait_open(NEVER) is None
    assert third.lost == 3
    messages = [record.getMessage() for record in caplog.records]
    assert f"journal {tmp_path}: nothing can be written: another process has it" in messages
    assert f"journal {tmp_path}: records are lost: the daemon ends" in messages


def test_a_full_disk_delays_and_then_loses(opened, monkeypatch, caplog):
    disk = Disk(0)
    monkeypatch.setattr(segments, "os", disk)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 1000)
    journal = opened()
    for number in range(30):  # none of many
        journal.add("n/0/a", number, 1, bytes(100))
    soon(lambda: journal.failure == "full")
    assert journal.lost == 20
    assert journal.end == 0
    disk.room = 10**9
    soon(lambda: journal.end == 10 and not journal.failure)
    journal.add("n/0/a", 30, 1, bytes(100))
    soon(lambda: journal.end == 11)
    assert records(journal) == [*range(10), 30]
    disk.room = 0
    journal.add("n/0/a", 31, 1, bytes(100))
    soon(lambda: journal.failure)
    journal.close(5)
    assert journal.lost == 21
    assert caplog.text.count("records are lost: ") == 2
    assert "records are written again; 20 are lost so far" in caplog.text


def all_batches(journal):
    found, cursor = [], None
    while (reading := journal.wait_open(NEVER).read(cursor)).entries:
        found += [entry.batch for entry in reading.entries]
        cursor = reading.cursor
    return found


def test_of_many_some_stand_for_the_others(opened, monkeypatch, caplog):
    """Sums are right, and the numbers after what is journaled are those of all."""
    disk = Disk(0)
    monkeypatch.setattr(segments, "os", disk)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 4000)
    journal = opened()
    monkeypatch.setattr(module, "RETRY_S", 0.5)  # what is being written is not sampled
    journal.add("n/supervisor/a", 0, 1, b'{"Health":1}\n')
    soon(lambda: journal.failure == "full")
    line = b'{"Bytes":1000}\n'
    for number in range(1000):
        soon(lambda: not journal._taken)
        journal.add("n/0/a", number * 8, 8, line * 8, is_of_many=True)
    assert (journal.lost, journal.end) == (0, 0)
    disk.room = 10**9
    soon(lambda: journal.end and not journal._backlog and not journal._taken and not journal.failure)
    batches = all_batches(journal)
    assert batches[0].lines == b'{"Health":1}\n'
    kept = [msgspec.json.decode(line) for batch in batches[1:] for line in batch.lines.splitlines()]
    assert journal.omitted == 8000 - len(kept)
    factors = [one["SampledOneIn"] for one in kept]
    factor = max(factors)
    assert factor > 8
    assert abs(sum(factors) - 8000) <= 8 * factor  # one of each N is kept, but where N changed
    assert journal.take_kept()["n/0/a"] <= 8000
    ends = [batch.sequence + batch.records for batch in batches[1:]]
    assert all(end <= batch.sequence for end, batch in zip(ends, batches[2:], strict=False))
    assert all(end % 8 == 0 for end in ends), "the last numbers of the batch"
    soon(lambda: "all records are kept again" in caplog.text)
    assert f"one record in {factor} is kept: full" in caplog.text
    journal.add("n/0/a", 8000, 1, line, is_of_many=True)
    soon(lambda: journal.appended == len(kept) + 2)
    assert all_batches(journal)[-1].lines == line


def test_a_folder_that_cannot_be_used_is_tried_again(tmp_path, opened):
    (tmp_path / "file").touch()
    journal = opened(tmp_path / "file")
    journal.add("n/0/a", 0, 1, b"{}\n")
    soon(lambda: journal.failure == f"{tmp_path}/file: file exists")
    assert journal.wait_beyond(0, 0.0, NEVER.is_set)
    (tmp_path / "file").unlink()
    assert records(journal) in ([], [0])
    soon(lambda: journal.end == 1)


def test_what_is_on_disk(opened, monkeypatch, caplog):
    """It is synced soon, and what a disk says then is told."""
    synced = threading.Event()

    class Broken(Disk):
        def fdatasync(self, descriptor):
            synced.set()
            raise OSError(5, "broken")

    monkeypatch.setattr(module, "SYNC_S", 0.01)
    monkeypatch.setattr(segments, "os", Broken(10**9))
    journal = opened()
    journal.add("n/0/a", 0, 1, b"{}\n")
    assert synced.wait(5)
    soon(lambda: journal.failure == "broken")


def test_a_batch_beyond_a_frame_is_lost(opened):
    journal = opened()
    journal.add("n/0/a", 0, 9, bytes(MAX_BATCH_BYTES + 1))
    journal.add("n/0/a", 9, 1, bytes(MAX_BATCH_BYTES))
    journal.add("n/0/a", 10, 1, bytes(MAX_BATCH_BYTES))  # more than one write
    journal.add("n/0/a", 11, 1, bytes(MAX_BATCH_BYTES))
    soon(lambda: journal.end == 3)
    assert journal.lost == 9


def test_reasons():
    assert reason(OSError(28, "No space left on device")) == "no space left on device"
    assert reason(OSError("odd")) == "odd"
    with pytest.raises(OSError) as raised:
        os.open("/nowhere/x", os.O_RDONLY)
    assert reason(raised.value) == "/nowhere/x: no such file or directory"


def test_one_that_waits_can_be_stopped(tmp_path, opened):
    first = opened()
    first.wait_open(NEVER)
    second, stopped, found = opened(), threading.Event(), []

    def wait():
        found.append(second.wait_open(stopped))
        found.append(first.wait_beyond(0, None, stopped.is_set))

    waiting = threading.Thread(target=wait)
    waiting.start()
    stopped.set()
    for journal in (first, second):
        journal.wake()
    waiting.join(5)
    assert found == [None, True]
