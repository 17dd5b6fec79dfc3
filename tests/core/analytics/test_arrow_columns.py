import gc

import duckdb
import pytest

from spectrum.core.analytics.arrow_columns import KINDS, ArrowColumns
from spectrum.core.analytics.record_columns import RecordColumns
from tests.analytics.records import batch, record


def number_of(address):
    return len(address)


@pytest.fixture
def reader():
    with duckdb.connect() as connection:
        yield connection


def filled(records):
    columns = RecordColumns()
    lines = batch(records)
    assert columns.add(lines.source, 1, lines.lines, 0, number_of) == []
    return columns


def test_names_and_kinds(reader):
    reader.register("columns", ArrowColumns([(f"c_{kind}", kind) for kind in KINDS]))
    found = reader.execute("DESCRIBE columns").fetchall()
    assert [name for name, *_ in found] == [f"c_{kind}" for kind in KINDS]
    assert [kind for _, kind, *_ in found] == [
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "TIMESTAMP",
        "UBIGINT",
        "VARCHAR",
        "VARCHAR",
    ]
    assert reader.execute("FROM columns").fetchall() == []


def test_an_unknown_kind():
    with pytest.raises(ValueError, match=r"not in tuple|index"):
        ArrowColumns([("a", "u7")])


def test_more_rows_than_there_was_room_for(reader):
    columns = filled([record(SessionId=f"{number:x}", Application=f"app{number % 700}") for number in range(5000)])
    reader.register("columns", columns)
    assert len(columns) == 5000
    assert reader.execute("SELECT count(*), count(DISTINCT session), count(DISTINCT app) FROM columns").fetchall() == [
        (5000, 5000, 700)
    ]
    assert reader.execute("SELECT app FROM columns OFFSET 4999").fetchall() == [("app99",)]


def test_it_is_read_again_after_other_rows(reader):
    columns = filled([record(Application="a"), record(Application="b")])
    reader.register("columns", columns)
    assert reader.execute("SELECT app FROM columns").fetchall() == [("a",), ("b",)]
    columns.clear()
    assert reader.execute("SELECT app FROM columns").fetchall() == []
    columns.add("n/0/1", 7, batch([record(Application="c")]).lines, 0, number_of)
    assert reader.execute("SELECT app, sequence FROM columns").fetchall() == [("c", 7)]


def test_null(reader):
    reader.register("columns", filled([record(OriginTcpRtt=rtt) for rtt in (0, 5000, 0, 7000)] * 5))
    assert reader.execute("SELECT origin_rtt FROM columns").fetchall() == [(None,), (5,), (None,), (7,)] * 5


def test_a_stream_that_nobody_reads():
    capsule = filled([record()]).__arrow_c_stream__()
    gc.collect()
    del capsule


def test_columns_once():
    columns = ArrowColumns([("a", "u8")])
    with pytest.raises(RuntimeError):
        columns.__init__([("b", "u8")])
