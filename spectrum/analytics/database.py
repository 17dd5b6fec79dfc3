"""DuckDB as used by the embedded store: limits, transactions, and errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

import duckdb

from spectrum.analytics.store import AnalyticsError, QuestionTooLarge

# Maximum size of the write-ahead log before a checkpoint.
_LOG_BYTES = 64 << 20
_INTERRUPT_PAUSE_S = 0.02
# Time in which an interrupted question ends.
_INTERRUPT_S = 5.0
_CORRUPT = ("corrupt", "checksum", "not a valid duckdb", "deserializ", "serialization error", "trying to read")
_FULL = ("no space left", "disk quota", "file too large", "could not write all bytes")
_LOCKED = ("could not set lock", "conflicting lock")


class Reader:
    """A connection for a question, which ends at its timeout, or when it is stopped.

    Args:
        connection: Its connection.
        timeout_s: Its timeout.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, timeout_s: float) -> None:
        self._connection = connection
        self._is_over = Event()
        self._is_done = Event()
        self._watch = Thread(target=self._interrupt, args=(timeout_s,), name="analytics-question", daemon=True)
        self._watch.start()

    def execute(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a statement.

        Raises:
            duckdb.Error: If it fails.
        """
        if self._is_over.is_set():
            raise duckdb.InterruptException("the time is over")
        return self._connection.execute(text, parameters).fetchall()

    def stop(self) -> None:
        """End the question; any thread may call it."""
        self._is_over.set()

    def _interrupt(self, timeout_s: float) -> None:
        self._is_over.wait(timeout_s)
        self._is_over.set()
        # Between two statements an interrupt has no effect.
        while not self._is_done.wait(_INTERRUPT_PAUSE_S):
            with suppress(duckdb.ConnectionException):  # the database was closed before it
                self._connection.interrupt()

    def close(self) -> None:
        """Close it."""
        self._is_done.set()
        self._is_over.set()
        self._watch.join()
        self._connection.close()


class Database:
    """One instance of DuckDB for the files of a folder. One thread writes; questions have their own connections.

    Args:
        folder: The folder of the files.
        memory_bytes: The memory limit; beyond it as much disk is used, then questions fail.
        threads: The number of threads.
        file_bytes: The limit of a file.

    Attributes:
        is_broken: Whether DuckDB refuses everything after a failed write: it must be reopened.
        is_damaged: Whether a file could not be read.
    """

    def __init__(self, folder: Path, memory_bytes: int, threads: int, file_bytes: int = _LOG_BYTES) -> None:
        self.is_broken = False
        self.is_damaged = False
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._threads = threads
        self._log_bytes = min(_LOG_BYTES, file_bytes)
        self._writer: duckdb.DuckDBPyConnection | None = None
        # Connections of questions are created from it, one at a time.
        self._parent: duckdb.DuckDBPyConnection | None = None
        self._readers: set[Reader] = set()
        self._turn = Condition()

    def open(self) -> None:
        """Start it, without files.

        Raises:
            AnalyticsError: If it cannot start.
        """
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": self._threads,
            "memory_limit": f"{self._memory_bytes}B",
            "temp_directory": str(self._folder / "scratch"),
            "max_temp_directory_size": f"{self._memory_bytes}B",
            "checkpoint_threshold": f"{self._log_bytes}B",
            # Rows are never deleted from volumes: nothing is gained by writing parts of tables again as larger ones.
            "max_vacuum_tasks": 0,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with self.explained():
            self._writer = duckdb.connect(":memory:", config=config)
            self._parent = self._writer.cursor()
        self.is_broken = self.is_damaged = False

    def close(self) -> None:
        """Stop it; running questions fail."""
        with self._turn:
            both, self._writer, self._parent = (self._parent, self._writer), None, None
            for reader in self._readers:
                reader.stop()
            self._turn.wait_for(lambda: not self._readers, _INTERRUPT_S)
        for one in both:
            if one is not None:
                one.close()

    @property
    def writer(self) -> duckdb.DuckDBPyConnection:
        """The connection of the writing thread.

        Raises:
            AnalyticsError: If it is closed.
        """
        if self._writer is None:
            raise AnalyticsError("the store of analytics is closed")
        return self._writer

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Write to one file, all or nothing; DuckDB allows one in a transaction."""
        connection = self.writer
        with self.explained():
            connection.execute("BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException as exc:
                self.is_broken |= isinstance(exc, duckdb.Error) and _reason_of(str(exc)) == "full"
                try:
                    connection.execute("ROLLBACK")
                except duckdb.Error:
                    # A commit that failed has ended it already.
                    self.is_broken |= not isinstance(exc, duckdb.Error)
                raise

    @contextmanager
    def reading(self, timeout_s: float) -> Iterator["Reader"]:
        """Return a context that reads a consistent snapshot, for `timeout_s` at most."""
        with self._turn:
            if self._parent is None:
                raise AnalyticsError("the store of analytics is closed")
            reader = Reader(self._parent.cursor(), timeout_s)
            self._readers.add(reader)
        try:
            with self.explained():
                reader.execute("BEGIN")
                yield reader
        finally:
            reader.close()
            with self._turn:
                self._readers.discard(reader)
                self._turn.notify_all()

    def one(self, text: str, parameters: list[object] | None = None) -> tuple[Any, ...]:
        """Return the first row of a query of the writing thread; empty for none."""
        with self.explained():
            return self.writer.execute(text, parameters or []).fetchone() or ()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn DuckDB's errors into those of a store."""
        try:
            yield
        except duckdb.InterruptException as exc:
            raise QuestionTooLarge("the question takes longer than it may") from exc
        except duckdb.OutOfMemoryException as exc:
            raise QuestionTooLarge(f"more memory is needed than analytics.memory: {_first_line(exc)}") from exc
        except duckdb.Error as exc:
            reason = _reason_of(str(exc))
            self.is_broken |= isinstance(exc, duckdb.FatalException) or "invalidated" in str(exc)
            self.is_damaged |= reason == "corrupt"
            raise AnalyticsError(f"{self._folder}: {_first_line(exc)}", reason) from exc
        except OSError as exc:
            raise AnalyticsError(f"{exc.filename or self._folder}: {(exc.strerror or str(exc)).lower()}") from exc


def _reason_of(message: str) -> str:
    lowered = message.lower()
    for reason, signs in (("locked", _LOCKED), ("full", _FULL), ("corrupt", _CORRUPT)):
        if any(sign in lowered for sign in signs):
            return reason
    return "other"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
