"""The tables of analytics in ClickHouse.

All but samples of packets are ReplacingMergeTree: rows with the same time, source and number are one record, of which
one remains. So a record may be sent twice, in any batches, at any distance: `insert_deduplication_token` detects only
an equal batch, among the last ones. Questions read them with FINAL, by views with the names of the tables.

For each past day `rolled` has the sums by minute, and `marks` how far it is complete; the view `minutes` adds newer
events as rows of one event each, as the embedded store does.
"""

from collections.abc import Collection, Iterator

from spectrum.core.analytics.columns import ATTACKS, CHANGES, EVENTS, HEALTH, MINUTES, PACKETS, TABLES, Column, Role
from spectrum.core.analytics.dialects import ClickHouse
from spectrum.core.analytics.histogram import clickhouse_bucket

# The table that records are inserted into; the view has the plain name.
KEPT = {table.name: f"kept_{table.name}" for table in (EVENTS, HEALTH, CHANGES, ATTACKS)}
ROLLED, MARKS = "rolled", "marks"
# Prefix of tables in which a node rolls up: several do it at the same time.
STAGED = "staged_"
ROLLED_UP, DROPPED = "rolled_up", "dropped"
# `at` is the time of an event: a name of what is selected would hide the column.
_MINUTE = "toStartOfMinute(at)"
_REPLACING, _PLAIN = "ReplacingMergeTree", "MergeTree"
_ORDERS = {_REPLACING: "time, source, sequence"}
_TABLES = {
    **{kept: (TABLES[name], _REPLACING) for name, kept in KEPT.items()},
    # Headers are kept as hex digits: rows are inserted as JSON.
    PACKETS.name: (PACKETS, _PLAIN),
    ROLLED: (MINUTES, _PLAIN),
}
_DURATIONS = tuple(column.name for column in EVENTS.having(Role.DURATION))


def tables(database: str) -> Iterator[str]:
    """Yield the statements that create missing tables; each may be repeated."""
    yield f"CREATE DATABASE IF NOT EXISTS {database}"
    for name, (table, engine) in _TABLES.items():
        columns = ", ".join(map(_column, table.columns))
        yield (
            f"CREATE TABLE IF NOT EXISTS {database}.{name} ({columns})"
            f" ENGINE = {engine} PARTITION BY toYYYYMMDD({table.time}) ORDER BY ({_ORDERS.get(engine, 'time')})"
        )
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{MARKS} (name String, upto DateTime64(6, 'UTC'))"
        " ENGINE = ReplacingMergeTree ORDER BY (name, upto)"
    )


def new_columns(database: str, known: Collection[tuple[str, str]]) -> Iterator[str]:
    """Yield the statements that add missing columns to tables of an earlier version.

    Args:
        database: Their database.
        known: Existing names of table and column.
    """
    for name, (table, _) in _TABLES.items():
        added = [f"ADD COLUMN {_column(one)}" for one in table.columns if (name, one.name) not in known]
        if added:
            yield f"ALTER TABLE {database}.{name} {', '.join(added)}"


def views(database: str) -> Iterator[str]:
    """Yield the statements that create the views of the present tables."""
    for name, kept in KEPT.items():
        yield f"CREATE OR REPLACE VIEW {database}.{name} AS SELECT * FROM {database}.{kept} FINAL"
    columns = ", ".join(column.name for column in MINUTES.columns)
    mark = f"(SELECT max(upto) FROM {database}.{MARKS} WHERE name = '{ROLLED_UP}')"
    yield (
        f"CREATE OR REPLACE VIEW {database}.{MINUTES.name} AS"
        f" SELECT {columns} FROM {database}.{ROLLED} WHERE time < {mark}"
        f" UNION ALL SELECT {', '.join(_values(is_sum=False))} FROM"
        f" (SELECT *, time AS at FROM {database}.{KEPT[EVENTS.name]} FINAL WHERE time >= {mark}) AS newer"
    )


def _column(column: Column) -> str:
    return f"{column.name} {column.clickhouse.strip()}"


def roll_up(database: str, day: str, staged: str) -> Iterator[str]:
    """Yield the statements that roll a day up, `20261126`; it is invisible until `marks` has it.

    None of them may be executed twice: if it is not known whether one was, start again with another table.

    Args:
        database: The database of the tables.
        day: The day.
        staged: The name of a new table for this.
    """
    dimensions = [column.name for column in MINUTES.having(Role.DIMENSION)]
    yield f"CREATE TABLE {database}.{staged} AS {database}.{ROLLED}"
    for hour in range(24):  # incoming records wait for each of them
        which = f"toYYYYMMDD(time) = {day} AND toHour(time) = {hour}"
        yield (
            f"INSERT INTO {database}.{staged} SELECT {', '.join(_values(is_sum=True))}"
            f" FROM (SELECT *, time AS at FROM {database}.{KEPT[EVENTS.name]} FINAL WHERE {which}) AS day"
            f" GROUP BY {', '.join((_MINUTE, *dimensions))}"
        )
    # In one step, and idempotent.
    yield f"ALTER TABLE {database}.{ROLLED} REPLACE PARTITION {day} FROM {database}.{staged}"


def mark(database: str, name: str, upto_s: int) -> str:
    """Return the statement that records how far something is done."""
    return f"INSERT INTO {database}.{MARKS} SELECT '{name}', fromUnixTimestamp64Micro({upto_s * 1_000_000}, 'UTC')"


def _values(is_sum: bool) -> Iterator[str]:
    for column in MINUTES.columns:
        alias = "" if column.role is Role.DIMENSION else f" AS {column.name}"
        yield _value(column, is_sum) + alias


def _value(column: Column, is_sum: bool) -> str:
    if column.role is Role.TIME:
        return f"toDateTime64({_MINUTE}, 6, 'UTC')"
    if column.role is Role.DIMENSION:
        return column.name
    of = next((name for name in _DURATIONS if column.name.startswith(f"{name}_")), "")
    match column.name.removeprefix(f"{of}_"):
        case "histogram" if is_sum:
            bucket = clickhouse_bucket(f"assumeNotNull({of})")
            return f"sumMapIf(map({bucket}, toUInt64(1)), isNotNull({of}))"
        case "histogram":
            return ClickHouse().histogram_of(of)
        case "count" if of:
            value = f"toUInt64(isNotNull({of}))"
        case "sum" if of:
            value = f"toUInt64(ifNull({of}, 0))"
        case "records":
            value = "toUInt64(1)"
        case _:
            value = f"toUInt64({column.name})"
    return f"sum({value})" if is_sum else value
