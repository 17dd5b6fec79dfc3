"""The journal: keeps records on disk until all sinks have them, within its bound.

A thread writes, so that a slow or full disk holds up nobody. What it cannot write waits in memory, up to a bound; what
is beyond it is lost, counted and logged.
"""

import fcntl
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from spectrum.control.records.segments import SEGMENTS, Segments
from spectrum.core.records.journal import MAX_FRAME_BYTES, Batch
from spectrum.kernel import signals

log = logging.getLogger(__name__)

# What waits for the disk: about 30,000 records.
MAX_WAITING_BYTES = 16 * 2**20
# With its head it fits a frame. Those of workers have 200 KB at most.
MAX_BATCH_BYTES = MAX_FRAME_BYTES // 2
# Appended with one write.
WRITE_BYTES = MAX_FRAME_BYTES
# A power failure costs the records of so many seconds; a crash of this process those that wait for the disk.
SYNC_S = 1.0
# What comes so soon after a write is appended together with what follows: to wake the thread costs as much as to write.
LINGER_S = 0.05
RETRY_S = 1.0
# In an upgrade the supervisor before this one has the journal until it has ended.
LOCK_RETRY_S = 0.05
LOCK_SILENT_S = 5.0


def reason(exc: OSError) -> str:
    """Return what an error of the system says, and of which file."""
    why = (exc.strerror or str(exc)).lower()
    return f"{exc.filename}: {why}" if exc.filename else why


class Journal:
    """Keeps what it is given, and gives it to readers in other threads.

    Args:
        folder: Where its files are; it is created.
        max_bytes: What they take at most.
        clock: Seconds since 1970.

    Attributes:
        appended: Records that were written since the start.
        lost: Records that were not, for want of room.
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
        # Guards what follows; notified when something waits, or was appended.
        self._changed = threading.Condition()
        self._waiting: deque[Batch] = deque()
        self._waiting_bytes = 0
        self._kept: dict[str, int] = {}
        self._closing = self._ended = False
        # The thread waits a moment after a write, and is woken for a whole one alone.
        self._lingers = False
        self._overflows = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        with signals.all_held():
            self._thread.start()

    # --- for those who write --------------------------------------------------------------------------------------

    def add(self, source: str, sequence: int, records: int, lines: bytes) -> None:
        """Append records soon; `sequence` is the number of the first one at its source."""
        batch = Batch(source, sequence, records, int(self._clock() * 1e6), lines)
        with self._changed:
            fits = len(lines) <= min(MAX_BATCH_BYTES, MAX_WAITING_BYTES - self._waiting_bytes) and not self._closing
            if fits:
                self._waiting.append(batch)
                self._waiting_bytes += len(lines)
                if not self._lingers or self._waiting_bytes >= self._write_bytes:
                    self._changed.notify_all()
        if not fits:
            self._lose(records, self.failure or "the disk is too slow")

    def take_kept(self) -> dict[str, int]:
        """Return what was written since the last call: by source, the number after its latest record."""
        with self._changed:
            kept, self._kept = self._kept, {}
        return kept

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and write what waits, for at most so long. Readers go on; then comes `release`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def release(self) -> None:
        """Let another process have the files, where this one has ended with them."""
        if not self._thread.is_alive() and self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    # --- for those who read, each in a thread of its own ----------------------------------------------------------

    @property
    def segments(self) -> Segments | None:
        """Its files; None before it is open."""
        return self._segments

    @property
    def end(self) -> int:
        """The number of the next record; 0 before the journal is open."""
        return self._segments.extent.end.record if self._segments else 0

    @property
    def size(self) -> int:
        """The bytes that its files take."""
        return self._segments.size if self._segments else 0

    def wait_open(self, stopped: threading.Event) -> Segments | None:
        """Wait until it is open, and return what it has; None where it is closed, or the caller is stopped, before."""
        with self._changed:
            self._changed.wait_for(lambda: self._segments or self._ended or stopped.is_set())
        return self._segments

    def wait_beyond(self, record: int, timeout_s: float | None, interrupted: Callable[[], bool]) -> bool:
        """Wait until there is a record with this number; return whether there is one, or ever may be.

        Args:
            record: The number.
            timeout_s: At most so long.
            interrupted: Or until this returns True, when `wake` is called.
        """
        with self._changed:
            self._changed.wait_for(lambda: interrupted() or self._ended or self.end > record, timeout_s)
            return not self._ended or self.end > record

    def wake(self) -> None:
        """Have those that wait see that they are interrupted."""
        with self._changed:
            self._changed.notify_all()

    # --- the thread that writes -----------------------------------------------------------------------------------

    def _run(self) -> None:
        segments = self._open()
        if segments is not None:
            self._keep(segments)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if left := sum(batch.records for batch in self._waiting):
            self._lose(left, "the daemon ends")

    def _open(self) -> Segments | None:
        """Open the files, as soon as that is possible; return None when this is closed instead."""
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
        """Write what comes, until the end."""
        sync_at = math.inf
        while True:
            batches = self._first(sync_at)
            if batches:
                try:
                    segments.append(batches)
                except OSError as exc:
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
        """Return what is written next; nothing at the end, and when it is time to do something else."""
        with self._changed:
            timeout_s = None if until == math.inf else max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: self._waiting or self._closing, timeout_s)
            first: list[Batch] = []
            size = 0
            for batch in self._waiting:
                size += len(batch.lines)
                if first and size > self._write_bytes:
                    break
                first.append(batch)
            return first

    def _written(self, batches: list[Batch]) -> None:
        with self._changed:
            for batch in batches:
                self._waiting.popleft()
                self._waiting_bytes -= len(batch.lines)
                self.appended += batch.records
                self._kept[batch.source] = batch.sequence + batch.records
            self._changed.notify_all()
        self._works()

    def _linger(self) -> None:
        with self._changed:
            self._lingers = True
            self._changed.wait_for(lambda: self._waiting_bytes >= self._write_bytes or self._closing, LINGER_S)
            self._lingers = False

    def _waits_for_the_end(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closing, timeout_s)

    # --- what goes wrong ------------------------------------------------------------------------------------------

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
