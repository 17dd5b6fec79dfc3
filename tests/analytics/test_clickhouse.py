"""Against ClickHouse's own engine, in a process of its own."""

import json
from datetime import UTC, datetime, timedelta

import clickhouse_connect
import pytest

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.clickhouse import ClickHouseStore
from spectrum.analytics.clickhouse_http import ClickHouseHttp
from spectrum.analytics.clickhouse_tables import STAGED
from spectrum.analytics.store import AnalyticsError, PacketSample
from spectrum.core.analytics.answering import answer
from spectrum.core.analytics.columns import EVENTS, PACKETS, ColumnKind
from spectrum.core.analytics.dialects import DuckDb
from spectrum.core.analytics.dimensions import ColumnFilter
from spectrum.core.analytics.filters import of_json, parse
from spectrum.core.analytics.question import Compare, Question, QuestionFault, Sorting, Visible
from spectrum.core.ddos.attack_records import records_of
from spectrum.core.records.journal import Cursor
from tests.analytics.clickhouse_server import clickhouse
from tests.analytics.records import NOON, SOURCE, batch, record
from tests.core.analytics.rows import BEGIN, DAYS, EVERYTHING, events, tables
from tests.core.ddos.attack_samples import NOW as ATTACKED_AT
from tests.core.ddos.attack_samples import event, rule

DAY_S = 86400.0
ALL = (
    "count",
    "sessions",
    "refused",
    "bytes",
    "clients",
    "connections",
    "durationAvg",
    "durationMedian",
    "duration99th",
)


@pytest.fixture(scope="module")
def url():
    with clickhouse() as found:
        yield found


@pytest.fixture
def opened(url, tmp_path, request):
    """Return a store in a database of its own."""
    store = store_of(url, tmp_path, f"t{abs(hash(request.node.name))}")
    store.open()
    yield store
    store.close()


def store_of(url, folder, database, **own):
    server = ClickHouseHttp(url, database, "default", own.pop("password", ""), sleep=lambda seconds: None)
    return ClickHouseStore(server, folder, **({"events_s": 30 * DAY_S, "minutes_s": 400 * DAY_S} | own))


def ask(store, **own):
    fields = {"table": "events", "metrics": ("count",), "dimensions": ("app",), "since": 0.0, "until": 4e9}
    return store.ask(Question(**(fields | own)), 30.0, Cancellation())


def tidy_all(store, now):
    """Do all steps; return what they rolled up and dropped together."""
    rolled = dropped = 0
    for _ in range(200):
        done = store.tidy(now)
        rolled, dropped = rolled + done.rolled_up, dropped + done.dropped
        if not done.more:
            return rolled, dropped
    raise AssertionError("it does not end")


# --- the same answers


@pytest.fixture(scope="module")
def both(url, tmp_path_factory):
    """Return what asks both stores, which have the same rows."""
    store = store_of(url, tmp_path_factory.mktemp("store"), "same")
    store.open()
    lines = [
        json.dumps({**row, "time": datetime.fromtimestamp(row["time"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")})
        for row in events()
    ]
    ClickHouseHttp(url, "same", "default", "").insert(
        "INSERT INTO kept_events FORMAT JSONEachRow", "\n".join(lines).encode()
    )
    with tables(events()) as connection:

        def asked(**own):
            fields = {"table": "events", "metrics": ALL, "dimensions": ("app",), "since": BEGIN, "until": BEGIN + 3600}
            question = Question(**(fields | own))
            ours = answer(
                question, DuckDb(), EVERYTHING, lambda one: connection.execute(one.text, one.parameters).fetchall()
            )
            return ours, store.ask(question, 30.0, Cancellation())

        yield asked
    store.close()


def known(name):
    return ColumnFilter.named(EVENTS, name)


WHOLE = {"until": BEGIN + DAYS * 86400}
EXACT = ("count", "bytes", "durationMedian", "duration90th", "clientRttMin", "durationMax", "clientRttAvg")
QUESTIONS = {
    "groups": {"dimensions": ("app", "event")},
    "all together": {"dimensions": ()},
    "others": {"dimensions": ("client_ip",), "limit": 2, "others": True},
    "sums": {"metrics": ("count", "bytes", "refused"), "dimensions": ("client_ip", "app"), "limit": 9},
    "sums of none": {"metrics": ("count", "bytes"), "since": BEGIN - 60, "until": BEGIN - 30},
    "by time": {"bucket": 600, "limit": 1, "others": True},
    "by week": {"bucket": "week", "dimensions": ("ip_version", "event")},
    "by quarter": {"bucket": "quarter", "dimensions": ()},
    "lowest first": {"dimensions": ("client_ip",), "order": (Sorting("durationAvg"),), "limit": 3},
    "roll-ups": WHOLE | {"metrics": EXACT, "dimensions": ("app", "reason")},
    "roll-ups by time": WHOLE | {"metrics": EXACT, "bucket": 7200, "limit": 2, "others": True},
    "roll-ups by percentile": WHOLE | {"metrics": EXACT, "order": (Sorting("duration90th", True),), "limit": 2},
    "prefix of IPv4": {"where": parse("client_ip==10.16.0.0/12", known)},
    "prefix of IPv6": {"where": parse("client_ip!=2001:db8::/63", known)},
    "either": {"where": parse("app==a;event!=connect,duration>100", known)},
    "pattern": {
        "where": of_json([{"dimension": "client_ip", "op": "like", "values": ["192.0.2.7_", r"it's; \\%"]}], known)
    },
    "hostile": {"where": Compare("client_ip", "=", ("it's; \\ ü", "x'); DROP TABLE kept_events"))},
    "numbers that no row can have": {
        "where": of_json([{"dimension": "edge_port", "op": "in", "values": [22, 70_000, 2**40]}], known)
    },
    "none of": {"where": Compare("client_ip", "!=", ("192.0.2.1", "10.16.3.4"))},
    "visible": {"visible": Visible({"app": {"a": 0.0, "b": BEGIN + 1800.0}})},
    "nobody's": {"visible": Visible()},
    "given groups": {"groups": (("a",), ("zz",))},
    "given pairs": {"dimensions": ("app", "edge_port"), "groups": (("a", 22), ("b", 443))},
    "nothing": {"since": BEGIN - 60, "until": BEGIN - 30},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_both_stores_answer_the_same(both, name):
    ours, theirs = both(**QUESTIONS[name])
    assert theirs.columns == ours.columns
    assert [tuple(row) for row in theirs.rows] == [pytest.approx(row) for row in ours.rows]
    for part in ("totals", "minima", "maxima"):
        assert getattr(theirs, part) == pytest.approx(getattr(ours, part)), part
    assert (theirs.groups, theirs.rows_read) == (ours.groups, ours.rows_read)


def test_both_stores_show_the_same_rows(both):
    ours, theirs = both(metrics=(), dimensions=("*",), limit=50)
    assert theirs.columns == ours.columns
    assert [tuple(row) for row in theirs.rows] == list(ours.rows)


def test_the_age_of_an_answer(both):
    assert both()[1].as_of == pytest.approx(events()[-1]["time"])


# --- taking records


def test_records_become_rows_that_a_real_client_reads(opened, url):
    health = {"Event": "poolHealth", "Timestamp": NOON, "Pool": "eu", "Healthy": True}
    change = {"Event": "configurationReloaded", "Timestamp": NOON, "Revision": 3, "Text": "it's <b>"}
    sessions = batch([record(1), record(2, Event="progress", ClientBytesSince=7)])
    attacks = list(records_of(event(rules=(rule(packets=7),)), {}))
    own = batch([health, change, *attacks], source="edge1/supervisor/66121c7704295")
    assert opened.take([sessions, own], Cursor(0, 9, 4)) == (5, 0, 0, 0)
    host, port = url.removeprefix("http://").split(":")
    client = clickhouse_connect.get_client(host=host, port=int(port), database=opened._server.database)
    found = client.query("SELECT app, event, client_bytes, duration, time FROM events ORDER BY sequence").result_rows
    at = (NOON + timedelta(seconds=1)).replace(tzinfo=None)
    assert [row[:3] for row in found] == [("ssh", "disconnect", 100), ("ssh", "progress", 7)]
    assert found[0][3] == 2_000_000
    assert found[0][4].replace(tzinfo=None) == at
    assert client.query("SELECT pool, healthy FROM health").result_rows == [("eu", True)]
    assert client.query("SELECT revision, text FROM changes").result_rows == [(3, "it's <b>")]
    found = client.query("SELECT attack, packets, began FROM attacks").result_rows
    assert found == [("0000000000000001", 7, round(ATTACKED_AT * 1e6))]
    client.close()


def test_each_record_is_there_once_whatever_comes_again(opened, url, tmp_path):
    database = opened._server.database
    first, second = batch([record(at) for at in range(5)]), batch([record(at) for at in range(5, 8)], 6)
    assert opened.take([first], Cursor(0, 1, 5)) == (5, 0, 0, 0)
    assert opened.take([first, second], Cursor(0, 2, 8)) == (3, 5, 0, 0)
    assert opened.progress() == (Cursor(0, 2, 8), {SOURCE: 9})
    again = store_of(url, tmp_path, database)
    again.open()
    assert again.progress() == (Cursor(0, 2, 8), {SOURCE: 9})
    # What was noted last is lost: it all comes again, in other batches.
    lost = store_of(url, tmp_path / "lost", database)
    lost.open()
    assert lost.progress() == (None, {})
    assert lost.take([batch([record(at) for at in range(8)])], Cursor(0, 2, 8)) == (8, 0, 0, 0)
    for metrics in (("count", "bytes"),):
        assert ask(opened, metrics=metrics).rows == [("ssh", 8, 8800)]
    assert ask(opened, since=NOON.timestamp() - 100 * DAY_S, until=NOON.timestamp() + 60).rows == [("ssh", 8)]
    for store in (again, lost):
        store.close()


def test_nothing_is_noted_of_what_was_not_inserted(opened, monkeypatch):
    def fails(text, data):
        raise AnalyticsError("no room", "full")

    monkeypatch.setattr(opened._server, "insert", fails)
    with pytest.raises(AnalyticsError, match="no room"):
        opened.take([batch([record()])], Cursor(0, 1, 1))
    assert opened.progress() == (None, {})
    monkeypatch.undo()
    assert opened.take([batch([record()])], Cursor(0, 1, 1)).rows == 1


def test_a_cursor_without_records_is_noted(opened):
    assert opened.take([], Cursor(0, 7, 0)) == (0, 0, 0, 0)
    assert opened.progress().cursor == Cursor(0, 7, 0)


def test_a_damaged_state_file_is_reported(opened, url, tmp_path):
    opened.take([], Cursor(0, 7, 0))
    (file,) = tmp_path.glob("*.json")
    file.write_text("{")
    with pytest.raises(AnalyticsError, match="the whole journal is sent again") as raised:
        store_of(url, tmp_path, opened._server.database).open()
    assert raised.value.reason == "corrupt"


def test_packets_are_kept(opened):
    values = {ColumnKind.TIME: NOON, ColumnKind.BYTES: b"\x00\xff'"}
    texts = (ColumnKind.TEXT, ColumnKind.CATEGORY)
    sample = tuple(values.get(one.kind, "x'" if one.kind in texts else 5) for one in PACKETS.columns)
    opened.take_packets([PacketSample(sample)] * 2)
    opened.take_packets([])
    found = ask(opened, table="packets", metrics=("samples", "packets", "bits"), dimensions=("protocol",))
    assert found.rows == [("x'", 2, 10, 80)]
    raw = ask(opened, table="packets", metrics=(), dimensions=("*",))
    assert raw.rows[0][raw.columns.index("header")] == "00ff27"
    assert raw.rows[0][raw.columns.index("time")] == NOON.timestamp()


# --- upkeep


def test_days_are_rolled_up_and_dropped(opened):
    records = [record(day * DAY_S + at, Application=app) for day in range(3) for at in (1, 2, 70) for app in "ab"]
    opened.take([batch(records)], Cursor(0, 1, 1))
    whole = {"metrics": ("count", "bytes", "durationMedian", "durationAvg"), "dimensions": ("app",)}
    before = ask(opened, **whole)
    assert before.rows[0][:3] == ("a", 9, 9900)
    now = NOON.timestamp() + 2 * DAY_S
    assert tidy_all(opened, now) == (12, 0)
    assert ask(opened, **whole).rows == [pytest.approx(row) for row in before.rows]
    # One day's records are too old.
    late = now + 29 * DAY_S
    assert tidy_all(opened, late) == (6, 6)
    after = ask(opened, **whole)
    assert after.rows == [pytest.approx(row) for row in before.rows] and after.partial == ""
    assert ask(opened, dimensions=("client_ip",)).partial.startswith("before 2026-11-27 00:00 only sums of minutes")
    extent = opened.extent()
    assert extent.events_from == NOON.timestamp() + DAY_S + 1
    assert extent.minutes_from == NOON.timestamp()
    assert extent.newest == NOON.timestamp() + 2 * DAY_S + 70


def test_several_nodes_roll_one_day_up(opened, url, tmp_path):
    opened.take([batch([record(at * 3600) for at in range(24)])], Cursor(0, 1, 1))
    before, now = ask(opened).totals, NOON.timestamp() + 2 * DAY_S
    other = store_of(url, tmp_path / "other", opened._server.database)
    other.open()
    command = opened._server.command

    def with_other(text, *args, **own):
        if "REPLACE PARTITION" in text:
            tidy_all(other, now)
        command(text, *args, **own)

    opened._server.command = with_other
    tidy_all(opened, now)
    other.close()
    assert ask(opened).totals == before == {"count": 24}
    assert opened._rows("SELECT sum(records) FROM rolled") == [(24,)]
    assert opened._rows(f"SELECT name FROM system.tables WHERE startsWith(name, '{STAGED}')") == []


def test_an_answer_that_is_lost_does_not_double_sums(opened):
    opened.take([batch([record(at) for at in range(5)])], Cursor(0, 1, 1))
    request, lost, now = opened._server._request, [], NOON.timestamp() + 2 * DAY_S

    def loses(settings, body, *args):
        answer = request(settings, body, *args)
        if body.startswith(b"INSERT INTO") and b"toHour(time) = 12)" in body and not lost:
            lost.append(body)
            raise AnalyticsError("no answer", "unreachable")
        return answer

    opened._server._request = loses
    with pytest.raises(AnalyticsError, match="no answer"):
        tidy_all(opened, now)
    assert tidy_all(opened, now) == (5, 0)
    assert lost and ask(opened).totals == {"count": 5}
    assert opened._rows("SELECT sum(records) FROM rolled") == [(5,)]


def test_what_was_left_of_a_roll_up_is_dropped(opened, monkeypatch):
    opened.take([batch([record()])], Cursor(0, 1, 1))
    opened.tidy(NOON.timestamp() + 2 * DAY_S)
    named = f"SELECT count() FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '{STAGED}')"
    assert opened._one(named) == 1
    opened._drop_staged()
    assert opened._one(named) == 1, "another node may be at it"
    opened.close()
    assert opened._one(named) == 0


def test_an_empty_store(opened):
    assert opened.extent() == (None, None, None)
    assert opened.tidy(NOON.timestamp()) == (0, 0, 0, False)
    found = ask(opened)
    assert (found.rows, found.as_of, found.totals) == ([], 0, {"count": 0})


# --- faults


def test_faults_are_told_apart(opened, url, tmp_path):
    with pytest.raises(QuestionFault):
        ask(opened, metrics=("nothing",))
    with pytest.raises(AnalyticsError, match="Authentication failed"):
        store_of(url, tmp_path / "x", "t", password="wrong").open()
    with pytest.raises(AnalyticsError, match="refused") as raised:
        store_of("http://127.0.0.1:1", tmp_path / "y", "t").open()
    assert raised.value.reason == "unreachable"
