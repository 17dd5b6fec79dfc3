import pytest

from spectrum.core.analytics.dialects import ClickHouse, DuckDb
from spectrum.core.analytics.plan import DataRange, make_plan
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Not, Question, Sorting, Visible
from spectrum.core.analytics.sql import detail_statement, groups_statement, histogram_statement, rows_statement

EVIL = "x'\"; DROP TABLE events --"
DAY = 86400


def plan(**own):
    asked = {"table": "events", "metrics": ("count",), "dimensions": ("app",), "since": 0, "until": 3600}
    return make_plan(Question(**(asked | own)), DataRange(minutes_until=1e9))


def test_the_first_groups_come_with_all_together():
    statement = groups_statement(plan(limit=5), DuckDb(), 5)
    rows = "FROM events WHERE time >= make_timestamp(${}::BIGINT) AND time < make_timestamp(${}::BIGINT)"
    assert statement.text == (
        "SELECT * FROM (WITH grouped AS MATERIALIZED"
        f" (SELECT app AS k0, coalesce(sum(weight), 0) AS m0 {rows.format('p0', 'p1')} GROUP BY app)"
        f" SELECT NULL AS k0, 1 AS g, (SELECT count(*) {rows.format('p2', 'p3')}) AS n,"
        " coalesce(sum(m0), 0) AS m0, min(m0) AS lo0, max(m0) AS hi0, count(*) AS groups FROM grouped"
        " UNION ALL (SELECT k0, 0, 0, m0, NULL, NULL, NULL FROM grouped"
        " ORDER BY m0 DESC NULLS LAST, k0 ASC NULLS LAST LIMIT 5))"
        " ORDER BY g DESC, m0 DESC NULLS LAST, k0 ASC NULLS LAST"
    )
    assert statement.parameters == {"p0": 0, "p1": 3_600_000_000, "p2": 0, "p3": 3_600_000_000}


def test_what_is_no_sum_is_computed_in_one_reading():
    for dialect, metrics in ((ClickHouse(), ("count",)), (DuckDb(), ("count", "durationMedian"))):
        text = groups_statement(plan(metrics=metrics), dialect, 5).text
        assert "GROUP BY GROUPING SETS ((app), ())" in text
        assert text.endswith(" AS grouped ORDER BY g DESC, m0 DESC NULLS LAST, k0 ASC NULLS LAST LIMIT 6")


@pytest.mark.parametrize("dialect", [DuckDb(), DuckDb(has_client_numbers=True), DuckDb(True, True), ClickHouse()])
def test_nothing_of_a_question_is_in_the_text(dialect):
    where = AllOf(
        (
            AnyOf((Compare("app", "=", (EVIL,)), Compare("app", "!=", (EVIL, "b")))),
            Not(Compare("app", "like", (EVIL,))),
            Compare("app", ">", (EVIL,)),
        )
    )
    visible = Visible({"app": {EVIL: 0.0, EVIL + "2": 100.0}})
    asked = plan(where=where, visible=visible, bucket=60, others=True)
    rolled = plan(where=where, visible=visible, until=DAY * 2, metrics=("durationMedian", "durationAvg"), others=True)
    groups = [(EVIL,)]
    statements = [
        groups_statement(asked, dialect, 5),
        detail_statement(asked, dialect, groups),
        groups_statement(rolled, dialect, 5),
        groups_statement(plan(where=where, visible=visible, dimensions=("client_ip",)), dialect, 5),
        histogram_statement(rolled, dialect, "duration", groups, False),
        histogram_statement(rolled, dialect, "duration", groups, True),
        rows_statement(plan(metrics=(), dimensions=("*",), where=where, visible=visible), dialect),
    ]
    for statement in statements:
        assert "DROP" not in statement.text
        assert EVIL in str(list(statement.parameters.values())).replace("\\'", "'")


def test_who_may_see_nothing_sees_nothing():
    for visible in (Visible(), Visible({"pool": {"a": 0.0}})):
        assert " AND 1 = 0" in groups_statement(plan(visible=visible), DuckDb(), 5).text
    everything = Visible({"app": {"a": 0.0}, "pool": {"a": 0.0}})
    changes = plan(table="changes", dimensions=("author",), visible=everything)
    assert " AND 1 = 0" in groups_statement(changes, DuckDb(), 5).text


def test_names_count_since_they_are_somebodys():
    statement = groups_statement(plan(visible=Visible({"app": {"old": 0.0, "new": 1800.0}})), DuckDb(), 5)
    assert "(app) IN (SELECT unnest(CAST($p2 AS VARCHAR[])))" in statement.text
    assert "(app = $p4 AND time >= make_timestamp($p3::BIGINT))" in statement.text
    assert (statement.parameters["p2"], statement.parameters["p3"]) == (["old"], 1_800_000_000)


def test_rows_as_they_are_come_the_newest_first():
    text = rows_statement(plan(metrics=(), dimensions=("*",), limit=7), DuckDb()).text
    assert text.endswith("ORDER BY time DESC, source DESC, sequence DESC LIMIT 7")


def test_clients_are_grouped_by_their_numbers_where_there_are_any():
    asked = plan(dimensions=("client_prefix", "app"))
    text = groups_statement(asked, DuckDb(has_client_numbers=True), 5).text
    assert "client > 0 GROUP BY client, app) AS numbers JOIN clients" in text
    assert "client = 0 GROUP BY client_prefix, app) AS added" in text
    asked_texts = plan(dimensions=("client_ip",), order=(Sorting("count", False),))
    text = groups_statement(asked_texts, DuckDb(has_client_numbers=True, has_one_number_each=True), 5).text
    assert "LEFT JOIN clients ON grouped.client = clients.client WHERE m0 <= (SELECT max(m0)" in text
    for dialect in (DuckDb(), ClickHouse()):
        assert " client " not in groups_statement(asked, dialect, 5).text
    by_app = plan(metrics=("clients",))
    assert "FROM events" in groups_statement(by_app, DuckDb(has_client_numbers=True), 5).text
