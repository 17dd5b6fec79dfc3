"""Against DuckDB in this process; tests/analytics/test_clickhouse.py has the same questions for both."""

import numpy as np
import pytest

from spectrum.core.analytics.answering import answer
from spectrum.core.analytics.columns import EVENTS, HEALTH
from spectrum.core.analytics.dialects import DuckDb
from spectrum.core.analytics.histogram import RELATIVE_ERROR
from spectrum.core.analytics.plan import DataRange
from spectrum.core.analytics.question import Compare, Question, Sorting, Visible
from tests.core.analytics.rows import BEGIN, DAYS, EVERYTHING, events, tables

ALL = ("count", "sessions", "refused", "bytesIngress", "bytes", "clients", "connections", "durationMedian")


@pytest.fixture(scope="module")
def store():
    with tables(events()) as connection:
        yield connection


@pytest.fixture
def ask(store):
    def asked(reach=EVERYTHING, **own):
        fields = {
            "table": "events",
            "metrics": ("count",),
            "dimensions": ("app",),
            "since": BEGIN,
            "until": BEGIN + 3600,
        }
        question = Question(**(fields | own))
        return answer(question, DuckDb(), reach, lambda one: store.execute(one.text, one.parameters).fetchall())

    return asked


def of(rows, since=BEGIN, until=BEGIN + 3600, **values):
    return [
        row
        for row in rows
        if since <= row["time"] < until and all(row[name] == value for name, value in values.items())
    ]


def test_groups_are_sums_of_their_rows(ask):
    found = ask(metrics=ALL, dimensions=("app", "event"))
    rows = of(events())
    assert len(found.rows) == found.groups == len({(row["app"], row["event"]) for row in rows})
    assert found.rows_read == len(rows)
    for app, event, *values in found.rows:
        own = of(rows, app=app, event=event)
        weights = [row["weight"] for row in own]
        durations = [row["duration"] for row in own if row["duration"] is not None]
        assert values == [
            sum(weights),
            0 if event == "connect" else sum(weights),
            sum(row["weight"] for row in own if row["outcome"] == "refused"),
            sum(row["client_bytes"] for row in own),
            sum(row["client_bytes"] + row["origin_bytes"] for row in own),
            max(len({row["client_ip"] for row in own} - {""}), max(row["clients"] for row in own)),
            len({row["session"] for row in own} - {""}),
            pytest.approx(np.percentile(durations, 50) / 1000) if durations else None,
        ]
    assert found.rows == sorted(found.rows, key=lambda row: (-row[2], row[0], row[1]))
    assert found.totals["bytes"] == sum(row["client_bytes"] + row["origin_bytes"] for row in rows)
    assert found.minima["count"] == min(row[2] for row in found.rows)
    assert found.maxima["count"] == max(row[2] for row in found.rows)


def test_percentiles_are_those_of_numpy(ask):
    names = ("durationMedian", "duration90th", "duration99th", "durationMin", "durationMax", "durationAvg")
    found = ask(metrics=names, dimensions=())
    durations = np.array([row["duration"] for row in of(events()) if row["duration"] is not None]) / 1000
    exact = [*np.percentile(durations, [50, 90, 99]), durations.min(), durations.max(), durations.mean()]
    assert found.rows == [pytest.approx(tuple(exact))]
    assert found.totals == pytest.approx(dict(zip(names, exact, strict=True)))


def test_percentiles_of_roll_ups_are_near_those_of_numpy(ask):
    names = ("durationMedian", "duration90th", "duration99th", "durationMin", "durationMax", "durationAvg")
    until = BEGIN + DAYS * 86400
    found = ask(metrics=names, until=until, order=(Sorting("duration90th", True),))
    for app, *values in found.rows:
        own = of(events(), until=until, app=app)
        durations = np.array([row["duration"] for row in own if row["duration"] is not None]) / 1000
        low, high = (np.percentile(durations, [50, 90, 99], method=one) for one in ("lower", "higher"))
        exact = np.clip(values[:3], low, high)
        assert values[:3] == pytest.approx(exact, rel=RELATIVE_ERROR)
        assert values[3:5] == pytest.approx([durations.min(), durations.max()], rel=RELATIVE_ERROR)
        assert values[5] == pytest.approx(durations.mean())
    nineties = [row[2] for row in found.rows]
    assert nineties == sorted(nineties, reverse=True)
    assert found.maxima["duration90th"] == nineties[0] and found.minima["duration90th"] == nineties[-1]
    assert nineties[-1] <= found.totals["duration90th"] <= nineties[0]


def test_roll_ups_answer_as_events_do(ask):
    asked = {
        "metrics": ("count", "bytes", "refused", "durationAvg"),
        "dimensions": ("app", "reason"),
        "since": BEGIN + 7,
    }
    asked["until"] = BEGIN + DAYS * 86400 - 7
    of_minutes, of_events = ask(**asked), ask(reach=DataRange(), **asked)
    assert of_minutes.rows == [pytest.approx(row) for row in of_events.rows]
    assert of_minutes.totals == pytest.approx(of_events.totals)
    by_day = ask(bucket=86400, limit=2, others=True, **asked)
    assert sum(row[3] for row in by_day.rows) == of_events.totals["count"]


def test_what_is_beyond_the_limit_is_one_more_group(ask):
    every = ask(dimensions=("client_ip",))
    found = ask(dimensions=("client_ip",), limit=2, others=True)
    assert found.rows == [*every.rows[:2], (None, sum(row[1] for row in every.rows[2:]))]
    assert found.groups == len(every.rows)
    assert found.totals == every.totals
    within = ask(dimensions=("client_ip",), limit=1000, others=True)
    assert within.rows == every.rows


def test_buckets_are_of_the_first_groups(ask):
    found = ask(dimensions=("app",), bucket=600, limit=2, others=True)
    top = [row[0] for row in ask(limit=2).rows]
    groups = list(dict.fromkeys(row[1] for row in found.rows))
    assert groups == [*top, None]
    for time, app, count in found.rows:
        rows = [row for row in of(events(), time, time + 600) if (row["app"] if row["app"] in top else None) == app]
        assert count == sum(row["weight"] for row in rows)
    assert sum(row[2] for row in found.rows) == found.totals["count"]
    alone = ask(dimensions=("app",), bucket=600, limit=2)
    assert alone.rows == [row for row in found.rows if row[1] is not None]


@pytest.mark.parametrize("days", [0, DAYS])
def test_sums_by_time_alone_add_up_to_the_sum_without_buckets(ask, days):
    asked = {"metrics": ("count", "bytes"), "dimensions": (), **({"until": BEGIN + days * 86400} if days else {})}
    found, whole = ask(bucket=600, **asked), ask(**asked)
    for time, count, _ in found.rows:
        assert count == sum(row["weight"] for row in of(events(), time, time + 600))
    assert [row[0] for row in found.rows] == sorted({row[0] for row in found.rows})
    assert (found.totals, found.minima, found.maxima) == (whole.totals, whole.minima, whole.maxima)
    assert (found.groups, found.rows_read, found.as_of) == (1, whole.rows_read, whole.as_of)
    nothing = ask(**asked | {"bucket": 600, "since": BEGIN - 100, "until": BEGIN - 50})
    assert (nothing.rows, nothing.totals, nothing.rows_read) == ([], {"count": 0, "bytes": 0}, 0)


def test_percentiles_of_roll_ups_by_time(ask):
    until = BEGIN + DAYS * 86400
    found = ask(metrics=("durationMedian",), dimensions=("event",), bucket=86400, limit=1, others=True, until=until)
    (event,) = {row[1] for row in found.rows} - {None}
    for time, name, median in found.rows:
        own = [
            row for row in of(events(), time, time + 86400) if name == (row["event"] if row["event"] == event else None)
        ]
        durations = [row["duration"] / 1000 for row in own if row["duration"] is not None]
        near = [np.percentile(durations, 50, method=one) for one in ("lower", "higher")] if durations else []
        assert median is None if not durations else median == pytest.approx(np.clip(median, *near), rel=RELATIVE_ERROR)


def test_given_groups_are_the_only_ones(ask):
    every = {row[0]: row[1] for row in ask().rows}
    assert ask(groups=(("a",), ("zz",))).rows == [("a", every["a"])]
    assert ask(groups=()).rows == []
    assert ask(groups=()).totals == {"count": 0}


def test_nothing_is_zero(ask):
    found = ask(since=BEGIN - 100, until=BEGIN - 50, metrics=("count", "durationMedian"))
    assert (found.rows, found.totals, found.groups) == ([], {"count": 0, "durationMedian": 0}, 0)
    assert found.minima == found.maxima == {"count": 0, "durationMedian": 0}
    (row,) = ask(since=BEGIN - 100, until=BEGIN - 50, metrics=("count", "durationMedian"), dimensions=()).rows
    assert row == (0, None)


def test_nobody_sees_what_is_anothers(ask):
    visible = Visible({"app": {"a": 0.0, "b": BEGIN + 1800.0}})
    found = dict(ask(visible=visible).rows)
    assert found == {
        "a": sum(row["weight"] for row in of(events(), app="a")),
        "b": sum(row["weight"] for row in of(events(), since=BEGIN + 1800, app="b")),
    }
    assert ask(visible=visible, where=Compare("app", "=", ("c",))).totals == {"count": 0}
    assert ask(visible=visible, where=Compare("app", "!=", ("a",))).totals == {"count": found["b"]}
    assert ask(visible=visible, groups=(("c",),)).rows == []


def test_rows_as_they_are(ask):
    found = ask(metrics=(), dimensions=("*",), limit=3, where=Compare("app", "=", ("a",)))
    newest = sorted(of(events(), app="a"), key=lambda row: -row["time"])[:3]
    assert found.columns == tuple(column.name for column in EVENTS.columns)
    assert [dict(zip(found.columns, row, strict=True)) for row in found.rows] == newest
    oldest = ask(metrics=(), dimensions=("*",), limit=1, order=(Sorting("time"),))
    assert oldest.rows[0][2] == of(events())[0]["time"]


def test_truth_is_told_as_such(store, ask):
    store.execute(
        "INSERT INTO health (source, sequence, time, healthy, pool) VALUES ('n', 1, make_timestamp(?), true, 'p')",
        [BEGIN * 1_000_000],
    )
    found = ask(table="health", metrics=(), dimensions=("*",))
    assert found.rows[0][[column.name for column in HEALTH.columns].index("healthy")] is True
    assert ask(table="health", dimensions=("pool",), where=Compare("healthy", "=", (1,))).rows == [("p", 1)]
    assert ask(table="health", dimensions=("pool",), where=Compare("healthy", "=", (0,))).rows == []
