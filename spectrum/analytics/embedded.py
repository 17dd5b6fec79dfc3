"""The store of one node: DuckDB in the API's process, in files of a folder.

Each `take` is one transaction: the rows, the place in the journal, and the next number of each source. So each record
is stored once, even if a process is killed. The journal's own JSON is read into columns, or by DuckDB where a line is
not one of those that workers usually write; either without the interpreter.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.database import Database
from spectrum.analytics.layout import COPIED
from spectrum.analytics.store import AnalyticsError, KeptSpan, PacketSample, StoreProgress, Taken, UpkeepResult
from spectrum.analytics.stored_tables import StoredTables
from spectrum.analytics.upkeep import Upkeep
from spectrum.analytics.volumes import Volumes
from spectrum.core.analytics.answering import answer
from spectrum.core.analytics.client_numbers import CLIENTS, NUMBERED_EVENTS
from spectrum.core.analytics.columns import EVENTS, PACKETS, Table
from spectrum.core.analytics.dialects import DuckDb
from spectrum.core.analytics.plan import DataRange
from spectrum.core.analytics.question import Question, ResultTable
from spectrum.core.analytics.record_columns import RecordColumns
from spectrum.core.analytics.rows import SUPERVISOR, numbered, prefix_of, query_of, reader_of, sifted, with_numbers
from spectrum.core.records.journal import Batch, Cursor

DAY_S = 86400.0
# A volume is closed at a share of the store's size, or after a day.
_VOLUMES = 16
# Disk space left free: a database that meets a full disk must be opened again.
SPARE_BYTES = 64 << 20
# `minutes` is complete: events that are not rolled up yet are shown as rows of one event.
_ALWAYS_S = 1e12
# Of a sum in a group.
_STATE_BYTES = 32
# DuckDB's own.
_MIN_BITS = 12
# The view of the records that are taken, on the connection that writes.
_INCOMING = "incoming"
_MINUTE_S = 60.0
_MINUTE_US = 60_000_000


class EmbeddedStore:
    """A store in a folder; see `AnalyticsStore`.

    Args:
        folder: Its folder; created if missing.
        max_bytes: The limit of its files.
        events_s: How long records are kept.
        minutes_s: How long roll-ups, changes of health and of the configuration are kept.
        memory_bytes: DuckDB's memory limit; larger questions use as much disk, and then fail.
        threads: The number of threads.
        say: Logs a message for operators.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 10 << 30,
        events_s: float = 30 * DAY_S,
        minutes_s: float = 400 * DAY_S,
        memory_bytes: int = 512 << 20,
        threads: int = 2,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._volume_bytes = max_bytes // _VOLUMES
        self._database = Database(folder, memory_bytes, threads, self._volume_bytes)
        self._volumes = Volumes(folder, self._database, say)
        self._upkeep = Upkeep(self._database, self._volumes, max_bytes, events_s, minutes_s)
        self._memory_bytes, self._threads = memory_bytes, threads
        self._begun_at = 0.0
        self._columns = RecordColumns()
        self._cursor: Cursor | None = None
        self._next: dict[str, int] = {}
        # It has fewer records than the caller of `take` assumes: the caller must read the progress first.
        self._is_behind = False

    def open(self) -> None:
        """Open it. A damaged file is set aside, and logged.

        Raises:
            AnalyticsError: If that fails.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise AnalyticsError(f"{self._folder}: {(exc.strerror or str(exc)).lower()}") from exc
        shutil.rmtree(self._folder / "scratch", ignore_errors=True)
        try:
            self._database.open()
            self._database.writer.register(_INCOMING, self._columns)
            self._volumes.open()
            last = self._volumes.last
            self._begun_at = self._volumes.begun_at(self._volumes.numbers[-1])
            found = self._database.one(f'SELECT segment, "offset", record FROM {last}.progress')
            with self._database.explained():
                self._next = dict(self._database.writer.execute(f"SELECT source, next FROM {last}.sources").fetchall())
        except BaseException:
            self.close()
            raise
        self._cursor = Cursor(*found) if found else None

    def close(self) -> None:
        """Close it; running questions fail."""
        self._database.close()

    # --- taking records -------------------------------------------------------------------------------------------

    def progress(self) -> StoreProgress:
        """Return its progress."""
        self._is_behind = False
        return StoreProgress(self._cursor, dict(self._next))

    def take(self, batches: Sequence[Batch], cursor: Cursor) -> Taken:
        """Store records, and that all before `cursor` are stored: all or nothing.

        Raises:
            AnalyticsError: If that fails; nothing was stored, and the call may be repeated.
        """
        self._make_ready()
        fresh, following, repeated, missing = sifted(batches, self._next)
        records = sum(batch.records - skipped for batch, skipped in fresh)
        last = self._volumes.last
        clients = self._volumes.clients
        clients.forget()
        with self._database.writing() as connection:
            rows = self._insert(connection, fresh)
            insert_clients(connection, last, clients.fresh)
            connection.execute(f"DELETE FROM {last}.progress")
            connection.execute(f"INSERT INTO {last}.progress VALUES (?, ?, ?)", list(cursor))
            if following:
                connection.execute(
                    f"INSERT OR REPLACE INTO {last}.sources SELECT unnest(?::VARCHAR[]), unnest(?::UBIGINT[])",
                    [list(following), list(following.values())],
                )
        clients.keep()
        self._cursor = cursor
        self._next |= following
        return Taken(rows, repeated, records - rows, missing)

    def _insert(self, connection: duckdb.DuckDBPyConnection, fresh: Sequence[tuple[Batch, int]]) -> int:
        """Add the rows of batches, without the first records of some; return how many rows there are."""
        last, clients = self._volumes.last, self._volumes.clients
        self._columns.clear()
        by_workers: list[bytes] = []
        by_supervisor: list[bytes] = []
        for batch, skipped in fresh:
            if SUPERVISOR in batch.source:
                by_supervisor.append(numbered(batch, skipped, clients.of))
            else:
                left = self._columns.add(batch.source, batch.sequence, batch.lines, skipped, clients.number)
                by_workers += with_numbers(batch.source, left, clients.of)
        rows = 0
        if len(self._columns):
            rows = _count(connection.execute(f"INSERT INTO {last}.{EVENTS.name} FROM {_INCOMING}"))
        for lines, tables in ((by_workers, (NUMBERED_EVENTS,)), (by_supervisor, (NUMBERED_EVENTS, *COPIED))):
            if lines:
                rows += _insert_lines(connection, last, b"".join(lines), tables)
        return rows

    def take_packets(self, packets: Sequence[PacketSample]) -> None:
        """Store samples of packets.

        Raises:
            AnalyticsError: If it cannot.
        """
        self._make_ready()
        if not packets:
            return
        # A list for each column: a statement for each row takes a hundred times as long.
        lists = ", ".join(f"unnest(?::{column.duckdb}[])" for column in PACKETS.columns)
        text = f"INSERT INTO {self._volumes.last}.{PACKETS.name} SELECT {lists}"
        with self._database.writing() as connection:
            connection.execute(text, list(map(list, zip(*(one.values for one in packets), strict=True))))

    def _make_ready(self) -> None:
        """Ensure a volume with room, in a writable database."""
        if self._database.is_broken:
            before = self._cursor, self._next
            self.close()
            self.open()
            self._is_behind |= before != (self._cursor, self._next)
        if self._is_behind:
            raise AnalyticsError(f"{self._folder}: records were lost with a damaged file; read them again", "corrupt")
        free = shutil.disk_usage(self._folder).free
        if free < SPARE_BYTES:
            raise AnalyticsError(
                f"{self._folder}: {free >> 20} MiB are free; below {SPARE_BYTES >> 20} MiB nothing is added", "full"
            )
        # Before it: the clock was set back.
        is_new = 0 <= time.time() - self._begun_at < DAY_S
        if self._volumes.last_size() >= self._volume_bytes or not is_new:
            with self._database.explained():
                self._database.writer.execute(f"CHECKPOINT {self._volumes.last}")
            self._volumes.begin()
            self._begun_at = time.time()

    # --- questions ------------------------------------------------------------------------------------------------

    def ask(self, question: Question, timeout_s: float, cancellation: Cancellation | None = None) -> ResultTable:
        """Return the answer to a question.

        Args:
            question: The question.
            timeout_s: Its timeout.
            cancellation: Set when the client has disconnected.

        Raises:
            QuestionFault: If it is invalid.
            QuestionTooLarge: If it takes longer, or more memory, than it may.
            AnalyticsError: If it cannot be answered.
        """
        with (
            self._volumes.read(timeout_s, question.since - _MINUTE_S, question.until) as tables,
            (cancellation or Cancellation()).interrupting(tables.stop),
        ):
            reach = DataRange(_events_from(tables), _ALWAYS_S, tables.newest())
            tables.limit_places(self._bits(len(question.metrics)))
            dialect = DuckDb(has_client_numbers=True, has_one_number_each=tables.has_one_number_each)
            return answer(question, dialect, reach, tables.ask)

    def _bits(self, metrics: int) -> int:
        """Return up to which range of a number, as a power of two, groups are places of a table and not hashed.

        DuckDB's limit of memory does not hold for this table, of which each thread has one: half of it is for it.
        """
        groups = self._memory_bytes // 2 // ((self._threads + 1) * _STATE_BYTES * (metrics + 1))
        return max(groups.bit_length() - 1, _MIN_BITS)

    def execute(self, text: str, timeout_s: float = 10.0) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the tables.

        Raises:
            QuestionTooLarge: If it takes longer, or more memory, than it may.
            AnalyticsError: If it cannot be answered.
        """
        with self._volumes.read(timeout_s) as tables:
            return tables.execute(text)

    def extent(self) -> KeptSpan:
        """Return since when the store has data."""
        with self._volumes.read(10.0) as tables:
            ((events_from, newest),) = tables.execute(f"SELECT epoch(min(time)), epoch(max(time)) FROM {EVENTS.name}")
            ((minutes_from,),) = tables.execute("SELECT epoch(min(time)) FROM minutes")
        return KeptSpan(events_from, minutes_from, newest)

    def tidy(self, now: float) -> UpkeepResult:
        """Do one step of upkeep: roll up a portion, or drop the oldest data.

        Raises:
            AnalyticsError: If it cannot.
        """
        return self._upkeep.step(now)


def _events_from(tables: StoredTables) -> float:
    """Return since when all events are there, in seconds since 1970; 0 if none was dropped."""
    # Events of that minute may be incomplete: `minutes` has it whole.
    return (tables.dropped_us // _MINUTE_US + 1) * 60.0 if tables.dropped_us else 0.0


def insert_clients(connection: duckdb.DuckDBPyConnection, name: str, fresh: Mapping[bytes, int]) -> None:
    """Add addresses with their numbers to a volume."""
    if fresh:
        connection.execute(
            f"INSERT INTO {name}.{CLIENTS.name} SELECT client, address, {prefix_of('address')}"
            " FROM (SELECT unnest(?::UINTEGER[]) AS client, unnest(?::VARCHAR[]) AS address)",
            [list(fresh.values()), [address.decode() for address in fresh]],
        )


def _insert_lines(connection: duckdb.DuckDBPyConnection, name: str, lines: bytes, tables: Sequence[Table]) -> int:
    rows = 0
    descriptor = os.memfd_create("records", os.MFD_CLOEXEC)
    try:
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]
        for table in tables:
            rows += _count(
                connection.execute(f"INSERT INTO {name}.{table.name} {query_of(table, reader_of(descriptor, table))}")
            )
    finally:
        os.close(descriptor)
    return rows


def _count(inserted: duckdb.DuckDBPyConnection) -> int:
    """Return the number of rows of a statement that inserts them."""
    found = inserted.fetchone()
    return int(found[0]) if found else 0
