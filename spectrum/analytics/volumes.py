"""The files of an embedded store: volumes of events, one after the other, and the history that outlives them.

DuckDB writes to one file in a transaction, and never shrinks a file. So events are in volumes, the newest of which has
the cursor; the oldest one is deleted as a whole. Data that is kept longer, roll-ups and changes of health, is in a
separate file, with the number of each volume's rows in it.
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

from spectrum.analytics.database import Database
from spectrum.analytics.layout import DROPPED, HISTORY, OF_HISTORY, OF_VOLUME, catalog, definition, selection
from spectrum.analytics.store import STORED_TOGETHER, AnalyticsError
from spectrum.analytics.stored_tables import OpenVolumes, StoredTables
from spectrum.core.analytics.client_numbers import CLIENTS, NUMBERED_EVENTS, ClientNumbers
from spectrum.core.analytics.columns import Table

_NAME = re.compile(r"events-(\d{8})\.duckdb")


class Volumes:
    """The open files.

    Args:
        folder: Their folder.
        database: The database that opens them.
        say: Logs a message for operators.
    """

    def __init__(self, folder: Path, database: Database, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._database = database
        self._say = say
        # By number, the columns of each table: files of an earlier version have fewer.
        self._there: dict[int, Mapping[str, frozenset[str]]] = {}
        # Of those that have numbers of clients, the first one: with the same, a newer volume has the older one's, too.
        self._firsts: dict[int, int] = {}
        self._clients = ClientNumbers({}, 1)
        # The oldest and the newest time in closed volumes, in microseconds since 1970.
        self._spans: dict[int, tuple[int, int]] = {}
        # Volumes to delete when no question reads them any more, and the number of questions that read each.
        self._leaving: set[int] = set()
        self._reads: Counter[int] = Counter()
        self._turn = Lock()

    def open(self) -> None:
        """Open all files, and create missing ones. Damaged ones are set aside, and logged.

        Raises:
            AnalyticsError: If one cannot be opened.
        """
        self._there, self._firsts, self._leaving = {}, {}, set()
        self._clients = ClientNumbers({}, 1)
        self._reads.clear()
        self._attach(HISTORY, HISTORY)
        with self._database.writing() as connection:
            for table in OF_HISTORY:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {HISTORY}.{table.name} (volume UINTEGER, {definition(table)})"
                )
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {HISTORY}.marks (volume UINTEGER, name VARCHAR, upto UBIGINT)"
            )
        for number in sorted(int(found[1]) for path in self._folder.iterdir() if (found := _NAME.fullmatch(path.name))):
            if self._attach(_file_name(number), catalog(number)):
                self._add(number)
        self._forget_lost()
        self._clients = self._read_clients()
        if "client" not in self._there[self.numbers[-1]][NUMBERED_EVENTS.name]:  # of an earlier version
            self.begin()
        self._spans = {number: self._span(number) for number in self.numbers[:-1]}

    def _attach(self, name: str, as_name: str) -> bool:
        """Open a file, created if missing; return False if it was damaged, and is set aside."""
        escaped = str(self._path(name)).replace("'", "''")
        try:
            with self._database.explained():
                self._database.writer.execute(f"ATTACH '{escaped}' AS {as_name} (ROW_GROUP_SIZE {STORED_TOGETHER})")
        except AnalyticsError as exc:
            if exc.reason != "corrupt":
                raise
            self._set_aside(name, str(exc))
            if name == HISTORY:
                self._attach(name, as_name)
            return False
        return True

    def _add(self, number: int) -> None:
        """Add a volume, with missing tables; one whose creation was interrupted is deleted."""
        with self._database.explained():
            if "sources" not in _columns_in(self._database.writer, catalog(number)):
                self._database.writer.execute(f"DETACH {catalog(number)}")
                self._delete(number)
                return
        with self._database.writing() as connection:
            for table in (*OF_VOLUME, CLIENTS):  # an earlier version had fewer tables
                connection.execute(f"CREATE TABLE IF NOT EXISTS {catalog(number)}.{table.name} ({definition(table)})")
        self._there[number] = _columns_in(self._database.writer, catalog(number))
        self._note_first(number)

    def _note_first(self, number: int) -> None:
        (first,) = self._database.one(f"SELECT min(client) FROM {catalog(number)}.{CLIENTS.name}")
        if first is not None:
            self._firsts[number] = first

    def _read_clients(self) -> ClientNumbers:
        """Return the numbers of the newest volume; the next one is after those of the newest that has any."""
        newest = max(self._firsts, default=0)
        if not newest:
            return ClientNumbers({}, 1)
        with self._database.explained():
            rows = self._database.writer.execute(f"SELECT client_ip, client FROM {catalog(newest)}.{CLIENTS.name}")
            known = {address.encode(): client for address, client in rows.fetchall()}
        found = ClientNumbers(known, max(known.values()) + 1)
        return found if newest == max(self._there) else found.renewed()

    def _forget_lost(self) -> None:
        """Begin a volume if there is none; forget the roll-ups of lost volumes, if they were the newest.

        The journal delivers their records again, which must not be counted twice.
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
        """The numbers of the volumes, oldest first; the last one is being written."""
        return sorted(self._there)

    @property
    def last(self) -> str:
        """The name in SQL of the volume that is being written."""
        return catalog(max(self._there))

    @property
    def clients(self) -> ClientNumbers:
        """The numbers of clients in the volume that is being written."""
        return self._clients

    def last_size(self) -> int:
        """Return the bytes of the volume that is being written, with its write-ahead log."""
        return sum(path.stat().st_size for path in self._both(_file_name(max(self._there))) if path.exists())

    def begun_at(self, number: int) -> float:
        """Return when a volume was begun, in seconds since 1970."""
        return float(self._database.one(f"SELECT epoch(begun) FROM {catalog(number)}.about")[0])

    def size(self) -> int:
        """Return the bytes of the files, with their write-ahead logs."""
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
        goes_on = bool(former) and self._clients.has_room
        number = number or max(self._there) + 1
        name = catalog(number)
        self._attach(_file_name(number), name)
        try:
            with self._database.writing() as connection:
                _make_tables(connection, name, former, goes_on)
        except AnalyticsError:
            self._database.is_broken = True
            raise
        if self._there:
            last = max(self._there)
            self._spans[last] = self._span(last)
            self._note_first(last)
        if not goes_on:
            self._clients = self._clients.renewed()
        self._note_first(number)
        with self._turn:
            self._there = self._there | {number: _columns_in(self._database.writer, name)}

    def _span(self, number: int) -> tuple[int, int]:
        times = " UNION ALL ".join(f"SELECT time FROM {catalog(number)}.{table.name}" for table in OF_VOLUME)
        found = self._database.one(f"SELECT epoch_us(min(time)), epoch_us(max(time)) FROM ({times})")
        return (found[0], found[1]) if found[0] is not None else (0, 0)

    def _overlapping(self, since: float, until: float) -> dict[int, Mapping[str, frozenset[str]]]:
        """Return the volumes with rows of a period; a plan for each one takes milliseconds.

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
        """Delete dropped volumes that no question reads any more."""
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
        """Read each file completely, and set aside damaged ones; then the store must be reopened."""
        names = {catalog(number): (_file_name(number), (*OF_VOLUME, CLIENTS)) for number in self._there}
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
    def read(self, timeout_s: float, since: float = 0.0, until: float = inf) -> Iterator[StoredTables]:
        """Return the tables as of now.

        Args:
            timeout_s: Its timeout.
            since: Rows before this time, in seconds since 1970, may be missing.
            until: Rows of this time and later may be missing.

        Raises:
            QuestionTooLarge: If a question takes more time or memory than allowed.
            AnalyticsError: If it cannot be answered.
        """
        with self._turn:
            there = self._overlapping(since, until)
            self._reads.update(list(there))
        try:
            with self._database.reading(timeout_s) as reader:
                yield StoredTables(reader, OpenVolumes(there, self._firsts))
        finally:
            with self._turn:
                self._reads.subtract(list(there))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.duckdb"

    def _both(self, name: str) -> list[Path]:
        """Return a file, and its write-ahead log."""
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


def _make_tables(connection: duckdb.DuckDBPyConnection, name: str, former: str, goes_on: bool) -> None:
    for table in (*OF_VOLUME, CLIENTS):
        connection.execute(f"CREATE TABLE {name}.{table.name} ({definition(table)})")
    connection.execute(f'CREATE TABLE {name}.progress (segment UBIGINT, "offset" UBIGINT, record UBIGINT)')
    connection.execute(f"CREATE TABLE {name}.sources (source VARCHAR PRIMARY KEY, next UBIGINT)")
    connection.execute(f"CREATE TABLE {name}.about AS SELECT make_timestamp(?) AS begun", [int(time.time() * 1e6)])
    for table_name in ("progress", "sources") if former else ():
        connection.execute(f"INSERT INTO {name}.{table_name} FROM {former}.{table_name}")
    if goes_on:
        connection.execute(f"INSERT INTO {name}.{CLIENTS.name} FROM {former}.{CLIENTS.name}")


def _columns_in(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, frozenset[str]]:
    """Return the columns of each table of a file."""
    rows = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE database_name = ? GROUP BY table_name", [name]
    ).fetchall()
    return {table: frozenset(columns) for table, columns in rows}
