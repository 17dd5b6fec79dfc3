"""One line per ended session to standard output, up to a rate.

A thread writes, so that a full pipe holds up nobody; when it can not follow, session lines are dropped and counted.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from spectrum.core.balancing.events import HealthEvent
from spectrum.core.balancing.events import as_text as health_text
from spectrum.core.events import SessionEvent, as_text

log = logging.getLogger(__name__)

MAX_WAITING_BATCHES = 1024


class LineWriter:
    """Writes byte strings to a stream from a thread of its own.

    Attributes:
        lost: Lines that could not be written: the disk is full, or the reader is gone.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.lost = 0
        self._stream = stream
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> bool:
        """Queue whole lines; return False where they were dropped."""
        try:
            self._queue.put_nowait(data)
        except queue.Full:
            return False
        return True

    def _write(self) -> None:
        failing = False
        while (data := self._queue.get()) is not None:
            try:
                self._stream.write(data)
                self._stream.flush()
            except OSError as exc:
                self.lost += data.count(b"\n")
                if not failing:
                    log.error("records of sessions can not be written: %s", os.strerror(exc.errno or 0).lower())
                failing = True
            else:
                if failing:
                    log.warning("records of sessions are written again; %d are lost so far", self.lost)
                failing = False

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, for as long as `timeout_s`."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)


class SessionLog:
    """Writes ended sessions, at most so many a second; what is left out is counted and said.

    Args:
        writer: Takes the lines.
        as_json: JSON as the workers encoded it, or text.
        per_second: The limit; 0 for none.
        suppressed: Called with the number of lines left out.
    """

    def __init__(
        self,
        writer: LineWriter,
        as_json: bool,
        per_second: int,
        suppressed: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._as_json = as_json
        self._per_second = per_second
        self._suppressed = suppressed
        self._clock = clock
        self._second = 0
        self._used = 0
        self._decode = msgspec.json.Decoder(SessionEvent).decode

    def add(self, count: int, lines: bytes) -> None:
        """Write `count` events, one JSON object per line."""
        allowed = self._allowance(count)
        if allowed < count:
            self._suppressed(count - allowed)
            lines = b"\n".join(lines.split(b"\n", allowed)[:allowed]) + b"\n" if allowed else b""
        if not lines:
            return
        if not self._as_json:
            lines = b"".join(as_text(self._decode(line)).encode() + b"\n" for line in lines.splitlines())
        if not self._writer.write(lines):
            self._suppressed(allowed)

    def add_event(self, event: HealthEvent) -> None:
        """Write a change of health; there are few of them, so none is left out for the limit."""
        if self._as_json:
            line = msgspec.json.encode(event)
        else:
            line = f"{event.Timestamp:%Y-%m-%dT%H:%M:%S.%f}Z {event.Event} {health_text(event)}".encode()
        if not self._writer.write(line + b"\n"):
            self._suppressed(1)

    def _allowance(self, count: int) -> int:
        if not self._per_second:
            return count
        second = int(self._clock())
        if second != self._second:
            self._second, self._used = second, 0
        allowed = min(count, self._per_second - self._used)
        self._used += allowed
        return allowed
