import asyncio
import os
import threading
from contextlib import asynccontextmanager

import pytest

from spectrum.analytics.store import AnalyticsError
from spectrum.api.analytics import intake as module
from spectrum.api.analytics.intake import JournalIntake
from spectrum.core.analytics.packet_rows import SampledPacket, packet_row
from spectrum.link.analytics import IntakeReport
from spectrum.link.api import LinkLost
from spectrum.tasks import Tasks
from tests.api.analytics.memory import Daemon, MemoryStore, descriptors
from tests.control.keepers import until
from tests.core.analytics.test_packet_rows import header


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """Nothing waits for long."""
    monkeypatch.setattr(module, "GATHER_S", 0.005)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.005)


@pytest.fixture
def daemon(tmp_path):
    before = descriptors()
    made = Daemon(tmp_path / "journal")
    yield made
    made.segments.close()
    assert descriptors() == before


@asynccontextmanager
async def taking(daemon, *stores):
    """An intake that runs; it makes these stores, one after the other, the last one again and again."""
    left = list(stores)
    intake = JournalIntake(lambda: left.pop(0) if len(left) > 1 else left[0], daemon.answer)
    running = Tasks().start(intake.run(), "intake")
    try:
        yield intake
    finally:
        running.cancel()
        await asyncio.wait((running,))


def report(daemon):
    return daemon.questions[-1].report if daemon.questions else IntakeReport()


def numbers(store):
    return [number for _, number in store.kept["ids"]]


async def test_records_are_taken_and_reported_to_the_supervisor(daemon):
    store = MemoryStore()
    daemon.add(3)
    async with taking(daemon, store) as intake:
        await until(lambda: numbers(store) == [1, 2, 3])
        daemon.add(2)
        await until(lambda: numbers(store) == [1, 2, 3, 4, 5])
        assert intake.store is store and intake.why == ""
        await until(lambda: report(daemon).record == 5)
        assert (report(daemon).rows, report(daemon).taken_us, report(daemon).failures) == (5, 1_000_000, {})
    assert store.calls[-1] == "close" and intake.store is None


async def test_it_waits_for_more_only_at_the_end_of_the_journal(daemon, monkeypatch):
    monkeypatch.setattr(module, "GATHER_S", 60)
    for _ in range(30):
        daemon.add(100, line=b"x" * 50 + b"\n")
    assert len(daemon.segments.extent.segments) > 3
    store = MemoryStore()
    async with taking(daemon, store):
        await until(lambda: len(numbers(store)) == 3000)


@pytest.mark.parametrize(
    ("records", "within_s", "gathered_s"),
    [
        (0, 1.0, 1.0),
        (5000, 1.0, 1.0),
        (10_000, 1.0, 1.8),
        (10_000, 2.0, 1.0),
        (18_000, 1.0, 1.0),
        (100_000, 1.0, 0.18),
        (5000, 0.01, 1.0),
    ],
)
def test_how_long_records_are_gathered(monkeypatch, records, within_s, gathered_s):
    monkeypatch.setattr(module, "GATHER_S", 1.0)
    monkeypatch.setattr(module, "STORED_TOGETHER", 16_384)
    assert module.gather_s(records, within_s) == pytest.approx(gathered_s, rel=0.01)


async def test_the_supervisor_hears_of_it_while_records_are_gathered(daemon, monkeypatch):
    monkeypatch.setattr(module, "gather_s", lambda records, within_s: 60)
    monkeypatch.setattr("spectrum.api.analytics.tail.ASK_S", 0.0)
    store = MemoryStore()
    daemon.add(3)
    async with taking(daemon, store):
        await until(lambda: report(daemon).rows == 3)
        asked = len(daemon.questions)
        await until(lambda: len(daemon.questions) > asked + 2)


async def test_what_comes_again_is_passed_over(daemon):
    daemon.add(5)
    first = MemoryStore()
    async with taking(daemon, first):
        await until(lambda: numbers(first) == [1, 2, 3, 4, 5])
    daemon.sequences["n/0/a"] = 3  # what a worker did not know to be kept
    daemon.add(6)
    again = MemoryStore(first.kept)
    async with taking(daemon, again):
        await until(lambda: numbers(again) == list(range(1, 9)))
        await until(lambda: report(daemon).repeated == 3)


@pytest.mark.parametrize("reason", ["full", "locked", "corrupt"])
async def test_a_store_that_refuses_records_says_why_and_loses_nothing(daemon, caplog, reason):
    store = MemoryStore()
    store.faults = [AnalyticsError("there is no room", reason)] * 2
    daemon.add(3)
    async with taking(daemon, store) as intake:
        await until(lambda: intake.why == "there is no room")
        assert intake.store is store, "it can be asked"
        await until(lambda: numbers(store) == [1, 2, 3])
        await until(lambda: report(daemon).failures == {reason: 2} and not report(daemon).failure)
    assert caplog.text.count("analytics: there is no room") == 1
    assert "analytics: records are taken again" in caplog.text


async def test_one_that_fails_on_is_opened_again(daemon):
    broken = MemoryStore()
    broken.faults = [AnalyticsError("gone", "corrupt")] * 100
    whole = MemoryStore()
    daemon.add(3)
    async with taking(daemon, broken, whole) as intake:
        await until(lambda: numbers(whole) == [1, 2, 3])
        assert intake.store is whole
    assert broken.calls == ["open", "close"] and broken.kept["ids"] == []


async def test_one_that_cannot_be_opened_is_tried_again(daemon, caplog):
    store = MemoryStore()
    store.refuses = AnalyticsError("another process has it", "locked")
    daemon.add(1)
    async with taking(daemon, store) as intake:
        await until(lambda: intake.why == "another process has it")
        assert intake.store is None
        store.refuses = None
        await until(lambda: numbers(store) == [1])


async def test_one_that_was_being_opened_at_the_end_is_closed(daemon):
    store, opens, goes_on = MemoryStore(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def open_slowly():
        loop.call_soon_threadsafe(opens.set)
        assert goes_on.wait(10)
        store.calls.append("open")

    store.open = open_slowly
    async with taking(daemon, store) as intake:
        await opens.wait()
        loop.call_later(0.01, goes_on.set)  # when it is cancelled
    assert store.calls == ["open", "close"] and intake.store is None


async def test_a_record_with_an_internal_error_delays_no_other(daemon, caplog):
    store = MemoryStore()
    for line in (b"{}\n", b"{}\n", b"poison\n", b"{}\n", b"{}\n"):
        daemon.add(2, line=line)
    async with taking(daemon, store):
        await until(lambda: numbers(store) == [1, 2, 3, 4, 7, 8, 9, 10])
        await until(lambda: report(daemon).lost == 2)
    assert "2 records of n/0/a from 5 on are skipped" in caplog.text


async def test_what_the_journal_dropped_is_reported_once(daemon, caplog):
    store = MemoryStore()
    store.kept["cursor"] = daemon.segments.extent.end
    daemon.begun = True
    while 0 in daemon.segments.extent.segments:
        daemon.add(100, line=b"x" * 50 + b"\n")
    async with taking(daemon, store):
        lost = daemon.segments.extent.segments[0]
        await until(lambda: report(daemon).lost == lost)
        await until(lambda: report(daemon).record == daemon.segments.extent.end.record)
        await until(lambda: "were lost" in caplog.text)
    assert caplog.text.count("were dropped from the journal") == 1
    assert f"{lost} records were lost" in caplog.text


async def test_a_supervisor_that_does_not_answer_for_a_while(daemon):
    store = MemoryStore()
    async with taking(daemon, store) as intake:
        await until(lambda: intake.store is store and daemon.questions)
        daemon.gone = LinkLost("it does not answer")
        await until(lambda: intake.why == "it does not answer")
        daemon.gone = None
        daemon.add(1)
        await until(lambda: numbers(store) == [1])


async def test_upkeep_comes_by_the_way_and_its_faults_do_not_matter(daemon, monkeypatch):
    monkeypatch.setattr(module, "TIDY_S", 0.01)
    store = MemoryStore()
    async with taking(daemon, store) as intake:
        await until(lambda: report(daemon).size == 4096)

        faults = [AnalyticsError("no room", "full"), ValueError("x")]

        def fails(now):
            raise faults[0]

        store.tidy = fails
        await until(lambda: report(daemon).failures.get("full"))
        faults.pop(0)
        await until(lambda: report(daemon).failures.get("fault"))
        del store.tidy
        await until(lambda: not intake.why)


async def test_rows_that_are_dropped_are_told_once_per_hour(daemon, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "TIDY_S", 0.01)
    store = MemoryStore()
    store.dropped = 7
    async with taking(daemon, store):
        await until(lambda: store.calls.count("tidy") > 5)
    assert [one for one in caplog.messages if "dropped" in one] == [
        "analytics: 7 rows were dropped because of their age, or the size of the store"
    ]


async def test_samples_of_packets_come_with_the_answers(daemon):
    store = MemoryStore()
    packet = SampledPacket(1, "passed", 100, header(), 1000, False)
    async with taking(daemon, store) as intake:
        await until(lambda: intake.store is store)
        daemon.packets = [packet, packet._replace(header=b"no packet")]
        await until(lambda: store.packets == [packet_row(packet, "n")])
        for fault in (AnalyticsError("no room", "full"), ValueError("x")):
            store.faults, daemon.packets = [fault], [packet]
            await until(lambda: not store.faults)
        daemon.add(1)
        await until(lambda: numbers(store) == [1] and report(daemon).failures == {"full": 1, "fault": 1})


async def test_its_thread_has_low_priority(daemon):
    seen = []

    class Curious(MemoryStore):
        def open(self):
            seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    async with taking(daemon, Curious()):
        await until(lambda: seen)
    assert seen == [os.getpriority(os.PRIO_PROCESS, os.getpid()) + module.NICENESS]
