import threading
import time

import pytest

from spectrum.control.records import feed as module
from spectrum.control.records import journal as journal_module
from spectrum.control.records.feed import Feed, FeedReading
from spectrum.control.records.journal import Journal
from tests.control.records.test_segments import BOUND
from tests.control.records.waiting import soon


class Taking:
    """A sink that keeps what it gets, and fails while it is told to."""

    def __init__(self):
        self.sequences = []
        self.flushed = self.asked = 0
        self.fault = None
        self.closed = False
        self.held = threading.Event()
        self.held.set()

    def deliver(self, batches):
        self.asked += 1
        self.held.wait(10)
        if self.fault:
            raise self.fault
        self.sequences += [batch.sequence for batch in batches]

    def flush(self):
        self.flushed = len(self.sequences)

    def close(self):
        self.closed = True


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that starts a journal and its feed; what still runs is ended."""
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(module, "SAVE_S", 0.02)
    running = []

    def start(clock=time.time):
        journal, sink = Journal(tmp_path, BOUND, clock), Taking()
        running.append((journal, Feed("s", sink, journal, tmp_path, clock=clock), sink))
        return running[-1]

    yield start
    for journal, feed, _ in running:
        end(journal, feed)


def end(journal, feed):
    journal.close(5)
    assert feed.close(5)
    journal.release()


def add(journal, *sequences, size=100):
    for sequence in sequences:
        journal.add("n/0/a", sequence, 1, bytes(size))


def test_a_sink_gets_all_and_continues_after_a_restart(run):
    journal, feed, sink = run()
    add(journal, 0, 1, 2)
    end(journal, feed)
    assert (sink.sequences, sink.flushed, sink.closed) == ([0, 1, 2], 3, True)
    assert feed.read() == FeedReading("s", 3, 0, 0.0, 0, 0, "")
    journal, feed, sink = run()
    add(journal, 3)
    soon(lambda: sink.sequences == [3])
    soon(lambda: sink.flushed)
    add(journal, 4)
    end(journal, feed)
    assert sink.sequences == [3, 4]


def test_a_crash_brings_the_last_ones_again(run, tmp_path):
    journal, feed, sink = run()
    add(journal, 0)
    soon(lambda: b'"record":1' in ((tmp_path / "s.cursor").read_bytes() if sink.flushed else b""))
    before = (tmp_path / "s.cursor").read_bytes()
    add(journal, 1, 2)
    end(journal, feed)
    (tmp_path / "s.cursor").write_bytes(before)
    journal, feed, sink = run()
    end(journal, feed)
    assert sink.sequences == [1, 2]


def test_a_sink_reopens_its_files(run):
    journal, feed, sink = run()
    add(journal, 0)
    soon(lambda: sink.flushed)
    assert not sink.closed
    feed.reopen()
    soon(lambda: sink.closed)  # although there is nothing new
    add(journal, 1)
    end(journal, feed)
    assert sink.sequences == [0, 1]


@pytest.mark.parametrize("content", [b"", b"no cursor", None])
def test_without_a_cursor_it_begins_with_the_oldest(run, tmp_path, caplog, content):
    journal, feed, sink = run()
    add(journal, 0, 1)
    end(journal, feed)
    path = tmp_path / "s.cursor"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    journal, feed, sink = run()
    end(journal, feed)
    assert sink.sequences == [0, 1]
    why = "it is damaged" if content is not None else f"{path}: is a directory"
    assert f"sink s: {path} cannot be read: {why}; beginning with the oldest record" in caplog.text


def test_a_slow_sink_costs_its_own_lag(run):
    now = [100.0]
    journal, feed, sink = run(clock=lambda: now[0])
    sink.held.clear()
    add(journal, 0)
    soon(lambda: journal.end == 1)
    soon(lambda: feed.read().lag_records == 1)
    now[0] += 7
    add(journal, 1, 2)
    soon(lambda: feed.read().lag_records == 3)
    soon(lambda: feed.read().lag_s == 7.0)
    sink.held.set()
    soon(lambda: (feed.read().lag_records, feed.read().lag_s) == (0, 0.0))
    assert sink.sequences == [0, 1, 2]


def test_one_that_is_too_slow_loses_the_oldest_and_says_so(run, caplog):
    journal, feed, sink = run()
    sink.held.clear()
    add(journal, 0)
    soon(lambda: journal.end == 1)
    soon(lambda: feed.read().lag_records == 1)
    for sequence in range(1, 300):
        add(journal, sequence)
    soon(lambda: journal.end == 300)
    sink.held.set()
    soon(lambda: feed.read().lag_records == 0)
    lost = feed.read().lost
    assert lost > 0
    assert len(sink.sequences) == 300 - lost
    assert f"sink s: {lost} records are lost: they were dropped from the journal before delivery" in caplog.text


@pytest.mark.parametrize("fault", [OSError(28, "full"), ValueError("a bug")])
def test_what_fails_is_tried_again(run, caplog, fault):
    journal, feed, sink = run()
    sink.fault = fault
    add(journal, 0)
    soon(lambda: feed.read().failures > 2)
    assert feed.read().failure == ("full" if isinstance(fault, OSError) else "ValueError: a bug")
    sink.fault = None
    soon(lambda: sink.sequences == [0])
    soon(lambda: not feed.read().failure)
    assert "sink s: works again; 1 records behind" in caplog.text
    sink.fault = fault
    add(journal, 1)
    soon(lambda: feed.read().failure)
    end(journal, feed)  # it does not wait for the sink
    assert sink.sequences == [0]


def test_a_cursor_that_cannot_be_saved(run, tmp_path):
    (tmp_path / "s.new").mkdir()
    journal, feed, sink = run()
    add(journal, 0)
    soon(lambda: feed.read().failures > 2)  # without another record
    assert feed.read().failure == f"{tmp_path}/s.new: is a directory"
    add(journal, 1)
    soon(lambda: sink.sequences == [0, 1])
    (tmp_path / "s.new").rmdir()
    end(journal, feed)
    assert (tmp_path / "s.cursor").exists()


def test_closed_before_the_journal_is_open(run, tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    first, _, _ = run()
    first.wait_open(threading.Event())
    second, feed, sink = run()
    end(second, feed)
    assert sink.closed
    assert feed.read().lag_records == 0


def test_one_that_is_stopped_leaves_the_rest_to_the_next(run, tmp_path):
    journal, feed, sink = run()
    add(journal, 0)
    soon(lambda: sink.sequences == [0])
    sink.held.clear()
    add(journal, 1)
    soon(lambda: sink.asked == 2)  # it has begun to deliver this one
    feed.stop()
    add(journal, 2, 3)
    other = Taking()
    follower = Feed("s", other, journal, tmp_path, after=feed)
    soon(lambda: follower.read().lag_records == 3)
    sink.held.set()
    feed.wait()
    soon(lambda: len(sink.sequences + other.sequences) == 4)
    assert (sink.sequences, other.sequences, sink.closed) == ([0, 1], [2, 3], True)
    follower.stop()  # while it waits
    follower.wait()
