"""The files of an embedded store: volumes of events, one after the other, and the history that outlives them.

DuckDB writes to one file in a transaction, and never makes a file smaller. So events are in volumes, the newest of
which has the cursor; the oldest one is deleted as a whole. What is kept longer, roll-ups and changes of health, is in a
file of its own, with how much of each volume is in it.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from threading import Lock

import duckdb

from spectrum.analytics.database import Database, Reader
from spectrum.analytics.store import AnalyticsError
from spectrum.core.analytics.columns import ATTACKS, CHANGES, EVENTS, HEALTH, MINUTES, PACKETS, Table
from spectrum.core.analytics.rollups import as_minutes

HISTORY = "history"
# Kept in a volume, and copied from it into the history: as roll-ups, or as they are.
COPIED = (HEALTH, CHANGES, ATTACKS)
OF_VOLUME = (EVENTS, *COPIED, PACKETS)
OF_HISTORY = (MINUTES, *COPIED)
# Among the marks of volume 0: the newest event that was dropped, in microseconds since 1970.
DROPPED = "dropped"
_NAME = re.compile(r"events-(\d{8})\.duckdb")


def catalog(number: int) -> str:
    """Return the name of a volume in SQL."""
    return f"v{number}"


class Volumes:
    """The files, as far as they are open.

    Args:
        folder: Where they are.
        database: In which they are opened.
        say: Takes what an operator should read.
    """

    def __init__(self, folder: Path, database: Database, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._database = database
        self._say = say
        # By number, the columns of each table: files of an earlier version have fewer.
        self._there: dict[int, Mapping[str, frozenset[str]]] = {}
        # The oldest and the newest time in those that are not written to any more, in microseconds since 1970.
        self._spans: dict[int, tuple[int, int]] = {}
        # Those that are dropped when nobody reads them any more, and how many questions read which.
        self._leaving: set[int] = set()
        self._reads: Counter[int] = Counter()
        self._turn = Lock()

    def open(self) -> None:
        """Open all files, and begin those that are missing. Damaged ones are set aside, and said.

        Raises:
            AnalyticsError: If one cannot be opened.
        """
        self._there, self._leaving = {}, set()
        self._reads.clear()
        self._attach(HISTORY, HISTORY)
        with self._database.writing() as connection:
            for table in OF_HISTORY:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {HISTORY}.{table.name} (volume UINTEGER, {_definition(table)})"
                )
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {HISTORY}.marks (volume UINTEGER, name VARCHAR, upto UBIGINT)"
            )
        for number in sorted(int(found[1]) for path in self._folder.iterdir() if (found := _NAME.fullmatch(path.name))):
            if self._attach(_file_name(number), catalog(number)):
                self._add(number)
        self._forget_lost()
        self._spans = {number: self._span(number) for number in self.numbers[:-1]}

    def _attach(self, name: str, as_name: str) -> bool:
        """Open a file, which is made if it is missing; return False where it was damaged, and is set aside."""
        escaped = str(self._path(name)).replace("'", "''")
        try:
            with self._database.explained():
                self._database.writer.execute(f"ATTACH '{escaped}' AS {as_name}")
        except AnalyticsError as exc:
            if exc.reason != "corrupt":
                raise
            self._set_aside(name, str(exc))
            if name == HISTORY:
                self._attach(name, as_name)
            return False
        return True

    def _add(self, number: int) -> None:
        """Know a volume, with the tables that it lacks; one that was being made when the process ended is deleted."""
        with self._database.explained():
            if "sources" not in _columns_in(self._database.writer, catalog(number)):
                self._database.writer.execute(f"DETACH {catalog(number)}")
                self._delete(number)
                return
        with self._database.writing() as connection:
            for table in OF_VOLUME:  # an earlier version did not have all of them
                connection.execute(f"CREATE TABLE IF NOT EXISTS {catalog(number)}.{table.name} ({_definition(table)})")
        self._there[number] = _columns_in(self._database.writer, catalog(number))

    def _forget_lost(self) -> None:
        """Begin a volume where there is none; forget the roll-ups of those that are lost, if they were the newest.

        The journal gives the records of these again, which must not be in sums twice.
        """
        newest = max(self._there, default=0)
        with self._database.explained():
            found = self._database.writer.execute(f"SELECT DISTINCT volume FROM {HISTORY}.marks WHERE volume > 0")
            lost = {number for (number,) in found.fetchall()} - set(self._there)
        for number in lost:
            self._forget(number, ("marks", *(table.name for table in OF_HISTORY)) if number > newest else ("marks",))
        if not self._there:
            self.begin(max(lost, default=0) + 1)

    def _forget(self, number: int, names: Iterable[str]) -> None:
        with self._database.writing() as connection:
            for name in names:
                connection.execute(f"DELETE FROM {HISTORY}.{name} WHERE volume = ?", [number])

    @property
    def numbers(self) -> list[int]:
        """Those of the volumes, oldest first; the last one is written to."""
        return sorted(self._there)

    @property
    def last(self) -> str:
        """The name in SQL of the one that is written to."""
        return catalog(max(self._there))

    def last_size(self) -> int:
        """Return how many bytes the one that is written to takes, with what is not written into its file yet."""
        return sum(path.stat().st_size for path in self._both(_file_name(max(self._there))) if path.exists())

    def begun_at(self, number: int) -> float:
        """Return when one was begun, in seconds since 1970."""
        return float(self._database.one(f"SELECT epoch(begun) FROM {catalog(number)}.about")[0])

    def size(self) -> int:
        """Return how many bytes the files take, with what is not written into them yet."""
        return sum(path.stat().st_size for path in self._folder.glob("*.duckdb*"))

    def selection(self, number: int, table: Table) -> str:
        """Return the columns of a table as a query of a volume has them."""
        return selection(table, self._there[number][table.name])

    def begin(self, number: int = 0) -> None:
        """Begin a volume, which continues the last one.

        Raises:
            AnalyticsError: If it cannot.
        """
        former = self.last if self._there else ""
        number = number or max(self._there) + 1
        name = catalog(number)
        self._attach(_file_name(number), name)
        try:
            with self._database.writing() as connection:
                _make_tables(connection, name, former)
        except AnalyticsError:
            self._database.is_broken = True
            raise
        if self._there:
            self._spans[max(self._there)] = self._span(max(self._there))
        with self._turn:
            self._there = self._there | {number: _columns_in(self._database.writer, name)}

    def _span(self, number: int) -> tuple[int, int]:
        times = " UNION ALL ".join(f"SELECT time FROM {catalog(number)}.{table.name}" for table in OF_VOLUME)
        found = self._database.one(f"SELECT epoch_us(min(time)), epoch_us(max(time)) FROM ({times})")
        return (found[0], found[1]) if found[0] is not None else (0, 0)

    def _overlapping(self, since: float, until: float) -> dict[int, Mapping[str, frozenset[str]]]:
        """Return the volumes with rows of a time; a plan for each one takes milliseconds.

        The last two are always among them: they have the newest row.
        """
        always = self.numbers[-2:]
        return {
            number: tables
            for number, tables in self._there.items()
            if number in always or (self._spans[number][0] < until * 1e6 and self._spans[number][1] >= since * 1e6)
        }

    def drop(self, number: int, newest_us: int) -> None:
        """Delete a volume as soon as no question reads it; its newest event is of that time.

        Raises:
            AnalyticsError: If it cannot.
        """
        with self._database.writing() as connection:
            connection.execute(f"INSERT INTO {HISTORY}.marks VALUES (0, '{DROPPED}', ?)", [newest_us])
        self._without(number)
        self._leaving.add(number)
        self.delete_unread()

    def delete_unread(self) -> None:
        """Delete the dropped volumes that no question reads any more."""
        with self._turn:
            unread = {number for number in self._leaving if not self._reads[number]}
        for number in unread:
            with self._database.explained():
                self._database.writer.execute(f"DETACH {catalog(number)}")
            self._delete(number)
            self._leaving.discard(number)
            # Not before: a file that is still there at the next start is not rolled up again.
            self._forget(number, ("marks",))

    def _without(self, number: int) -> None:
        with self._turn:
            self._there = {other: tables for other, tables in self._there.items() if other != number}

    def look_for_damage(self) -> None:
        """Read all of each file, and set aside those that cannot be read; then the store must be reopened."""
        names = {catalog(number): (_file_name(number), OF_VOLUME) for number in self._there}
        for name, (file, tables) in {**names, HISTORY: (HISTORY, OF_HISTORY)}.items():
            try:
                for table in tables:
                    self._database.one(f"SELECT bit_xor(hash(t)) FROM {name}.{table.name} t")
            except AnalyticsError as exc:
                if exc.reason == "corrupt":
                    self._set_aside(file, str(exc))
                    self._database.is_broken = True
        self._database.is_damaged = False

    @contextmanager
    def read(self, timeout_s: float, since: float = 0.0, until: float = inf) -> Iterator[Reader]:
        """Return what has the tables as views of all files, as of one moment.

        Args:
            timeout_s: What it may take.
            since: Rows before this time, in seconds since 1970, may be missing.
            until: So may those of this time and later.

        Raises:
            QuestionTooLarge: If what is done with it takes longer, or more memory, than it may.
            AnalyticsError: If it cannot be done.
        """
        with self._turn:
            there = self._overlapping(since, until)
            self._reads.update(list(there))
        try:
            with self._database.reading(timeout_s) as reader:
                for name, query in _views(reader, there):
                    reader.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
                yield reader
        finally:
            with self._turn:
                self._reads.subtract(list(there))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.duckdb"

    def _both(self, name: str) -> list[Path]:
        """Return a file, and that of what is not written into it yet."""
        path = self._path(name)
        return [path, path.with_name(f"{path.name}.wal")]

    def _delete(self, number: int) -> None:
        for path in self._both(_file_name(number)):
            path.unlink(missing_ok=True)

    def _set_aside(self, name: str, why: str) -> None:
        folder = self._folder / "damaged"
        folder.mkdir(mode=0o700, exist_ok=True)
        ending = f".{sum(1 for _ in folder.iterdir())}"
        for path in self._both(name):
            if path.exists():
                path.rename(folder / (path.name + ending))
        self._say(f"analytics: {self._path(name)} is damaged, and set aside in {folder}: {why}")


def _file_name(number: int) -> str:
    return f"events-{number:08d}"


def _make_tables(connection: duckdb.DuckDBPyConnection, name: str, former: str) -> None:
    for table in OF_VOLUME:
        connection.execute(f"CREATE TABLE {name}.{table.name} ({_definition(table)})")
    connection.execute(f'CREATE TABLE {name}.progress (segment UBIGINT, "offset" UBIGINT, record UBIGINT)')
    connection.execute(f"CREATE TABLE {name}.sources (source VARCHAR PRIMARY KEY, next UBIGINT)")
    connection.execute(f"CREATE TABLE {name}.about AS SELECT make_timestamp(?) AS begun", [int(time.time() * 1e6)])
    for table_name in ("progress", "sources") if former else ():
        connection.execute(f"INSERT INTO {name}.{table_name} FROM {former}.{table_name}")


def _definition(table: Table) -> str:
    return ", ".join(f'"{column.name}" {column.duckdb}' for column in table.columns)


def _columns_in(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, frozenset[str]]:
    """Return the columns that each table of a file has."""
    rows = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE database_name = ? GROUP BY table_name", [name]
    ).fetchall()
    return {table: frozenset(columns) for table, columns in rows}


def selection(table: Table, there: Iterable[str]) -> str:
    """Return the columns of a table as a query's, of a file that has those that are `there`."""
    known = frozenset(there)
    return ", ".join(
        f'"{column.name}"'
        if column.name in known
        else f'CAST({_empty(column.duckdb)} AS {column.duckdb}) "{column.name}"'
        for column in table.columns
    )


def _empty(kind: str) -> str:
    if kind == "VARCHAR":
        return "''"
    return "NULL" if kind.startswith(("MAP", "BLOB", "TIMESTAMP")) else "0"


def _views(reader: Reader, there: Mapping[int, Mapping[str, frozenset[str]]]) -> Iterator[tuple[str, str]]:
    """Yield the tables and their queries: the history, and what of each volume is not in it."""
    marks = {(volume, name): upto for volume, name, upto in reader.execute(f"FROM {HISTORY}.marks")}
    minutes = [f"SELECT {selection(MINUTES, MINUTES.by_name)} FROM {HISTORY}.{MINUTES.name}"]
    for table in OF_VOLUME:
        parts = []
        if table in COPIED:
            parts.append(f"SELECT {selection(table, table.by_name)} FROM {HISTORY}.{table.name}")
        for number, tables in there.items():
            rows = f"SELECT {selection(table, tables[table.name])} FROM {catalog(number)}.{table.name}"
            behind = f"{rows} WHERE rowid >= {marks.get((number, table.name), 0)}"
            parts.append(behind if table in COPIED else rows)
            if table is EVENTS:
                minutes.append(as_minutes(f"({behind})"))
        yield table.name, " UNION ALL ".join(parts)
    yield MINUTES.name, " UNION ALL ".join(minutes)
