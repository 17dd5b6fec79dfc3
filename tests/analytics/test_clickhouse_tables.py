"""That the engine takes them, and what they answer, is in test_clickhouse.py."""

from spectrum.analytics.clickhouse_tables import KEPT, new_columns, roll_up, tables, views
from spectrum.core.analytics.columns import EVENTS, MINUTES


def test_a_record_is_known_by_time_source_and_number():
    made = list(tables("d"))
    assert made[0] == "CREATE DATABASE IF NOT EXISTS d"
    (events,) = [one for one in made if "d.kept_events (" in one]
    assert events.endswith(
        "ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(time) ORDER BY (time, source, sequence)"
    )
    assert all(f"{column.name} {column.clickhouse.strip()}" in events for column in EVENTS.columns)


def test_columns_that_are_missing_are_added():
    everything = {(name, column.name) for name in ("kept_events",) for column in EVENTS.columns}
    missing = list(new_columns("d", everything - {("kept_events", "outcome")}))
    assert "ALTER TABLE d.kept_events ADD COLUMN outcome LowCardinality(String)" in missing
    assert not any("kept_events" in one for one in new_columns("d", everything))


def test_tables_are_asked_by_their_names():
    made = list(views("d"))
    for name, kept in KEPT.items():
        assert f"CREATE OR REPLACE VIEW d.{name} AS SELECT * FROM d.{kept} FINAL" in made
    assert all(column.name in made[-1] for column in MINUTES.columns)


def test_a_day_is_rolled_up_in_one_step():
    begin, *hours, end = roll_up("d", "20261126", "staged_1")
    assert begin == "CREATE TABLE d.staged_1 AS d.rolled"
    assert [f"toHour(time) = {hour})" in one for hour, one in enumerate(hours)] == [True] * 24
    assert end == "ALTER TABLE d.rolled REPLACE PARTITION 20261126 FROM d.staged_1"
