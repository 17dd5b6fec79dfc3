import os
from dataclasses import asdict

import msgspec
import pytest

from spectrum.control.analytics.actor import AnalyticsActor, store_settings
from spectrum.control.configuration.actor import Change, Plan, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.records.journal import Journal
from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.configuration.config import Config
from spectrum.core.records.journal import Cursor, read_frames, resume
from spectrum.link.analytics import IntakeReport, JournalQuestion
from tests.control.keepers import until
from tests.control.plans import NOTHING


def towards(config):
    return Change(Plan(Config(), NOTHING, {}, b""), Plan(config, NOTHING, {}, b""))


class Records:
    """What the actor needs of a stream of records."""

    journal = None


@pytest.fixture
def config(tmp_path):
    return Config.model_validate(
        {"api": {"user": "nobody"}, "analytics": {"store": f"{tmp_path}/store", "max_bytes": "1GiB"}}
    )


class Part:
    def __init__(self, config, folder):
        self.records, self.now = Records(), 1000.0
        self.folder = folder
        self.packets = []
        self.actor = AnalyticsActor(Served(config), self.records, lambda: self.packets, lambda: self.now)

    def open(self):
        self.records.journal = Journal(self.folder / "journal", 16 << 20, lambda: self.now)

    def add(self, first, count):
        self.records.journal.add("n/0/a", first, count, b"{}\n" * count)

    def ask(self, begins=False, segment=None, **report):
        question = JournalQuestion(report=IntakeReport(**report), begins=begins, segment=segment)
        return self.actor.answer(msgspec.json.encode(question))


@pytest.fixture
def part(config, tmp_path):
    made = Part(config, tmp_path)
    yield made
    if made.records.journal is not None:
        made.records.journal.close(5)


async def test_a_journal_that_is_not_there_yet(part):
    assert part.ask()[0].why == "the daemon has no journal"
    part.records.journal = type("J", (), {"segments": None, "failure": "no space left", "end": 0})()
    assert part.ask()[0].why == "the journal is not open: no space left"
    part.records.journal = None


async def test_descriptors_of_what_it_has_can_be_read_and_not_written(part):
    part.open()
    part.add(1, 3)
    await until(lambda: part.records.journal.end == 3)
    part.packets = [SampledPacket(5, "passed", 100, b"\0\xff", 1000, False)]
    view, files = part.ask(segment=0)
    assert (view.packets, bool(view.node)) == (part.packets, True)
    assert view.extent == part.records.journal.segments.extent
    (file,) = files
    entries, _ = read_frames(os.pread(file, 10_000, 0), Cursor(0, 0, 0))
    assert [entry.batch.records for entry in entries] == [3]
    with pytest.raises(OSError):
        os.write(file, b"x")
    os.close(file)
    assert part.ask(segment=77)[1] == part.ask()[1] == []


async def test_who_begins_sees_what_was_there_at_the_start_until_it_has_taken_something(part):
    part.open()
    await until(lambda: part.records.journal.segments)
    part.add(1, 3)
    await until(lambda: part.records.journal.end == 3)
    # A cursor of before a crash that cost the journal its end.
    beyond = Cursor(0, 500, 2)
    assert resume(beyond, part.ask(begins=True)[0].extent)[0].record == 0
    assert part.ask()[0].extent.end.record == 3
    part.ask(rows=1, taken_us=5)
    assert part.ask(begins=True)[0].extent.end.record == 3


async def test_counts_continue_over_processes(part):
    part.open()
    part.ask(begins=True, intake=1)
    part.ask(intake=1, rows=5, lost=1, failures={"full": 2}, failure="no room")
    part.ask(begins=True, intake=1, rows=5, lost=1, failures={"full": 2})
    part.ask(begins=True, intake=2)
    part.ask(intake=2, rows=2, repeated=4, failures={"full": 1, "locked": 1})
    found = asdict(part.actor.read())
    assert (found["rows"], found["repeated"], found["lost"], found["failure"]) == (7, 4, 1, "")
    assert found["failures"] == {"full": 3, "locked": 1}


async def test_lag_begins_where_something_is_left(part):
    part.open()
    part.add(1, 3)
    await until(lambda: part.records.journal.end == 3)
    part.now += 4
    part.ask(record=0)
    assert (part.actor.read().lag_records, part.actor.read().lag_s) == (3, 4)


async def test_lag_ends_where_nothing_is_left(part):
    part.open()
    part.ask(record=0)
    assert (part.actor.read().lag_records, part.actor.read().lag_s) == (0, 0)
    part.now += 50
    part.ask(record=0)
    part.add(1, 3)
    await until(lambda: part.records.journal.end == 3)
    part.now += 7
    found = part.actor.read()
    assert (found.lag_records, found.lag_s) == (3, 7)
    part.ask(record=2, taken_us=int((part.now - 2) * 1e6))
    assert (part.actor.read().lag_records, part.actor.read().lag_s) == (1, 2)
    part.ask(record=3)
    assert (part.actor.read().lag_records, part.actor.read().lag_s) == (0, 0)


async def test_what_an_operator_should_look_at(part):
    part.open()
    part.ask(record=0)
    assert list(part.actor.troubles()) == []
    part.add(1, 3)
    await until(lambda: part.records.journal.end == 3)
    part.now += 40
    (trouble,) = part.actor.troubles()
    assert (trouble.kind, trouble.facts) == ("analytics_behind", {"lag_s": 40, "records": 3, "why": ""})
    part.ask(record=0, failure="no room")
    (trouble,) = part.actor.troubles()
    assert (trouble.kind, trouble.facts["why"]) == ("analytics_failing", "no room")


async def test_status_and_metrics_of_it(part):
    part.ask(rows=5, size=1 << 29)
    (shown,) = (await part.actor.status()).values()
    assert shown == {
        "store": f"{part.folder}/store",
        "bytes": 1 << 29,
        "max_bytes": 1 << 30,
        "rows": 5,
        "lag_records": 0,
        "lag_s": 0,
        "lost": 0,
        "failure": None,
    }
    assert "spectrum_analytics_rows" in [family.name for family in await part.actor.metrics()]
    (usage,) = await part.actor.usage()
    assert (usage.limit, usage.share) == ("analytics_bytes", 0.5)


async def test_nothing_is_seen_where_it_is_off_and_a_server_has_no_limit_here(tmp_path):
    off = Part(Config(), tmp_path).actor
    assert not await off.status() and not await off.metrics() and not await off.usage()
    assert not list(off.troubles())
    server = Config.model_validate({"api": True, "analytics": {"clickhouse": {"url": "http://h", "password": "p"}}})
    on = Part(server, tmp_path).actor
    assert (await on.status())["analytics"]["store"] == "http://h"
    assert not await on.usage()
    assert store_settings(server)["clickhouse"]["password"] == "p"
    assert store_settings(Config()) is None


async def test_its_folder_is_made_or_the_rollout_refused(config, tmp_path):
    actor = Part(config, tmp_path).actor
    await actor.prepare(towards(config))
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    await actor.prepare(towards(Config()))
    (tmp_path / "store").rmdir()
    (tmp_path / "store").symlink_to(tmp_path / "store")
    with pytest.raises(RolloutError, match=r"analytics\.store: .*store: "):
        await actor.prepare(towards(config))


def test_settings_of_the_process(config, tmp_path):
    assert store_settings(config) == {
        "folder": f"{tmp_path}/store",
        "reports": None,
        "max_bytes": 1 << 30,
        "events_s": 30 * 86400,
        "minutes_s": 400 * 86400,
        "memory": 512 << 20,
        "threads": 2,
        "clickhouse": None,
    }
