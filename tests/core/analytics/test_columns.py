from pathlib import Path

import pytest

from spectrum.core.analytics.columns import CHANGES, EVENTS, HEALTH, MINUTES, PACKETS, TABLES, ColumnKind, Role
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.records.events import SessionEvent


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_names_are_unique(table):
    for names in (
        [column.name for column in table.columns],
        [column.graphql for column in table.columns],
        [column.rest for column in table.columns if column.rest],
    ):
        assert len(names) == len(set(names))
    assert table.by_name[table.time].role is Role.TIME
    assert all(column.label and column.meaning for column in table.columns)


@pytest.mark.parametrize(("table", "record"), [(EVENTS, SessionEvent), (HEALTH, HealthEvent)], ids=["events", "health"])
def test_columns_come_from_fields_of_records(table, record):
    assert {column.field for column in table.columns} - {""} <= set(record.__struct_fields__)


def test_minutes_have_what_is_added_of_events():
    both = {column.name for column in EVENTS.columns if column.in_minutes and column.role is not Role.DURATION}
    assert both < set(MINUTES.by_name)
    for column in EVENTS.having(Role.DURATION):
        assert MINUTES.by_name[f"{column.name}_histogram"].kind is ColumnKind.HISTOGRAM
    assert [column.name for column in MINUTES.having(Role.WEIGHT)] == ["weight"]


def test_both_dialects_have_types_of_their_own():
    assert (ColumnKind.OPTIONAL.duckdb, ColumnKind.OPTIONAL.clickhouse) == ("UBIGINT", "Nullable(UInt64)")
    assert len(ColumnKind) == 11, "no kind is another one's alias"
    assert (EVENTS.by_name["client_ip"].duckdb, EVENTS.by_name["client_ip"].clickhouse) == ("VARCHAR", "String")
    assert EVENTS.by_name["tls_version"].graphql == "tlsVersion"


DOCUMENT = Path(__file__).parents[3] / "docs/analytics.md"
KINDS = {
    ColumnKind.TIME: "time",
    ColumnKind.BOOLEAN: "boolean",
    ColumnKind.TEXT: "text",
    ColumnKind.CATEGORY: "text",
    ColumnKind.BYTES: "bytes",
    ColumnKind.OPTIONAL: "number, or none",
}


def lines_of(table):
    """The rows of the documentation's table of columns."""
    for column in table.columns:
        others = [name for name in dict.fromkeys((column.rest, column.graphql)) if name not in ("", column.name)]
        names = ", ".join(f"`{name}`" for name in (column.name, *others))
        kind = KINDS.get(column.kind, "number")
        rolled_up = ("yes" if column.in_minutes else "") if table is EVENTS else "-"
        yield f"| {names} | {table.name} | {kind} | {rolled_up} | {column.meaning} |"


@pytest.mark.parametrize("table", [EVENTS, HEALTH, CHANGES, PACKETS], ids=lambda table: table.name)
def test_the_documentation_has_all_columns(table):
    text = DOCUMENT.read_text()
    assert "\n".join(lines_of(table)) in text
