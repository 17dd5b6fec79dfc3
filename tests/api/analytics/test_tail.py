import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.analytics import tail as module
from spectrum.api.analytics.tail import JournalClosed, JournalTail
from spectrum.core.records.journal import Batch, Cursor
from spectrum.link.analytics import IntakeReport, JournalQuestion, JournalView
from tests.api.analytics.memory import Daemon, descriptors


class Reader:
    """A tail of a journal, and what it says is lost."""

    def __init__(self, daemon):
        self.daemon, self.lost = daemon, []
        self.tail = JournalTail(self.ask, self.run, self.lose)

    async def ask(self, begins, segment):
        return await self.daemon.answer(JournalQuestion(report=IntakeReport(), begins=begins, segment=segment))

    @staticmethod
    async def run(step):
        return step()

    def lose(self, records, damage):
        if records:
            self.lost.append((records, damage))

    async def rest(self):
        """All that follows, by the number of the first record of each batch."""
        found = []
        while entries := await self.tail.more():
            found += [entry.batch.sequence for entry in entries]
            self.tail.cursor = entries[-1].end
        return found


@pytest.fixture
def daemon(tmp_path):
    before = descriptors()
    made = Daemon(tmp_path / "journal")
    yield made
    made.segments.close()
    assert descriptors() == before


@pytest.fixture
async def reader(daemon):
    made = Reader(daemon)
    await made.tail.begin(None)
    yield made
    made.tail.close()


async def test_it_follows_what_is_appended(daemon, reader):
    assert await reader.rest() == []
    daemon.add(3)
    daemon.add(2)
    assert await reader.rest() == [1, 4]
    daemon.add(1)
    assert await reader.rest() == [6]
    assert reader.lost == []


async def test_it_returns_about_as_many_records_as_are_wanted(daemon, monkeypatch):
    monkeypatch.setattr(module, "READ_BYTES", 300)
    made = Reader(daemon)
    made.tail = JournalTail(made.ask, made.run, made.lose, records=5)
    await made.tail.begin(None)
    daemon.add(3), daemon.add(3), daemon.add(1)
    first = await made.tail.more()
    assert sum(entry.batch.records for entry in first) in (5, 6) and made.tail.is_behind
    made.tail.cursor = first[-1].end
    second = await made.tail.more()
    assert second[-1].end.record == 7 and not made.tail.is_behind
    made.tail.close()


async def test_it_goes_from_segment_to_segment_and_asks_only_at_their_ends(daemon, reader, monkeypatch):
    monkeypatch.setattr(module, "ASK_S", 1000)
    monkeypatch.setattr(module, "READ_BYTES", 30_000)
    for _ in range(120):
        daemon.add(100, line=b"x" * 50 + b"\n")
    segments = len(daemon.segments.extent.segments)
    assert segments > 10
    assert await reader.rest() == [1 + 100 * n for n in range(120)]
    assert len(daemon.questions) <= 2 * segments + 3
    assert reader.lost == []


async def test_what_is_appended_while_it_asks_is_no_gap(daemon, reader):
    daemon.add(1)
    assert await reader.rest() == [1]
    answer = daemon.answer

    async def late(question):
        found = await answer(question)
        if question.segment is not None and daemon.sequences["n/0/a"] < 5:
            daemon.add(1)
        return found

    daemon.answer = late
    assert await reader.rest() == [2, 3, 4]


async def test_a_descriptor_reads_what_the_journal_has_dropped_since(daemon, reader):
    daemon.add(1)
    assert await reader.rest() == [1]
    daemon.add(1)
    while 0 in daemon.segments.extent.segments:
        daemon.add(100, line=b"x" * 50 + b"\n")
    assert await reader.rest() == [2, *range(3, daemon.sequences["n/0/a"], 100)]
    assert reader.lost == []


async def test_what_was_dropped_before_it_began_is_lost(daemon):
    daemon.add(10)
    reader = Reader(daemon)
    while 0 in daemon.segments.extent.segments:
        daemon.add(100, line=b"x" * 50 + b"\n")
    daemon.begun = True
    await reader.tail.begin(Cursor(0, 200, 10))
    begin = daemon.segments.extent.segments[0]
    assert reader.lost == [(begin - 10, "")]
    assert (await reader.rest())[0] == begin + 1
    reader.tail.close()


async def test_damage_is_reported_and_passed_over(daemon, reader):
    daemon.add(10)
    assert await reader.rest() == [1]
    place = daemon.segments.extent.end
    for _ in range(3):
        daemon.add(10)
    path = daemon.folder / f"{0:020}.journal"
    with path.open("r+b") as file:
        file.seek(place.offset + 40)
        file.write(b"\xff\xff")
    assert await reader.rest() == []
    assert reader.lost == [(30, f"segment 0 is damaged at byte {place.offset}")]
    daemon.add(1)
    assert await reader.rest() == [41]


async def test_a_file_that_is_replaced_is_opened_again(daemon, reader):
    daemon.add(10)
    assert await reader.rest() == [1]
    path = daemon.folder / f"{0:020}.journal"
    content = path.read_bytes()
    daemon.segments.close()
    path.unlink()
    path.write_bytes(content)
    daemon.restart()
    daemon.add(5)
    assert await reader.rest() == [11]
    path.unlink()
    assert await reader.rest() == []
    assert reader.lost == []


async def test_a_crash_that_cut_the_journal_off_loses_nothing_that_came_after(daemon):
    daemon.add(10)
    reader = Reader(daemon)
    await reader.tail.begin(None)
    assert await reader.rest() == [1]
    before = daemon.segments.extent.end
    daemon.add(10, source="n/1/b")
    assert await reader.rest() == [1]
    cursor = reader.tail.cursor
    reader.tail.close()
    os.truncate(daemon.folder / f"{0:020}.journal", before.offset + 5)
    daemon.restart()
    daemon.add(30, source="n/2/c")
    again = Reader(daemon)
    await again.tail.begin(cursor)
    assert await again.rest() == [1]
    again.tail.close()


async def test_a_journal_that_is_not_open(daemon):
    reader = Reader(daemon)

    async def closed(question):
        return JournalView(why="no space left"), -1

    daemon.answer = closed
    with pytest.raises(JournalClosed, match="no space left"):
        await reader.tail.begin(None)
    with pytest.raises(JournalClosed):
        await reader.tail.more()


async def test_the_supervisor_hears_of_it_once_a_second(daemon, reader, monkeypatch):
    daemon.add(1)
    await reader.tail.more()
    asked = len(daemon.questions)
    await reader.tail.more()
    assert len(daemon.questions) == asked
    later = time.monotonic() + module.ASK_S
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    await reader.tail.more()
    assert len(daemon.questions) == asked + 1


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans(), st.booleans()), max_size=40), st.integers(400, 60_000))
async def test_each_record_is_read_once_or_counted_as_lost(tmp_path_factory, steps, read_bytes):
    daemon = Daemon(tmp_path_factory.mktemp("journal"))
    reader = Reader(daemon)
    await reader.tail.begin(None)
    read, sequence = 0, 1
    previous, module.READ_BYTES = module.READ_BYTES, max(read_bytes, 30_000)
    try:
        for count, reads, restarts in steps:
            daemon.append(Batch("n/0/a", sequence, count, 5, (b"y" * 60 + b"\n") * count))
            sequence += count
            if restarts:
                daemon.restart()
            if reads and (entries := await reader.tail.more()):
                read += sum(entry.batch.records for entry in entries)
                reader.tail.cursor = entries[-1].end
        while entries := await reader.tail.more():
            read += sum(entry.batch.records for entry in entries)
            reader.tail.cursor = entries[-1].end
    finally:
        module.READ_BYTES = previous
        reader.tail.close()
        daemon.segments.close()
    assert read + sum(lost for lost, _ in reader.lost) == sequence - 1
