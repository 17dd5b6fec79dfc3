"""What a question sees: the tables as of one moment, over all files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from spectrum.analytics.database import Reader
from spectrum.analytics.layout import DROPPED, HISTORY, OF_HISTORY, OF_VOLUME, catalog, selection
from spectrum.core.analytics.client_numbers import CLIENTS, NUMBER, NUMBERED_EVENTS
from spectrum.core.analytics.columns import EVENTS, MINUTES, Role, Table
from spectrum.core.analytics.dialects import Statement
from spectrum.core.analytics.rollups import as_minutes

_TABLES = {table.name: table for table in (*OF_VOLUME, MINUTES, CLIENTS)}
# Tables of which the history has a part.
_KEPT = frozenset(table.name for table in OF_HISTORY)
_WORD = re.compile(r"\w+")


class OpenVolumes(NamedTuple):
    """Volumes that are read.

    Attributes:
        tables: By number, the columns of each table: files of an earlier version have fewer.
        firsts: Of those that have numbers of clients, the first one: with the same, a newer volume has the older one's,
            too.
    """

    tables: Mapping[int, Mapping[str, frozenset[str]]]
    firsts: Mapping[int, int]


class StoredTables:
    """Runs statements of the tables: the history, and the rows of each volume that are not in it.

    Args:
        reader: Its connection, in a transaction.
        volumes: The volumes.

    Attributes:
        dropped_us: The newest event that was dropped, in microseconds since 1970; 0 if none was.

    Raises:
        duckdb.Error: If the history cannot be read.
    """

    def __init__(self, reader: Reader, volumes: OpenVolumes) -> None:
        self._reader = reader
        self._volumes = volumes
        rows = reader.execute(f"FROM {HISTORY}.marks")
        self._marks = {(volume, name): upto for volume, name, upto in rows}
        self.dropped_us = max((int(upto) for _, name, upto in rows if name == DROPPED), default=0)

    def ask(self, statement: Statement) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that names each column which it reads.

        Raises:
            duckdb.Error: If it fails.
        """
        text = statement.text
        return self._reader.execute(self._defined(_named_in(text, *_TABLES.values())) + text, statement.parameters)

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        """Return the rows of any query.

        Raises:
            duckdb.Error: If it fails.
        """
        words = _WORD.findall(text)
        return self._reader.execute(self._defined([_TABLES[name] for name in _TABLES if name in words]) + text)

    def stop(self) -> None:
        """End the question; any thread may call it."""
        self._reader.stop()

    def limit_places(self, bits: int) -> None:
        """Set up to which range of a number, as a power of two, groups are places of a table and not hashed."""
        self._reader.execute(f"SET perfect_ht_threshold = {bits}")

    @property
    def has_one_number_each(self) -> bool:
        """Whether each address has one number, or none, in all rows: within one series of numbers."""
        there, firsts = self._volumes
        series = {firsts.get(number, -number) for number in there}
        return len(series) == 1 and all(NUMBER.name in tables[EVENTS.name] for tables in there.values())

    def newest(self) -> float:
        """Return the time of the newest event, in seconds since 1970; 0 without any."""
        names = [f"{catalog(number)}.{EVENTS.name}" for number in self._volumes.tables]
        times = " UNION ALL ".join(f"SELECT time FROM {name}" for name in names)
        ((newest,),) = self._reader.execute(f"SELECT coalesce(epoch(max(time)), 0) FROM ({times})")
        return float(newest)

    def _defined(self, tables: Sequence[Table]) -> str:
        """Return the beginning of a statement that reads tables, or some columns of them."""
        # Not views: these would be planned twice, and a plan takes time for each column.
        made = [f"{table.name} AS NOT MATERIALIZED ({_signed(table, self._query(table))})" for table in tables]
        return f"WITH {', '.join(made)} " if made else ""

    def _query(self, table: Table) -> str:
        parts = []
        if table.name in _KEPT:
            parts.append(f"SELECT {selection(table, table.by_name)} FROM {HISTORY}.{table.name}")
        for number in self._holders(table):
            if table.name == MINUTES.name:
                (events,) = _named_in(as_minutes(EVENTS.name, table), NUMBERED_EVENTS)
                parts.append(as_minutes(f"({self._rows(number, events, True)})", table))
            else:
                parts.append(self._rows(number, table, table.name in _KEPT))
        return " UNION ALL ".join(parts)

    def _holders(self, table: Table) -> Iterable[int]:
        """Return the volumes that have rows of a table."""
        if table.name != CLIENTS.name:
            return self._volumes.tables
        # Of volumes with the same first number the newest one has all.
        return {self._volumes.firsts.get(number, -number): number for number in sorted(self._volumes.tables)}.values()

    def _rows(self, number: int, table: Table, is_rest: bool) -> str:
        """Return the query for the rows of a volume, or for those that are not in the history."""
        there = self._volumes.tables[number][table.name]
        mark = f" WHERE rowid >= {self._marks.get((number, table.name), 0)}" if is_rest else ""
        return f"SELECT {selection(table, there)} FROM {catalog(number)}.{table.name}{mark}"


def _named_in(text: str, *tables: Table) -> list[Table]:
    """Return the tables that a statement names, with the columns that it names."""
    words = set(_WORD.findall(text))
    return [
        replace(table, columns=tuple(column for column in table.columns if column.name in words))
        for table in tables
        if table.name in words
    ]


def _signed(table: Table, query: str) -> str:
    """Return a query with its sums as BIGINT, which DuckDB adds up three times as fast as UBIGINT."""
    wide = [column.name for column in table.having(Role.SUM, Role.WEIGHT) if column.duckdb == "UBIGINT"]
    replaced = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in wide)
    return f"SELECT * REPLACE ({replaced}) FROM ({query})" if wide else query
