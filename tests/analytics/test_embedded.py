import os
import random
import shutil
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.analytics import embedded
from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.embedded import EmbeddedStore
from spectrum.analytics.store import AnalyticsError, PacketSample, QuestionTooLarge
from spectrum.core.analytics.columns import PACKETS
from spectrum.core.analytics.question import Compare, Question, Sorting
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.ddos.attack_records import records_of
from spectrum.core.records.journal import Batch, Cursor
from spectrum.plane.outbox import Outbox
from tests.analytics.records import CURSOR, NOON, SOURCE, batch, record
from tests.core.ddos.attack_samples import event, rule
from tests.properties import examples

NOW = NOON.timestamp()


def opened(folder, **options):
    store = EmbeddedStore(folder, memory_bytes=64 << 20, threads=1, **options)
    store.open()
    return store


@pytest.fixture
def store(tmp_path):
    found = opened(tmp_path / "store")
    yield found
    found.close()


SUMS = "SELECT count(*), sum(weight), sum(client_bytes) FROM events"


def test_records_are_kept_with_the_place_in_the_journal(store, tmp_path):
    assert store.progress() == (None, {})
    assert store.take([batch([record(), record(1)])], CURSOR) == (2, 0, 0, 0)
    assert store.progress() == (CURSOR, {SOURCE: 3})
    assert store.take([], Cursor(0, 200, 3)) == (0, 0, 0, 0)
    store.close()
    store.open()
    assert store.progress() == (Cursor(0, 200, 3), {SOURCE: 3})
    assert store.execute(SUMS) == [(2, 2, 200)]
    assert store.extent() == (NOW, NOW, NOW + 1)


def test_sums_of_records_that_were_sampled_on_the_way(store, monkeypatch):
    """A worker whose supervisor stands still keeps some of 4,000 records; sums are within the stated bound."""
    monkeypatch.setattr("spectrum.plane.outbox.MAX_WAITING_BYTES", 512 * 1024)
    outbox, chance = Outbox("0/66121c7704295"), random.Random(17)
    made = [
        record(ClientBytes=chance.randrange(1000, 9000), OriginBytes=7, Application="ab"[i % 2]) for i in range(4000)
    ]
    for first in range(0, len(made), 64):
        some = made[first : first + 64]
        outbox.add(len(some), msgspec.json.Encoder().encode_lines(some))
    messages = []
    while outbox:
        messages.append(outbox.take())
        outbox.done(messages[-1])
    batches = [Batch(f"edge1/{one.source}", one.first, one.count, 0, one.lines) for one in messages]
    taken = store.take(batches, CURSOR)
    assert taken.rows == 4000 - outbox.take_omitted() and taken.rows < 1000
    question = Question(
        "events", metrics=("count", "bytesIngress"), dimensions=("app",), since=NOW - 60, until=NOW + 60
    )
    found = store.ask(question, 10.0)
    ((n, deviation),) = store.execute(
        "SELECT max(weight), sqrt(sum((1 - 1 / weight) * CAST(client_bytes AS DOUBLE) ** 2)) FROM events"
    )
    assert abs(found.totals["count"] - 4000) <= 4 * n
    assert abs(found.totals["bytesIngress"] - sum(one.ClientBytes for one in made)) < 4 * deviation
    for _, count, _ in found.rows:
        assert abs(count - 2000) < 4 * (n * 2000) ** 0.5
    again = store.take(batches, CURSOR)
    assert again.rows == 0, "they have numbers"


def test_what_comes_again_is_passed_over(store):
    store.take([batch([record()] * 5)], CURSOR)
    again = store.take([batch([record()] * 8, sequence=3), batch([record()] * 2, sequence=9)], CURSOR)
    assert again == (5, 3 + 2, 0, 0)
    assert store.take([batch([record()], source="edge1/1/2", sequence=77)], CURSOR) == (1, 0, 0, 0)
    assert store.execute(SUMS)[0][0] == 11
    assert store.execute("SELECT source, sequence FROM events GROUP BY ALL HAVING count(*) > 1") == []


def test_what_is_missing_and_what_is_no_record(store):
    broken = Batch(SOURCE, 1, 3, 0, msgspec.json.encode(record()) + b'\n{broken}\n{"Event":"disconnect"}\n')
    assert store.take([broken, batch([record()], sequence=10)], CURSOR) == (2, 0, 2, 6)


def test_the_supervisors_records(store):
    health = HealthEvent("originHealth", NOON, False, "refused", "p", "a")
    change = {"Event": "configurationChanged", "Timestamp": NOON, "Revision": 7, "Author": "ops", "Text": "app ssh"}
    taken = store.take([batch([health, change], source="edge1/supervisor/1"), batch([record()])], CURSOR)
    assert taken == (3, 0, 0, 0)
    assert store.execute("SELECT origin, healthy FROM health") == [("p/a", False)]
    assert store.execute("SELECT revision, author FROM changes") == [(7, "ops")]
    assert store.execute("SELECT count(*) FROM events") == [(1,)]


def by_client(store, *dimensions, metrics=("count", "bytes"), **own):
    asked = {"since": NOW - 60, "until": NOW + 3600, "order": (), "limit": 100} | own
    return store.ask(Question("events", metrics=metrics, dimensions=dimensions or ("client_ip",), **asked), 10.0)


def clients_of(store):
    found = store.execute(
        "SELECT client_ip, sum(weight), sum(client_bytes + origin_bytes) FROM events GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return [(address, count, bytes_) for address, count, bytes_ in found]


def some(*hosts, **own):
    return [record(ClientIP=f"192.0.2.{host}" if host else "", **own) for host in hosts]


def test_groups_by_client_are_sums_of_events(store, monkeypatch):
    monkeypatch.setattr("spectrum.core.analytics.client_numbers.MAX_CLIENTS", 4)
    store.take([batch(some(1, 1, 2, 0, 3, 3, 3))], Cursor(0, 1, 1))
    store.take([batch([record(ClientIP="2001:db8::7"), *some(5, 5, 1)], sequence=8)], Cursor(0, 2, 2))
    assert store.execute("SELECT count(*) FROM events WHERE client = 0") == [(3,)], "too many, and none"
    found = by_client(store)
    assert [tuple(row) for row in found.rows] == clients_of(store)
    assert (found.groups, found.rows_read, found.totals["count"]) == (6, 11, 11)
    assert (found.minima["count"], found.maxima["count"]) == (1, 3)
    prefixes = by_client(store, "client_prefix", metrics=("count", "clients"))
    assert prefixes.rows == [("192.0.2.0/24", 9, 4), ("", 1, 0), ("2001:db8::/48", 1, 1)]
    assert prefixes.totals == {"count": 11, "clients": 5}
    sums = by_client(store, "client_ip", "app", where=Compare("client_ip", "=", ("192.0.2.5",)))
    assert sums.rows == [("192.0.2.5", "ssh", 2, 2200)]


@pytest.mark.parametrize("is_one_series", [True, False])
def test_the_first_clients_are_those_of_all_groups(store, monkeypatch, is_one_series):
    monkeypatch.setattr("spectrum.core.analytics.client_numbers.MAX_CLIENTS", 6)
    store.take([batch(some(1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 7, 8, 0, 0))], Cursor(0, 1, 1))
    if not is_one_series:
        store._volumes.begin()
        store.take([batch(some(8, 9, 1), sequence=17)], Cursor(0, 2, 2))
    with store._volumes.read(10.0) as tables:
        assert tables.has_one_number_each is is_one_series
    sums = clients_of(store)
    counts = {address: count for address, count, _ in sums}
    for limit in range(1, len(sums) + 2):
        assert [tuple(row) for row in by_client(store, limit=limit).rows] == sums[:limit], "in the order of texts"
        least = by_client(store, metrics=("count",), order=(Sorting("count", False),), limit=limit)
        assert least.rows == sorted(counts.items(), key=lambda one: (one[1], one[0]))[:limit]
        last = by_client(store, metrics=("count",), order=(Sorting("client_ip", True),), limit=limit)
        assert last.rows == sorted(counts.items(), reverse=True)[:limit]
    rest = by_client(store, metrics=("count",), limit=2, others=True)
    assert rest.rows[-1] == (None, sum(counts.values()) - rest.rows[0][1] - rest.rows[1][1])
    found = by_client(store, "app", "client_ip", limit=1, where=Compare("client_ip", "!=", (sums[0][0],)))
    assert [tuple(row) for row in found.rows] == [("ssh", *sums[1])]
    assert (found.groups, found.rows_read) == (len(sums) - 1, sum(counts.values()) - sums[0][1])
    assert by_client(store, where=Compare("app", "=", ("none",))).totals == {"count": 0, "bytes": 0}


def test_distinct_clients_are_at_least_those_of_a_sum(store):
    store.take([batch([*some(1, 1, 2), record(ClientIP="", Sessions=9, Clients=7)])], CURSOR)
    asked = Question("events", metrics=("clients",), dimensions=(), since=NOW - 60, until=NOW + 60)
    assert store.ask(asked, 10.0).totals == {"clients": 7}
    assert by_client(store, metrics=("clients",)).rows == [("", 7), ("192.0.2.1", 1), ("192.0.2.2", 1)]


def test_clients_keep_their_numbers_in_the_next_volume(store, monkeypatch):
    store.take([batch(some(1, 2))], Cursor(0, 1, 1))
    store._volumes.begin()
    store.take([batch(some(2, 3), sequence=3)], Cursor(0, 2, 2))
    store.close()
    store.open()
    store.take([batch(some(3, 4), sequence=5)], Cursor(0, 3, 3))
    numbers = store.execute("SELECT client_ip, count(DISTINCT client) FROM events GROUP BY 1 ORDER BY 1")
    assert numbers == [(f"192.0.2.{host}", 1) for host in (1, 2, 3, 4)]
    assert [tuple(row) for row in by_client(store).rows] == clients_of(store)
    # Of too many the next volume begins with none, and with other numbers.
    monkeypatch.setattr("spectrum.core.analytics.client_numbers.MAX_CLIENTS", 4)
    store._volumes.begin()
    store.take([batch(some(1, 9), sequence=7)], Cursor(0, 4, 4))
    assert store.execute("SELECT count(*) FROM clients") == [(4 + 2,)]
    assert [tuple(row) for row in by_client(store).rows] == clients_of(store)
    assert by_client(store, metrics=("clients",)).totals == {"clients": 5}


def test_numbers_of_a_take_that_failed_are_given_again(store, monkeypatch):
    store.take([batch(some(1))], Cursor(0, 1, 1))
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "insert_clients", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.take([batch(some(2, 3), sequence=2)], Cursor(0, 2, 2))
    store.take([batch(some(3), sequence=2)], Cursor(0, 2, 2))
    assert store.execute("SELECT client_ip, client FROM clients ORDER BY 2") == [("192.0.2.1", 1), ("192.0.2.3", 2)]
    assert [tuple(row) for row in by_client(store).rows] == clients_of(store)


def test_a_store_of_before_goes_on_in_a_new_volume(store):
    """Its volumes have no numbers: their rows are grouped by the address."""
    store.take([batch(some(1, 2, 2))], Cursor(0, 1, 1))
    with store._database.writing() as connection:
        connection.execute("DROP TABLE v1.clients")
        connection.execute("ALTER TABLE v1.events DROP COLUMN client")
    before = clients_of_before(store)
    store.close()
    store.open()
    assert store._volumes.numbers == [1, 2]
    assert store.progress() == (Cursor(0, 1, 1), {SOURCE: 4})
    assert [tuple(row) for row in by_client(store).rows] == before
    store.take([batch(some(2, 2, 3), sequence=4)], Cursor(0, 2, 2))
    assert [tuple(row)[:2] for row in by_client(store).rows] == [("192.0.2.2", 4), ("192.0.2.1", 1), ("192.0.2.3", 1)]
    assert by_client(store, metrics=("clients",)).totals == {"clients": 3}
    store.tidy(NOW)
    assert store.execute("SELECT sum(records) FROM minutes") == [(6,)]


def clients_of_before(store):
    found = store._database.writer.execute(
        "SELECT client_ip, sum(weight), sum(client_bytes + origin_bytes) FROM v1.events GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return found.fetchall()


def test_places_of_groups_fit_into_memory(store):
    few, many = store._bits(1), store._bits(20)
    assert few > many
    for bits, metrics in ((few, 1), (many, 20)):
        assert 2**bits * 32 * (metrics + 1) * 2 <= 32 << 20, "half of it, of a thread and of both together"


def test_attacks_are_kept_also_in_a_store_of_before(store):
    store.take([batch([record()])], Cursor(0, 50, 1))
    for name in ("v1", "history"):
        store._database.writer.execute(f"DROP TABLE {name}.attacks")
    store.close()
    store.open()
    made = list(records_of(event(rules=(rule(packets=7),)), {}))
    assert store.take([batch(made, source="edge1/supervisor/1")], CURSOR) == (1, 0, 0, 0)
    assert store.execute("SELECT attack, packets FROM attacks") == [("0000000000000001", 7)]
    assert store.execute("SELECT count(*) FROM events") == [(1,)]


def test_packets(store):
    values = {"time": NOON.replace(tzinfo=None), "source_ip": "203.0.113.7", "sample_interval": 1000, "bytes": 60_000}
    empty = {"VARCHAR": "", "BLOB": b""}
    row = tuple(values.get(one.name, empty.get(one.duckdb, 0)) for one in PACKETS.columns)
    store.take_packets([PacketSample(row)] * 3)
    assert store.execute("SELECT sum(sample_interval), sum(bytes) FROM packets") == [(3000, 180_000)]


def test_a_question(store):
    store.take([batch([record(at, Application="ssh" if at % 3 else "web") for at in range(9)])], CURSOR)
    question = Question(
        "events", metrics=("count", "bytesIngress"), dimensions=("app",), since=NOW - 60, until=NOW + 60
    )
    assert sorted(store.ask(question, 10.0).rows) == [("ssh", 6, 600), ("web", 3, 300)]
    raw = Question("events", metrics=(), dimensions=("*",), since=NOW - 60, until=NOW + 60, limit=2)
    assert len(store.ask(raw, 10.0).rows) == 2
    gone = Cancellation()
    gone.set()
    with pytest.raises(QuestionTooLarge):
        store.ask(question, 10.0, gone)
    with pytest.raises(QuestionTooLarge):
        store.execute("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 3", 0.05)


def test_events_that_were_dropped_are_asked_of_roll_ups(tmp_path):
    store = opened(tmp_path / "store", events_s=3600.0)
    store.take([batch([record(at) for at in range(100)])], CURSOR)
    store._volumes.begin()
    store.take([batch([record(at) for at in range(90, 150)], sequence=101)], CURSOR)
    question = Question("events", metrics=("count",), dimensions=("app",), since=NOW - 60, until=NOW + 600)
    assert store.ask(question, 10.0).rows == [("ssh", 160)]
    while store.tidy(NOW + 3700).dropped == 0:
        pass
    assert store.execute("SELECT count(*) FROM events") == [(60,)]
    assert store.ask(question, 10.0).rows == [("ssh", 160)], "the minutes of both are not counted twice"
    store.close()


def test_a_volume_is_full_by_its_size_or_age(tmp_path, monkeypatch):
    def volumes():
        return len(list((tmp_path / "store").glob("events-*.duckdb")))

    store = opened(tmp_path / "store", max_bytes=8 << 20)
    store.take([batch([record()])], CURSOR)
    store.take([batch([record(at, SessionId=f"1.{at}") for at in range(4000)], sequence=2)], CURSOR)
    assert volumes() == 1
    store.take([batch([record()], sequence=4002)], CURSOR)
    assert volumes() == 2
    monkeypatch.setattr(embedded, "DAY_S", 0.0)
    store.take([batch([record()], sequence=4003)], CURSOR)
    assert volumes() == 3
    assert store.execute(SUMS)[0][0] == 4003
    store.close()


# --- sums -----------------------------------------------------------------------------------------------------------


class Life:
    """A session: its records, and what its sockets moved."""

    def __init__(self, draw, number):
        self.records = []
        moved = [0, 0]
        name = {"SessionId": f"1.{number}", "Application": draw.choice(["ssh", "web"])}
        if draw.random() < 0.3:
            self.weight = draw.randint(1, 50)
            own = {"Event": "clientFiltered", "Reason": "client_rate", "ConnectTimestamp": None, "ClientBytes": 0}
            sessions = {"Sessions": self.weight} if self.weight > 1 else {}
            self.records.append(record(number, **name, **own, **sessions, OriginBytes=0))
            self.moved = (0, 0)
            return
        self.weight = 1
        is_open = {"DisconnectTimestamp": None, "Reason": "", "Status": 0}
        if draw.random() < 0.5:
            self.records.append(record(number, Event="connect", **name, **is_open, ClientBytes=0, OriginBytes=0))
        since = {}
        for step in range(draw.choice([0, 0, 1, 4])):
            more = draw.randrange(1000), draw.randrange(10**6)
            moved = [moved[0] + more[0], moved[1] + more[1]]
            since = {"ClientBytesSince": more[0], "OriginBytesSince": more[1]}
            totals = {"ClientBytes": moved[0], "OriginBytes": moved[1]}
            self.records.append(record(number + step, Event="progress", **name, **is_open, **totals, **since))
        more = draw.randrange(1000), draw.randrange(10**6)
        moved = [moved[0] + more[0], moved[1] + more[1]]
        if since:
            since = {"ClientBytesSince": more[0], "OriginBytesSince": more[1]}
        self.records.append(record(number + 9, **name, ClientBytes=moved[0], OriginBytes=moved[1], **since))
        self.moved = tuple(moved)


def journal_of(draw, lives, sources):
    """Batches of what workers tell: of each source in its order, sources mixed, what was not acknowledged again."""
    waiting = []
    for source in range(sources):
        lines = [one for life in lives[source::sources] for one in life.records]
        first = 1
        batches = []
        while first <= len(lines):
            count = draw.randint(1, 7)
            some = lines[first - 1 : first - 1 + count]
            batches.append(batch(some, sequence=first, source=f"edge1/{source}/1"))
            first += len(some)
        for at in sorted(draw.sample(range(len(batches)), min(len(batches), 2)), reverse=True):
            back = draw.randint(0, at)
            batches[at + 1 : at + 1] = batches[back : at + 1]
        waiting.append(batches)
    mixed = []
    while any(waiting):
        mixed.append(draw.choice([one for one in waiting if one]).pop(0))
    return mixed


@examples(15)
@given(st.integers(0, 2**32))
def test_sums_are_the_truth(tmp_path_factory, seed):
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("sums")
    store = opened(folder)
    lives = [Life(draw, number) for number in range(draw.randint(1, 25))]
    journal = journal_of(draw, lives, draw.randint(1, 3))
    shed = {draw.randrange(len(journal))} if draw.random() < 0.3 else set()
    kept = [one for at, one in enumerate(journal) if at not in shed]
    rows = repeated = at = 0
    while at < len(kept):
        count = draw.randint(1, 9)
        taken = store.take(kept[at : at + count], Cursor(0, at + count, at))
        rows, repeated, at = rows + taken.rows, repeated + taken.repeated, at + count
        match draw.randrange(6):
            case 0:
                store.close()
                store.open()
            case 1:
                store.tidy(NOW + at * 100)
            case 2:
                store._volumes.begin()
    assert rows + repeated == sum(one.records for one in kept)
    ((sessions, from_clients, from_origins),) = store.execute(
        "SELECT coalesce(sum(CASE WHEN event IN ('connect', 'progress') THEN 0 ELSE weight END), 0),"
        " coalesce(sum(client_bytes), 0), coalesce(sum(origin_bytes), 0) FROM events"
    )
    minutes = store.execute(
        "SELECT coalesce(sum(client_bytes), 0), coalesce(sum(origin_bytes), 0), coalesce(sum(records), 0) FROM minutes"
    )
    assert minutes == [(from_clients, from_origins, rows)], "roll-ups agree"
    if not shed:
        assert sessions == sum(life.weight for life in lives)
        assert (from_clients, from_origins) == tuple(map(sum, zip(*(life.moved for life in lives), strict=True)))
    assert store.execute("SELECT count(*) FROM (SELECT source, sequence FROM events GROUP BY ALL)") == [(rows,)], (
        "none twice"
    )
    store.close()
    shutil.rmtree(folder)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_nothing_is_added_where_the_disk_is_nearly_full(store, monkeypatch):
    store.take([batch([record()])], CURSOR)
    monkeypatch.setattr(embedded, "SPARE_BYTES", 1 << 60)
    with pytest.raises(AnalyticsError, match="MiB are free") as caught:
        store.take([batch([record()], sequence=2)], CURSOR)
    assert caught.value.reason == "full"
    assert store.execute(SUMS)[0][0] == 1, "questions are answered"
    monkeypatch.undo()
    assert store.take([batch([record()], sequence=2)], CURSOR).rows == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_disk_that_gets_full_on_the_way(tmp_path, monkeypatch):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]).returncode:
        pytest.skip("may not mount")
    try:
        monkeypatch.setattr(embedded, "SPARE_BYTES", 0)
        store = opened(folder)
        sequence = 1
        caught = None
        while caught is None and sequence < 100_000:
            try:
                store.take([batch([record(at, SessionId=f"{at}.{sequence}") for at in range(200)], sequence)], CURSOR)
                sequence += 200
            except AnalyticsError as exc:
                caught = exc
        assert caught is not None
        assert caught.reason == "full"
        assert store.progress().next == {SOURCE: sequence}
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        assert store.take([batch([record()] * 200, sequence)], CURSOR).rows == 200, "it goes on by itself"
        assert store.execute("SELECT count(*) FROM events") == [(sequence - 1 + 200,)], "nothing lost, nothing twice"
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_damage_makes_the_journal_be_read_again(tmp_path):
    said = []
    store = opened(tmp_path / "store", say=said.append)
    store.take([batch([record()] * 3)], CURSOR)
    store._volumes.begin()
    store.take([batch([record()] * 2, sequence=4)], Cursor(0, 500, 5))
    store._database.is_broken = True
    path = tmp_path / "store/events-00000002.duckdb"
    path.write_bytes(b"\1" * 20000)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(AnalyticsError, match="read them again") as caught:
            store.take([batch([record()], sequence=6)], Cursor(0, 600, 6))
        assert caught.value.reason == "corrupt"
    assert len(said) == 1
    assert store.progress() == (CURSOR, {SOURCE: 4})
    assert store.take([batch([record()] * 3, sequence=4)], Cursor(0, 600, 6)).rows == 3
    assert store.execute(SUMS)[0][0] == 6
    store.close()


CHILD = """
import sys
from pathlib import Path
from spectrum.analytics.embedded import EmbeddedStore
from spectrum.core.records.journal import Cursor
from tests.analytics.records import SOURCE, batch, record

store = EmbeddedStore(Path(sys.argv[1]), memory_bytes=64 << 20, threads=1, max_bytes=4 << 20)
store.open()
print("open", flush=True)
number = store.progress().next.get(SOURCE, 1)
while True:
    store.take([batch([record(at) for at in range(50)], number)], Cursor(0, number, number))
    number += 50
    store.tidy(number * 100.0)
"""


def test_killed_at_any_moment(tmp_path):
    draw = random.Random(9)
    folder = tmp_path / "store"
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"open\n"
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(draw.uniform(0.1, 0.5))
            child.send_signal(signal.SIGKILL)
        store = opened(folder)
        cursor, following = store.progress()
        ((rows, last),) = store.execute("SELECT count(*), max(sequence) FROM events")
        if cursor is not None:
            assert following == {SOURCE: last + 1}
            assert cursor.record == last - 49
            assert rows == last, "each once"
            assert store.execute("SELECT sum(records) FROM minutes") == [(rows,)]
        store.close()
    assert rows > 0


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalyticsError, match="file"):
        opened(tmp_path / "file")
    store = EmbeddedStore(tmp_path / "store")
    with pytest.raises(AnalyticsError, match="closed"):
        store.execute("SELECT 1")
    store.close()
