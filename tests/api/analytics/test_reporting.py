"""The questions of a report, asked of rows in DuckDB."""

import sys

import pytest

from spectrum.analytics.cancellation import Cancellation
from spectrum.api.analytics.reporting import ReportSubject, facts_of, load_printer
from spectrum.api.envelope import ApiError
from spectrum.core.analytics.question import Visible
from spectrum.core.analytics.report import AttackSums
from tests.api.analytics.kept import KeptRows
from tests.core.analytics.rows import BEGIN, events, tables

DAY_S = 86400
SUBJECT = ReportSubject("edge", {"db": ["a"]}, Visible({"app": {"a": 0.0, "b": 0.0}}))


@pytest.fixture(scope="module")
def store():
    with tables(events()) as connection:
        yield KeptRows(connection)


def asking(store, refuses=()):
    async def ask(question):
        if refuses and set(refuses) & {*question.metrics, *question.dimensions}:
            raise ApiError(503, 1, "not now")
        return store.ask(question, 10.0, Cancellation())

    return ask


async def test_what_was_carried_in_a_day_and_the_day_before(store):
    facts = await facts_of(asking(store), SUBJECT, BEGIN + DAY_S, BEGIN + 2 * DAY_S, lambda: 7.0)
    ours = [one for one in events() if one["app"] in "ab"]
    last = [one for one in ours if one["time"] >= BEGIN + DAY_S]
    before = [one for one in ours if one["time"] < BEGIN + DAY_S]
    assert (facts.node, facts.made_at, facts.pools) == ("edge", 7.0, {"db": ["a"]})
    for volume, rows in ((facts.total, last), (facts.before, before)):
        assert volume.carried == sum(one["client_bytes"] + one["origin_bytes"] for one in rows)
        assert volume.failed == sum(one["weight"] for one in rows if one["outcome"] == "failed")
        assert volume.clients >= len({one["client_ip"] for one in rows if one["client_ip"]})
    assert facts.days == facts.days_before == []
    assert {one.name for one in facts.apps} == set(facts.apps_before) == {"a", "b"}
    assert sum(one.sessions for one in facts.refusals) == facts.total.refused
    assert sum(one.sessions for one in facts.failures) == facts.total.failed


async def test_a_longer_time_is_reported_by_day(store):
    facts = await facts_of(asking(store), SUBJECT, BEGIN, BEGIN + 2 * DAY_S)
    assert [one.start for one in facts.days] == [BEGIN - BEGIN % DAY_S + i * DAY_S for i in range(3)][: len(facts.days)]
    assert sum(one.carried for one in facts.days) == facts.total.carried


async def test_attacks_and_those_of_the_time_before():
    with tables(events()[:1]) as connection:
        for day, attack, app, vector, dropped, bits in (
            (1, "one", "a", "SYN flood", 5, 100),
            (1, "one", "a", "ACK flood", 7, 900),
            (1, "two", "a", "SYN flood", 1, 300),
            (1, "hidden", "c", "SYN flood", 1, 300),
            (0, "old", "a", "SYN flood", 2, 50),
        ):
            connection.execute(
                "INSERT INTO attacks BY NAME SELECT make_timestamp(CAST(? AS BIGINT)) AS time, ? AS attack, ? AS app,"
                " ? AS vector, ? AS dropped_packets, ? AS bits_per_second",
                [round((BEGIN + day * DAY_S + 60) * 1e6), attack, app, vector, dropped, bits],
            )
        facts = await facts_of(asking(KeptRows(connection)), SUBJECT, BEGIN + DAY_S, BEGIN + 2 * DAY_S)
    assert sorted(facts.attacks, key=lambda one: one.vector) == [
        AttackSums("a", "ACK flood", 1, 7, 900),
        AttackSums("a", "SYN flood", 2, 6, 300),
    ]
    assert facts.attacks_before == [AttackSums("a", "SYN flood", 1, 2, 50)]
    assert facts.all_attacks == AttackSums("", "", 2, 13, 900), "one of two kinds is one"
    assert facts.all_attacks_before == AttackSums("", "", 1, 2, 50)


async def test_what_single_records_say_is_left_out_where_they_are_not_kept(store):
    facts = await facts_of(asking(store, ("clients", "access_rule")), SUBJECT, BEGIN, BEGIN + 2 * DAY_S)
    assert facts.total.clients == 0
    assert {one.rule for one in facts.refusals} == {""}


def test_the_printer_may_be_missing(monkeypatch):
    load_printer()
    assert "spectrum.analytics.paper" in sys.modules
    monkeypatch.setitem(sys.modules, "spectrum.analytics.paper", None)
    load_printer()
