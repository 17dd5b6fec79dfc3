import pytest

from spectrum.analytics import upkeep
from spectrum.analytics.embedded import DAY_S, EmbeddedStore
from tests.analytics.records import CURSOR, NOON, batch, record

NOW = NOON.timestamp()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def opened(folder, **options):
    store = EmbeddedStore(folder, memory_bytes=64 << 20, threads=1, **options)
    store.open()
    return store


def tidy_all(store, now):
    """Do all steps; return what they did together."""
    rolled = dropped = 0
    for _ in range(100):
        done = store.tidy(now)
        rolled += done.rolled_up
        dropped += done.dropped
        if not done.more:
            return rolled, dropped, done.size
    raise AssertionError("it does not end")


SUMS = "SELECT sum(weight), sum(client_bytes), sum(duration_count), sum(records) FROM minutes"


def test_what_is_rolled_up_is_in_sums_once(folder, monkeypatch):
    monkeypatch.setattr(upkeep, "ROLL_UP_ROWS", 40)
    store = opened(folder)
    store.take([batch([record(at / 2) for at in range(100)])], CURSOR)
    before = store.execute(SUMS)
    assert before == [(100, 100 * 100, 100, 100)]
    rolled, dropped, size = tidy_all(store, NOW)
    assert (rolled, dropped) == (80, 0), "the rest waits for more"
    assert size > 0
    assert store.execute(SUMS) == before
    store.take([batch([record(60.0)], sequence=101)], CURSOR)
    assert store.tidy(NOW + 1).rolled_up == 0
    assert tidy_all(store, NOW + upkeep.ROLL_UP_S) == (21, 0, store.tidy(NOW + upkeep.ROLL_UP_S).size)
    assert store.execute(SUMS) == [(101, 101 * 100, 101, 101)]
    assert store.execute("SELECT count(*) FROM minutes") == [(4,)], "portions of minutes"
    store.close()


def test_a_clock_that_was_set_back_delays_no_roll_up(folder):
    store = opened(folder)
    store.take([batch([record()])], CURSOR)
    assert store.tidy(NOW).rolled_up == 1
    store.take([batch([record()], sequence=2)], CURSOR)
    assert store.tidy(NOW - 2 * DAY_S).rolled_up == 1
    store.close()


def test_many_are_rolled_up_at_once(folder, monkeypatch):
    monkeypatch.setattr(upkeep, "MIN_ROLL_UP_ROWS", 10)
    store = opened(folder)
    store.tidy(NOW)
    store.take([batch([record()] * 9)], CURSOR)
    assert store.tidy(NOW + 1).rolled_up == 0
    store.take([batch([record()], sequence=10)], CURSOR)
    assert store.tidy(NOW + 1).rolled_up == 10
    store.close()


def test_changes_of_health_outlive_their_volume(folder):
    from spectrum.core.balancing.events import HealthEvent

    store = opened(folder, max_bytes=16, events_s=DAY_S)
    store.take(
        [batch([HealthEvent("originHealth", NOON, False, "refused", "p", "a")], source="edge1/supervisor/1")], CURSOR
    )
    store.take([batch([record(1)], sequence=2)], CURSOR)
    assert store.execute("SELECT origin FROM health") == [("p/a",)]
    tidy_all(store, NOW)
    assert store.execute("SELECT origin FROM health") == [("p/a",)]
    store.close()


def test_the_oldest_volume_is_dropped_for_its_age(folder):
    store = opened(folder, events_s=DAY_S)
    store.take([batch([record(at) for at in range(10)])], CURSOR)
    store._volumes.begin()
    store.take([batch([record(DAY_S + at) for at in range(5)], sequence=11)], CURSOR)
    assert tidy_all(store, NOW + DAY_S)[1] == 0, "the newest of it is not as old"
    assert tidy_all(store, NOW + DAY_S + 10)[1] == 10
    assert store.execute("SELECT count(*) FROM events") == [(5,)]
    assert store.execute(SUMS) == [(15, 1500, 15, 15)], "roll-ups live longer"
    span = store.extent()
    assert (span.events_from, span.minutes_from, span.newest) == (NOW + DAY_S, NOW, NOW + DAY_S + 4)
    store.close()


def test_a_clock_that_was_ahead_keeps_no_volume_from_being_dropped(folder):
    store = opened(folder, events_s=DAY_S)
    store.take([batch([record(0), record(400 * DAY_S)])], CURSOR)
    store._volumes.begin()
    store.take([batch([record(DAY_S)], sequence=3)], CURSOR)
    begun = store._volumes.begun_at(2)
    assert tidy_all(store, begun + DAY_S - 10)[1] == 0
    assert tidy_all(store, begun + DAY_S + 10)[1] == 2
    span = store.execute("SELECT max(upto) FROM history.marks WHERE name = 'dropped'")
    assert span == [(round(begun * 1e6),)], "what is newer is there"
    store.close()


def test_a_clock_that_is_set_back_begins_a_volume(folder):
    store = opened(folder)
    store.take([batch([record()])], CURSOR)
    store._begun_at += 400 * DAY_S
    store.take([batch([record()], sequence=2)], CURSOR)
    store.take([batch([record()], sequence=3)], CURSOR)
    assert store._volumes.numbers == [1, 2]
    store.close()


def test_the_oldest_volume_is_dropped_for_room(folder, monkeypatch):
    store = opened(folder, max_bytes=1 << 20)
    for number in range(6):
        store.take([batch([record(number * 60 + at) for at in range(50)], sequence=1 + number * 50)], CURSOR)
    assert len(list(folder.glob("events-*.duckdb"))) == 6
    monkeypatch.setattr(store._upkeep, "_max_bytes", 0)
    tidy_all(store, NOW)
    assert tidy_all(store, NOW)[1] == 250
    assert tidy_all(store, NOW)[:2] == (0, 0)
    assert len(list(folder.glob("events-*.duckdb"))) == 1, "the newest one stays"
    assert store.execute(SUMS) == [(300, 300 * 100, 300, 300)]
    store.close()


def test_the_history_is_dropped_for_its_age_and_for_room(folder, monkeypatch):
    store = opened(folder, minutes_s=10 * DAY_S)
    store.take([batch([record(at * DAY_S) for at in range(8)])], CURSOR)
    assert tidy_all(store, NOW + 12.5 * DAY_S)[:2] == (8, 0), "one after the other"
    assert tidy_all(store, NOW + 12.5 * DAY_S)[:2] == (0, 3)
    assert store.execute("SELECT count(*) FROM minutes") == [(5,)], "of days 3 to 7"
    monkeypatch.setattr(upkeep.Upkeep, "_history_bytes", lambda self: 2**40)
    assert store.tidy(NOW + 12.5 * DAY_S).dropped == 2, "an eighth of its time"
    store.close()
