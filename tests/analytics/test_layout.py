import duckdb
import pytest

from spectrum.analytics.layout import OF_HISTORY, OF_VOLUME, catalog, definition, selection
from spectrum.core.analytics.columns import HEALTH, MINUTES


@pytest.fixture
def database():
    with duckdb.connect(":memory:") as opened:
        yield opened


@pytest.mark.parametrize("table", {table.name: table for table in (*OF_VOLUME, *OF_HISTORY)}.values())
def test_each_table_can_be_created_and_read(database, table):
    database.execute(f"CREATE TABLE {table.name} ({definition(table)})")
    found = database.execute(f"SELECT {selection(table, table.by_name)} FROM {table.name}")
    assert [column[0] for column in found.description] == [column.name for column in table.columns]


@pytest.mark.parametrize(
    ("table", "empty"),
    [(HEALTH, {"pool": "", "healthy": False}), (MINUTES, {"duration_histogram": None, "weight": 0})],
)
def test_columns_that_a_file_does_not_have_are_empty(database, table, empty):
    database.execute("CREATE TABLE old (time TIMESTAMP, event VARCHAR)")
    database.execute("INSERT INTO old VALUES ('2026-11-26', 'x')")
    found = database.execute(f"SELECT {selection(table, ['time', 'event'])} FROM old").fetchone()
    row = dict(zip((one.name for one in table.columns), found, strict=True))
    assert {name: row[name] for name in empty} == empty


def test_volumes_have_names_by_their_numbers():
    assert catalog(7) == "v7"
