"""How rows of `events` become rows of `minutes`: as SQL for DuckDB.

Questions always add up rows of `minutes`, so a minute may be rolled up in several portions, and events that are not
rolled up yet are shown as rows of one event each.
"""

from collections.abc import Callable

from spectrum.core.analytics.columns import EVENTS, MINUTES, Column, Role, Table
from spectrum.core.analytics.histogram import duckdb_bucket

_MINUTE = "date_trunc('minute', time)"
_DURATIONS = tuple(column.name for column in EVENTS.having(Role.DURATION))


def rolled_up(events: str) -> str:
    """Return the query for the rows of `minutes` of a relation of events."""
    dimensions = [column.name for column in MINUTES.having(Role.DIMENSION)]
    values = _values(MINUTES, _sum, lambda name: f"list({duckdb_bucket(name)}) FILTER ({name} IS NOT NULL)")
    grouped = f"SELECT {values} FROM {events} GROUP BY {', '.join((_MINUTE, *dimensions))}"
    # DuckDB counts a list in a third of the time that it takes to count values while it groups.
    counted = ", ".join(
        f"list_aggregate({column.name}, 'histogram') AS {column.name}" if column.role is Role.HISTOGRAM else column.name
        for column in MINUTES.columns
    )
    return f"SELECT {counted} FROM ({grouped})"


def as_minutes(events: str, minutes: Table = MINUTES) -> str:
    """Return the query that converts each event to a row of `minutes`, or of some of its columns."""
    one = "CASE WHEN {0} IS NOT NULL THEN MAP {{{1}: CAST(1 AS UBIGINT)}} END"
    return f"SELECT {_values(minutes, _own, lambda name: one.format(name, duckdb_bucket(name)))} FROM {events}"


def _values(minutes: Table, added: Callable[[str], str], histogram: Callable[[str], str]) -> str:
    return ", ".join(f"{_value(column, added, histogram)} AS {column.name}" for column in minutes.columns)


def _value(column: Column, added: Callable[[str], str], histogram: Callable[[str], str]) -> str:
    if column.role is Role.TIME:
        return _MINUTE
    if column.role is Role.DIMENSION:
        return column.name
    of = next((name for name in _DURATIONS if column.name.startswith(f"{name}_")), "")
    match column.name.removeprefix(f"{of}_"):
        case "histogram":
            return histogram(of)
        case "count" if of:
            return added(f"CASE WHEN {of} IS NOT NULL THEN 1 ELSE 0 END")
        case "sum" if of:
            return added(f"coalesce({of}, 0)")
        case "records":
            return added("1")
    return added(column.name)


def _sum(value: str) -> str:
    return f"CAST(sum({value}) AS UBIGINT)"


def _own(value: str) -> str:
    return f"CAST({value} AS UBIGINT)"
