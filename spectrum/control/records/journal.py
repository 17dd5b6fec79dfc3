"""The journal: keeps records on disk until all sinks have them, within its bound.

A thread writes, so that a slow or full disk delays nothing else. Unwritten records wait in memory, up to a limit.
Beyond it one record in N is kept and stands for N, which is counted and logged.
"""

import fcntl
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import randrange

from spectrum.control.records.segments import SEGMENTS, Segments
from spectrum.core.records.backlog import Backlog, Queued
from spectrum.core.records.journal import MAX_FRAME_BYTES, Batch
from spectrum.kernel import signals

log = logging.getLogger(__name__)

# What waits for the disk: about 30,000 records of many, and as many bytes of others.
MAX_WAITING_BYTES = 16 * 2**20
# Maximum size of a batch: with its head it fits a frame. Batches of workers have 200 KB at most.
MAX_BATCH_BYTES = MAX_FRAME_BYTES // 2
# Bytes appended with one write.
WRITE_BYTES = MAX_FRAME_BYTES
# Interval of sync: a power failure loses this many seconds of records, a crash of this process those that wait for the
# disk.
SYNC_S = 1.0
# Records that follow a write within this time are appended together: waking the thread costs as much as a write.
LINGER_S = 0.05
RETRY_S = 1.0
# During an upgrade the previous supervisor has the journal until it has ended.
LOCK_RETRY_S = 0.05
LOCK_SILENT_S = 5.0


def reason(exc: OSError) -> str:
    """Return the message of a system error, with its file."""
    why = (exc.strerror or str(exc)).lower()
    return f"{exc.filename}: {why}" if exc.filename else why


class Journal:
    """Stores records, and gives them to readers in other threads.

    Args:
        folder: The folder of its files, which is created.
        max_bytes: Their maximum size.
        clock: Seconds since 1970.

    Attributes:
        appended: Records that were written since the start.
        lost: Records that were not, and for which no others stand.
        failure: Why nothing is written now; "" while all is well.
    """

    def __init__(self, folder: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.appended = self.lost = 0
        self.failure = ""
        self._folder = folder
        self._max_bytes = max_bytes
        self._write_bytes = min(WRITE_BYTES, max_bytes // SEGMENTS)
        self._clock = clock
        self._segments: Segments | None = None
        self._lock_descriptor = -1
        # Guards the following; notified when records wait, or were appended.
        self._changed = threading.Condition()
        self._backlog: Backlog[Batch] = Backlog(MAX_WAITING_BYTES, randrange)
        # What is being written.
        self._taken: list[Queued[Batch]] = []
        # Whether some records stand for others.
        self._samples = False
        self._kept: dict[str, int] = {}
        self._closing = self._ended = False
        # The thread pauses after a write, and is woken early only for a full batch.
        self._lingers = False
        self._overflows = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        with signals.all_held():
            self._thread.start()

    # --- for writers ----------------------------------------------------------------------------------------------

    def add(self, source: str, sequence: int, records: int, lines: bytes, is_of_many: bool = False) -> None:
        """Append records soon.

        Args:
            source: Who made them.
            sequence: The number of the first one there.
            records: How many there are.
            lines: One JSON object for each.
            is_of_many: Where they come too fast some of them may stand for the others.
        """
        batch = Batch(source, sequence, records, int(self._clock() * 1e6), lines)
        with self._changed:
            before = self._backlog.one_in
            fits = len(lines) <= MAX_BATCH_BYTES and not self._closing and (is_of_many or self._has_room(lines))
            if fits:
                self._backlog.add(batch, is_whole=not is_of_many)
                if not self._lingers or self._backlog.size >= self._write_bytes:
                    self._changed.notify_all()
            one_in = self._backlog.one_in
        why = self.failure or "the disk is too slow"
        if one_in > before:
            self._samples = True
            log.warning("journal %s: one record in %d is kept: %s", self._folder, one_in, why)
        if not fits:
            self._lose(records, why)

    def _has_room(self, lines: bytes) -> bool:
        """Whether there is room for records that are never sampled."""
        being_written = sum(len(entry.batch.lines) for entry in self._taken if entry.is_whole)
        return self._backlog.whole_size + being_written + len(lines) <= MAX_WAITING_BYTES

    @property
    def omitted(self) -> int:
        """Records omitted because the buffer was full; others stand for them."""
        return self._backlog.omitted

    def take_kept(self) -> dict[str, int]:
        """Return what was written since the last call: by source, the number after its latest record."""
        with self._changed:
            kept, self._kept = self._kept, {}
        return kept

    def close(self, timeout_s: float) -> None:
        """Accept nothing more, and write what waits, within a time. Readers go on until `release`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def release(self) -> None:
        """Release the files to another process, after this one has ended with them."""
        if not self._thread.is_alive() and self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    # --- for readers, each in a thread of its own -----------------------------------------------------------------

    @property
    def segments(self) -> Segments | None:
        """Its segments; None before it is open."""
        return self._segments

    @property
    def end(self) -> int:
        """The number of the next record; 0 before the journal is open."""
        return self._segments.extent.end.record if self._segments else 0

    @property
    def size(self) -> int:
        """The size of its files in bytes."""
        return self._segments.size if self._segments else 0

    def wait_open(self, stopped: threading.Event) -> Segments | None:
        """Wait until it is open, and return its segments; None if it is closed, or the caller is stopped, before."""
        with self._changed:
            self._changed.wait_for(lambda: self._segments or self._ended or stopped.is_set())
        return self._segments

    def wait_beyond(self, record: int, timeout_s: float | None, interrupted: Callable[[], bool]) -> bool:
        """Wait until there is a record with this number; return whether there is one, or may be later.

        Args:
            record: The number.
            timeout_s: The maximum time.
            interrupted: Ends the wait when it returns True; it is called after `wake`.
        """
        with self._changed:
            self._changed.wait_for(lambda: interrupted() or self._ended or self.end > record, timeout_s)
            return not self._ended or self.end > record

    def wake(self) -> None:
        """Let waiting readers check whether they are interrupted."""
        with self._changed:
            self._changed.notify_all()

    # --- the writing thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        segments = self._open()
        if segments is not None:
            self._keep(segments)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if left := sum(batch.records for batch in self._backlog):
            self._lose(left, "the daemon ends")

    def _open(self) -> Segments | None:
        """Open the files, as soon as that is possible; return None if the journal is closed instead."""
        began = time.monotonic()
        while True:
            try:
                segments = self._try_open()
            except BlockingIOError:
                pause_s = LOCK_RETRY_S
                if time.monotonic() - began >= LOCK_SILENT_S:
                    self._fails("another process has it")
            except OSError as exc:
                pause_s = RETRY_S
                self._fails(reason(exc))
            else:
                with self._changed:
                    self._segments = segments
                    self._changed.notify_all()
                self._works()
                return segments
            if self._waits_for_the_end(pause_s):
                return None

    def _try_open(self) -> Segments:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if self._lock_descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock_descriptor = os.open(self._folder / "lock", flags, 0o640)
        fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Segments(self._folder, self._max_bytes)

    def _keep(self, segments: Segments) -> None:
        """Write batches, until the end."""
        sync_at = math.inf
        while True:
            batches = self._first(sync_at)
            if batches:
                try:
                    segments.append(batches)
                except OSError as exc:
                    self._put_back()
                    self._fails(reason(exc))
                    if self._waits_for_the_end(RETRY_S):
                        break
                    continue
                self._written(batches)
                self._linger()
                sync_at = min(sync_at, time.monotonic() + SYNC_S)
            elif self._closing:
                break
            if time.monotonic() >= sync_at:
                self._sync(segments)
                sync_at = math.inf
        self._sync(segments)
        segments.close()

    def _sync(self, segments: Segments) -> None:
        try:
            segments.sync()
        except OSError as exc:
            self._fails(reason(exc))

    def _first(self, until: float) -> list[Batch]:
        """Return the next batch to write; nothing at the end, and when something else is due."""
        with self._changed:
            timeout_s = None if until == math.inf else max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: self._backlog or self._closing, timeout_s)
            size = 0
            while (batch := self._backlog.first) is not None:
                size += len(batch.lines)
                if self._taken and size > self._write_bytes:
                    break
                self._taken.append(self._backlog.pop())
            return [entry.batch for entry in self._taken]

    def _put_back(self) -> None:
        with self._changed:
            while self._taken:
                self._backlog.put_back(self._taken.pop())

    def _written(self, batches: list[Batch]) -> None:
        with self._changed:
            for batch in batches:
                self.appended += batch.records
                self._kept[batch.source] = batch.sequence + batch.records
            self._taken.clear()
            is_over = self._samples and self._backlog.one_in == 1
            self._samples = self._samples and not is_over
            self._changed.notify_all()
        if is_over:
            log.warning(
                "journal %s: all records are kept again; others stand for %d so far", self._folder, self.omitted
            )
        self._works()

    def _linger(self) -> None:
        with self._changed:
            self._lingers = True
            self._changed.wait_for(lambda: self._backlog.size >= self._write_bytes or self._closing, LINGER_S)
            self._lingers = False

    def _waits_for_the_end(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closing, timeout_s)

    # --- failures -------------------------------------------------------------------------------------------------

    def _fails(self, why: str) -> None:
        if why != self.failure:
            log.error("journal %s: nothing can be written: %s", self._folder, why)
        self.failure = why

    def _works(self) -> None:
        if self.failure or self._overflows:
            log.warning("journal %s: records are written again; %d are lost so far", self._folder, self.lost)
        self.failure, self._overflows = "", False

    def _lose(self, records: int, why: str) -> None:
        self.lost += records
        if not self._overflows:
            log.error("journal %s: records are lost: %s", self._folder, why)
        self._overflows = True
