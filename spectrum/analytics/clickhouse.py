"""The store of many nodes: the same tables in a ClickHouse server.

Rows are made of records by DuckDB in memory, with the statements of the embedded store, and inserted; then the place in
the journal is noted in a file beside. A crash in between sends some again, which the server drops by their ids
(`clickhouse_tables`): each record is in it once.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import msgspec

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.clickhouse_http import ClickHouseHttp
from spectrum.analytics.clickhouse_tables import (
    DROPPED,
    KEPT,
    MARKS,
    ROLLED,
    ROLLED_UP,
    STAGED,
    mark,
    new_columns,
    roll_up,
    tables,
    views,
)
from spectrum.analytics.store import AnalyticsError, KeptSpan, PacketSample, StoreProgress, Taken, UpkeepResult
from spectrum.core.analytics.answering import answer
from spectrum.core.analytics.columns import ATTACKS, CHANGES, EVENTS, HEALTH, PACKETS, Table
from spectrum.core.analytics.dialects import ClickHouse, Statement
from spectrum.core.analytics.plan import DataRange
from spectrum.core.analytics.question import Question, ResultTable
from spectrum.core.analytics.rows import SUPERVISOR, numbered, query_of, reader_of, sifted
from spectrum.core.records.journal import Batch, Cursor

_ALWAYS_S = 1e12
_DAY = timedelta(days=1)
# After midnight records of the day before may still arrive.
_LATE = timedelta(hours=1)
_UPKEEP_TIMEOUT_S = 60.0
# Sources whose next number is known: workers, of which a reload makes none.
_MAX_SOURCES = 10_000


class _Noted(msgspec.Struct):
    """The state file."""

    cursor: Cursor
    next: dict[str, int]


class ClickHouseStore:
    """A store in a server; see `AnalyticsStore`.

    Args:
        server: The server.
        folder: The folder of the file with this node's place in its journal.
        events_s: How long records are kept.
        minutes_s: How long roll-ups, changes of health and of the configuration are.
    """

    def __init__(self, server: ClickHouseHttp, folder: Path, events_s: float, minutes_s: float) -> None:
        self._server = server
        self._file = folder / f"clickhouse-{server.database}.json"
        self._events = timedelta(seconds=events_s)
        self._minutes = timedelta(seconds=minutes_s)
        self._making: duckdb.DuckDBPyConnection | None = None
        self._cursor: Cursor | None = None
        self._next: dict[str, int] = {}
        # Of a day; a statement for each step.
        self._rolling: Generator[int] | None = None

    def open(self) -> None:
        """Open it, and create missing tables.

        Raises:
            AnalyticsError: If that fails.
        """
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            noted = msgspec.json.decode(self._file.read_bytes(), type=_Noted)
            self._cursor, self._next = noted.cursor, noted.next
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as exc:
            raise AnalyticsError(f"{self._file}: {exc}; without it the whole journal is sent again", "corrupt") from exc
        database = self._server.database
        for statement in tables(database):
            self._server.command(statement, database="default")
        known = self._rows(f"SELECT table, name FROM system.columns WHERE database = '{database}'")
        for statement in (*new_columns(database, set(known)), *views(database)):
            self._server.command(statement)
        self._drop_staged()
        self._making = duckdb.connect(config={"threads": 1, "memory_limit": "256MB"})

    def _drop_staged(self) -> None:
        """Drop tables of nodes that ended while they rolled a day up."""
        database = self._server.database
        found = self._rows(
            f"SELECT name FROM system.tables WHERE database = '{database}' AND startsWith(name, '{STAGED}')"
            " AND metadata_modification_time < now() - INTERVAL 1 DAY"
        )
        for (name,) in found:
            self._server.command(f"DROP TABLE IF EXISTS {database}.{name}")

    def progress(self) -> StoreProgress:
        """Return the progress of this node's records."""
        return StoreProgress(self._cursor, dict(self._next))

    def take(self, batches: Sequence[Batch], cursor: Cursor) -> Taken:
        """Store records, and that all before `cursor` are stored.

        Raises:
            AnalyticsError: If that fails; the call may be repeated.
        """
        fresh, following, repeated, missing = sifted(batches, self._next)
        records = sum(batch.records - skipped for batch, skipped in fresh)
        rows = sum(self._insert(table, fresh) for table in (EVENTS, HEALTH, CHANGES, ATTACKS))
        self._note(cursor, self._next | following)
        return Taken(rows, repeated, records - rows, missing)

    def _insert(self, table: Table, fresh: Sequence[tuple[Batch, int]]) -> int:
        assert self._making is not None, "it is open"
        if table is not EVENTS:  # which workers do not make
            fresh = [one for one in fresh if SUPERVISOR in one[0].source]
        lines = b"".join(numbered(batch, skipped) for batch, skipped in fresh)
        made = rows_of(self._making, table, lines) if lines else b""
        if made:
            self._server.insert(f"INSERT INTO {KEPT[table.name]} FORMAT JSONEachRow", made)
        return made.count(b"\n")

    def _note(self, cursor: Cursor, following: dict[str, int]) -> None:
        while len(following) > _MAX_SOURCES:
            del following[next(iter(following))]
        draft = self._file.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(_Noted(cursor, following)))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._file)
        except OSError as exc:
            raise AnalyticsError(f"{self._file}: {exc.strerror}", "full") from exc
        self._cursor, self._next = cursor, following

    def take_packets(self, packets: Sequence[PacketSample]) -> None:
        """Store samples of packets.

        Raises:
            AnalyticsError: If it cannot.
        """
        names = [column.name for column in PACKETS.columns]
        lines = [msgspec.json.encode(dict(zip(names, map(_plain, one.values), strict=True))) + b"\n" for one in packets]
        if lines:
            self._server.insert(f"INSERT INTO {PACKETS.name} FORMAT JSONEachRow", b"".join(lines))

    def ask(self, question: Question, timeout_s: float, cancellation: Cancellation) -> ResultTable:
        """Return the answer to a question.

        Raises:
            QuestionFault: If it is invalid.
            QuestionTooLarge: If it takes longer, or more memory, than it may; or was cancelled.
            AnalyticsError: If it cannot be answered.
        """
        until = _Deadline(timeout_s)
        events_from = self._marked(DROPPED, until.left())
        newest = self._one(f"SELECT toUnixTimestamp64Micro(max(time)) FROM {KEPT[EVENTS.name]}", until.left())
        reach = DataRange(events_from.timestamp() if events_from else 0.0, _ALWAYS_S, max(0, newest or 0) / 1e6)
        return answer(
            question, ClickHouse(), reach, lambda statement: self._server.rows(statement, until.left(), cancellation)
        )

    def extent(self) -> KeptSpan:
        """Return since when the store has data."""
        found = self._rows(
            "SELECT count(), toUnixTimestamp64Micro(min(time)), toUnixTimestamp64Micro(max(time))"
            f" FROM {KEPT[EVENTS.name]}"
        )
        rolled = self._rows(f"SELECT count(), toUnixTimestamp64Micro(min(time)) FROM {ROLLED}")
        (events, first, last), (minutes, begin) = found[0], rolled[0]
        events_from = first / 1e6 if events else None
        return KeptSpan(events_from, begin / 1e6 if minutes else events_from, last / 1e6 if events else None)

    def tidy(self, now: float) -> UpkeepResult:
        """Roll a part of a day up, or drop days that are too old.

        Raises:
            AnalyticsError: If it cannot.
        """
        today = datetime.fromtimestamp(now, UTC)
        rolling, self._rolling = self._rolling, None
        if rolling is None and (day := self._day_to_roll_up(today)) is not None:
            rolling = self._roll_up(day)
        if rolling is None:
            return UpkeepResult(0, sum(self._drop(today)), 0, False)
        # After a failure it starts again.
        if (rolled := next(rolling, None)) is not None:
            self._rolling = rolling
        return UpkeepResult(rolled or 0, 0, 0, True)

    def _day_to_roll_up(self, today: datetime) -> date | None:
        rolled = self._marked(ROLLED_UP, _UPKEEP_TIMEOUT_S)
        for day in self._days(KEPT[EVENTS.name]):
            over = _begin(day) + _DAY
            if today >= over + _LATE and (rolled is None or rolled < over):
                return day
        return None

    def _roll_up(self, day: date) -> Generator[int]:
        """Roll a day up, one statement at each step; yield how many records that was, all of them in the last one."""
        database, staged = self._server.database, f"{STAGED}{uuid4().hex}"
        try:
            for statement in roll_up(database, f"{day:%Y%m%d}", staged):
                self._server.command(statement, may_repeat=False)
                yield 0
            number = self._one(f"SELECT count() FROM {EVENTS.name} WHERE toYYYYMMDD(time) = {day:%Y%m%d}")
            self._server.command(mark(database, ROLLED_UP, int((_begin(day) + _DAY).timestamp())))
            yield number
        finally:
            with suppress(AnalyticsError):
                self._server.command(f"DROP TABLE IF EXISTS {database}.{staged}")

    def _drop(self, today: datetime) -> Iterator[int]:
        """Drop the days that are too old; yield how many rows each had."""
        database = self._server.database
        for name, keep in (
            (KEPT[EVENTS.name], self._events),
            (PACKETS.name, self._events),
            (ROLLED, self._minutes),
            (KEPT[HEALTH.name], self._minutes),
            (KEPT[CHANGES.name], self._minutes),
            (KEPT[ATTACKS.name], self._minutes),
        ):
            for day in self._days(name):
                over = _begin(day) + _DAY
                if over > today - keep:
                    continue
                if name == KEPT[EVENTS.name]:
                    self._server.command(mark(database, DROPPED, int(over.timestamp())))
                yield self._one(f"SELECT count() FROM {name} WHERE toYYYYMMDD(time) = {day:%Y%m%d}")
                self._server.command(f"ALTER TABLE {database}.{name} DROP PARTITION {day:%Y%m%d}")

    def close(self) -> None:
        """Close it."""
        if self._rolling is not None:
            self._rolling.close()
            self._rolling = None
        if self._making is not None:
            self._making.close()
            self._making = None

    def _days(self, table: str) -> list[date]:
        """Return the days of which a table has rows, by its parts: to read all its times would take a while."""
        found = self._rows(
            f"SELECT DISTINCT partition FROM system.parts WHERE database = '{self._server.database}'"
            f" AND table = '{table}' AND active AND rows > 0 ORDER BY partition"
        )
        return [datetime.strptime(day, "%Y%m%d").date() for (day,) in found]

    def _marked(self, name: str, timeout_s: float) -> datetime | None:
        found = self._one(f"SELECT toUnixTimestamp64Micro(max(upto)) FROM {MARKS} WHERE name = '{name}'", timeout_s)
        return datetime.fromtimestamp(found / 1e6, UTC) if found and found > 0 else None

    def _rows(self, text: str, timeout_s: float = _UPKEEP_TIMEOUT_S) -> list[tuple[Any, ...]]:
        return self._server.rows(Statement(text), timeout_s, Cancellation())

    def _one(self, text: str, timeout_s: float = _UPKEEP_TIMEOUT_S) -> Any:
        return self._rows(text, timeout_s)[0][0]


class _Deadline:
    """When a question has to be answered.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._at = datetime.now(UTC) + timedelta(seconds=seconds)

    def left(self) -> float:
        return max(0.001, (self._at - datetime.now(UTC)).total_seconds())


def rows_of(connection: duckdb.DuckDBPyConnection, table: Table, lines: bytes) -> bytes:
    """Return the rows of a table that records make, one JSON object per line.

    Args:
        connection: To a database in memory.
        table: The table.
        lines: Records, as `core.analytics.rows.numbered` returns them.
    """
    source, made = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("records", "rows"))
    try:
        with os.fdopen(os.dup(source), "wb") as file:
            file.write(lines)
        names = ", ".join(column.name for column in table.columns)
        connection.execute(
            f"COPY (SELECT * FROM ({query_of(table, reader_of(source, table))}) AS made ({names}))"
            f" TO '/proc/self/fd/{made}' (FORMAT json, USE_TMP_FILE false)"
        )
        return os.pread(made, os.fstat(made).st_size, 0)
    finally:
        os.close(source)
        os.close(made)


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S.%f")
        case bytes():
            return value.hex()
    return value
