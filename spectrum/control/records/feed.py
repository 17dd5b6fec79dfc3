"""Delivers records from the journal to a sink: each at least once, in order, in a thread of its own. The sink's cursor
is a file beside the journal. It is written after the sink has stored what it received, so after a crash the last
records may be delivered twice, with the same `RecordId`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from spectrum.control.records.journal import Journal, reason
from spectrum.control.records.segments import Segments
from spectrum.core.records.journal import Batch, Cursor, decode_cursor, encode_cursor, resume
from spectrum.kernel import signals

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")

# Interval of saving the cursor: after a crash these seconds of records are delivered twice.
SAVE_S = 1.0
FIRST_RETRY_S = 0.5
MAX_RETRY_S = 30.0


class Sink(Protocol):
    """A destination of records. All calls come from one thread, and may block."""

    def deliver(self, batches: Sequence[Batch]) -> None:
        """Deliver batches, all or none.

        Raises:
            OSError: If it cannot; the delivery is tried again later.
        """

    def flush(self) -> None:
        """Store what was delivered, so that it outlives this process.

        Raises:
            OSError: If it cannot.
        """

    def close(self) -> None:
        """Close files and connections; the next delivery opens them again."""


@dataclass(frozen=True)
class FeedReading:
    """The progress of a sink.

    Attributes:
        delivered: Records delivered since the start.
        lag_records: Records not delivered yet.
        lag_s: Seconds since the oldest of these was journaled.
        lost: Records that will not be delivered: they were dropped from the journal, or are damaged.
        failures: Attempts that failed.
        failure: Why the last attempt failed; "" if it did not.
    """

    name: str
    delivered: int
    lag_records: int
    lag_s: float
    lost: int
    failures: int
    failure: str


class Feed:
    """Delivers a journal to a sink until it is closed.

    Args:
        name: The name of the sink.
        sink: The sink, owned from here on.
        journal: The journal.
        folder: The folder of the file with the cursor.
        after: The former feed of this name; this one begins when it has ended.
        clock: Seconds since 1970.

    Attributes:
        cursor: Its position; None before it has begun.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        journal: Journal,
        folder: Path,
        after: "Feed | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cursor: Cursor | None = None
        self._name = name
        self._sink = sink
        self._journal = journal
        self._path = folder / f"{name}.cursor"
        self._after = after
        self._clock = clock
        self._saved: Cursor | None = None
        self._saved_at = 0.0
        # When the records that it tries to deliver were journaled, in microseconds since 1970.
        self._oldest_us = 0
        self._delivered = self._lost = self._failures = 0
        self._failure = ""
        # Whether it is closed: failures are not retried, and nothing more is delivered.
        self._closing, self._stopped = threading.Event(), threading.Event()
        self._reopening = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        with signals.all_held():
            self._thread.start()

    def read(self) -> FeedReading:
        """Return the progress of the sink; any thread may call it."""
        before = self._after
        cursor = before.cursor if before is not None else self.cursor
        lag = max(0, self._journal.end - cursor.record) if cursor else 0
        lag_s = max(0.0, self._clock() - self._oldest_us / 1e6) if lag and self._oldest_us else 0.0
        return FeedReading(self._name, self._delivered, lag, lag_s, self._lost, self._failures, self._failure)

    def reopen(self) -> None:
        """Let the sink reopen its files and connections soon."""
        self._reopening.set()
        self._journal.wake()

    def stop(self) -> None:
        """End soon; what is not delivered is left to the next feed of this name."""
        self._closing.set()
        self._stopped.set()
        self._journal.wake()

    def close(self, timeout_s: float) -> bool:
        """Deliver the rest of a closed journal, unless the sink fails, within a time; return whether it ended."""
        self._closing.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._after is not None:
            self._after.wait()
            self.cursor, self._after = self._after.cursor, None
        segments = self._journal.wait_open(self._stopped)
        if segments is not None:
            if self.cursor is None:
                self._begin(segments)
            while not self._stopped.is_set() and self._step(segments):
                pass
            self._save()
        self._sink.close()

    def _begin(self, segments: Segments) -> None:
        # What was cut off at the start must not be confused with what was appended since.
        self.cursor, lost = resume(self._load(), segments.recovered)
        self._lose(lost)

    def _load(self) -> Cursor | None:
        try:
            return decode_cursor(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as exc:
            why = reason(exc)
        except ValueError:
            why = "it is damaged"
        log.error("sink %s: %s cannot be read: %s; beginning with the oldest record", self._name, self._path, why)
        return None

    def _step(self, segments: Segments) -> bool:
        """Deliver the next records; return whether to go on."""
        if self._reopening.is_set():
            self._reopening.clear()
            self._sink.close()
        reading = self._attempt(partial(segments.read, self.cursor))
        if reading is None:
            return False
        self._lose(reading.lost, reading.damage)
        if reading.entries:
            batches = [entry.batch for entry in reading.entries]
            self._oldest_us = batches[0].at_us
            if self._attempt(partial(self._deliver, batches)) is None:
                return False
            self._delivered += sum(batch.records for batch in batches)
        self.cursor = reading.cursor
        if time.monotonic() >= self._saved_at + SAVE_S:
            self._save()
        return bool(reading.entries) or self._wait(reading.cursor)

    def _wait(self, end: Cursor) -> bool:
        """Wait at the end of the journal, or until it is time to save; return whether there may be more."""
        self._oldest_us = 0
        save_s = max(0.0, self._saved_at + SAVE_S - time.monotonic())
        return self._journal.wait_beyond(end.record, None if end == self._saved else save_s, self._is_interrupted)

    def _is_interrupted(self) -> bool:
        return self._stopped.is_set() or self._reopening.is_set()

    def _deliver(self, batches: list[Batch]) -> bool:
        self._sink.deliver(batches)
        return True

    def _attempt(self, step: Callable[[], _Done]) -> _Done | None:
        """Return the result of a step that may fail temporarily; None if the feed is closed before it succeeds."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                done = step()
            except OSError as exc:
                self._fails(reason(exc))
            except Exception as exc:
                if not self._failure:
                    log.exception("sink %s: internal error", self._name)
                self._fails(f"{type(exc).__name__}: {exc}")
            else:
                if self._failure:
                    log.warning("sink %s: works again; %d records behind", self._name, self.read().lag_records)
                self._failure = ""
                return done
            if self._closing.wait(pause_s):
                return None
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    def _save(self) -> None:
        """Let the sink store what was delivered, then save the cursor."""
        cursor = self.cursor
        if cursor is None or cursor == self._saved:
            return
        self._saved_at = time.monotonic()
        try:
            self._sink.flush()
            beside = self._path.with_suffix(".new")
            beside.write_bytes(encode_cursor(cursor))
            os.replace(beside, self._path)
        except OSError as exc:
            self._fails(reason(exc))
        else:
            self._saved = cursor

    def _fails(self, why: str) -> None:
        self._failures += 1
        if why != self._failure:
            log.error("sink %s: %s", self._name, why)
        self._failure = why

    def _lose(self, records: int, damage: str = "") -> None:
        if records:
            self._lost += records
            why = damage or "they were dropped from the journal before delivery"
            log.error("sink %s: %d records are lost: %s", self._name, records, why)
