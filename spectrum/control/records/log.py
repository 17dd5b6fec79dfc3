"""One line per ended session to standard output, up to a rate.

A thread writes, so that a full pipe blocks nothing else; if it cannot follow, session lines are dropped and counted.
"""

import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from typing import BinaryIO, NamedTuple

import msgspec

from spectrum.core.balancing.events import HealthEvent
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.formats import RecordFormat
from spectrum.core.records.reasons import Reason
from spectrum.kernel import signals

log = logging.getLogger(__name__)

MAX_WAITING_BATCHES = 1024
# Number of seconds whose written lines are counted; and the position of the second in a time such as
# 2026-01-02T03:04:05Z.
MAX_SECONDS = 16
_SECOND = 19
# How long sums of refusals wait for those of other workers.
MAX_SUMS = 4096
# Number of apps whose next line has a count of lines left out. Above it, apps without further lines are forgotten.
MAX_UNTOLD = 1000
# Leaving lines out is over when none was left out for this long.
QUIET_S = 5.0

FULL_PAUSE_S = 0.05
# Lines that follow a write within this time are written together: waking the thread costs more than a write.
LINGER_S = 0.05

_REFUSALS = frozenset(reason.label for reason in Reason if reason.refused)
_RESET = Reason.CLIENT_RESET.label
_SESSION_LIMIT = "sessions come faster than log.sessions_per_second"
_REFUSAL_LIMIT = "refusals come faster than log.sessions_per_second"
_SLOW_READER = "standard output is not read as fast as sessions end"
_SLOW_SUPERVISOR = "workers have more records than the supervisor takes, and sample them (SampledOneIn)"


class LineWriter:
    """Writes byte strings to a stream from a thread of its own.

    Args:
        stream: An unbuffered stream: at the end of the process Python would wait for the lock of a buffer that a thread
            blocks in.

    Attributes:
        lost: Lines that could not be written, as the disk was full or the reader gone.
    """

    def __init__(self, stream: BinaryIO | FileIO) -> None:
        self.lost = 0
        # Whether a part of a line was written before a batch failed.
        self._is_torn = False
        self._stream = stream
        self._closing = threading.Event()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        with signals.all_held():  # Signals are for the main thread, even while it blocks them.
            self._thread.start()

    def write(self, data: bytes) -> bool:
        """Queue whole lines; return False if they were dropped."""
        if self._queue.qsize() >= MAX_WAITING_BATCHES:
            return False
        self._queue.put(data)
        return True

    def _write(self) -> None:
        failing = False
        while (data := self._queue.get()) is not None:
            left, error = self._write_all((b"\n" if self._is_torn else b"") + data)
            if error is None:
                if failing:
                    log.warning("records of sessions are written again; %d are lost so far", self.lost)
                failing = self._is_torn = False
                if self._queue.empty():
                    self._closing.wait(LINGER_S)
                continue
            if len(left) <= len(data):  # Something was written: does it end with a newline?
                self._is_torn = not (b"\n" + data)[: -len(left)].endswith(b"\n")
            self.lost += min(left.count(b"\n"), data.count(b"\n"))
            if not failing:
                log.error("records of sessions cannot be written: %s", os.strerror(error.errno or 0).lower())
            failing = True

    def _write_all(self, data: bytes) -> tuple[bytes, OSError | None]:
        """Write a batch; return the part that could not be written, and why."""
        left = memoryview(data)
        try:
            while left:
                # None: it is non-blocking, as another process that shares it wants, and full.
                if (written := self._stream.write(left)) is None:
                    time.sleep(FULL_PAUSE_S)
                else:
                    left = left[written:]
        except OSError as exc:
            return bytes(left), exc
        return b"", None

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, within `timeout_s`."""
        self._queue.put(None)
        self._closing.set()
        self._thread.join(timeout_s)


class _Head(msgspec.Struct):
    """The fields of a record that decide whether it is written."""

    Reason: str
    Application: str
    Timestamp: str
    OriginIP: str
    Sessions: int = 1
    Clients: int = 0

    @property
    def is_refusal(self) -> bool:
        """Whether the client was refused, or gone before it was accepted."""
        return self.Reason in _REFUSALS or (self.Reason == _RESET and not self.OriginIP)


class _Account(NamedTuple):
    """The key by which records are limited together."""

    app: str
    is_refusal: bool


class _Line(NamedTuple):
    """A line of an app, and the number of lines left out before it that it reports."""

    app: str
    line: bytes
    suppressed: int


@dataclass(slots=True)
class _Episode:
    """A time in which records were left out: how many, and when the last one was (monotonic)."""

    count: int = 0
    last_at: float = 0.0


class SessionLog:
    """Writes ended sessions: of each app at most a number per second, and as many refusals beside them, by the second
    in which sessions ended. Lines left out are counted, logged when that begins and when it is over, and reported by
    the next line of the app. Sums of refusals from workers are added up.

    Args:
        writer: Writes the lines.
        form: The format of a line.
        per_second: The limit; 0 for none.
        suppressed: Called with the number of lines left out.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        writer: LineWriter,
        form: RecordFormat,
        per_second: int,
        suppressed: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._suppressed = suppressed
        self._clock = clock
        self.configure(form, per_second)
        # By second, the number of records written for each account. Records of a worker that waited come late.
        self._used: dict[str, Counter[_Account]] = {}
        self._sums: dict[tuple[str, ...], SessionEvent] = {}
        # By cause and app.
        self._episodes: dict[tuple[str, str], _Episode] = {}
        # By app, the number that its next line reports.
        self._untold: Counter[str] = Counter()
        self._decode = msgspec.json.Decoder(SessionEvent).decode
        self._head = msgspec.json.Decoder(_Head).decode
        self._heads = msgspec.json.Decoder(_Head).decode_lines

    def configure(self, form: RecordFormat, per_second: int) -> None:
        """Use other settings."""
        self._form, self._per_second = form, per_second

    def add(self, lines: bytes, has_sums: bool = True) -> None:
        """Add events, one JSON object per line; if it is known that none is a sum, `has_sums` is False."""
        if self._add_whole(lines, has_sums):
            return
        written: list[_Line] = []
        for line in lines.splitlines():
            head = self._head(line)
            if head.Sessions == 1 and not head.Clients:
                self._take(head, line, written)
            elif (later := self._merge(line)) is not None:
                self._take(head, later, written)
        self._write(written)

    def _add_whole(self, lines: bytes, has_sums: bool) -> bool:
        """Add a batch as a whole, if none of its lines is limited or has a count to report: a line by itself costs 3
        us.
        """
        if self._form.joined is None or (has_sums and b'"Sessions":' in lines):
            return False
        heads = self._heads(lines) if self._per_second or self._untold else []
        if self._untold and any(head.Application in self._untold for head in heads):
            return False
        if self._per_second:
            counts = Counter((_Account(head.Application, head.is_refusal), head.Timestamp[:_SECOND]) for head in heads)
            used = {key: self._used_in(key[1]) for key in counts}
            if any(used[key][key[0]] + count > self._per_second for key, count in counts.items()):
                return False
            for key, count in counts.items():
                used[key][key[0]] += count
        if self._writer.write(self._form.joined(lines)):
            return True
        lost = Counter(head.Application for head in self._heads(lines))
        self._untold += lost
        self._count_lost(_SLOW_READER, "", lost.total())
        return True

    def add_event(self, event: HealthEvent) -> None:
        """Add a change of health; these are few, so the limit does not apply."""
        if not self._writer.write(self._form.line(msgspec.json.encode(event)) + b"\n"):
            self._count_lost(_SLOW_READER, "", 1)

    def lose(self, count: int) -> None:
        """Note records that workers omitted because a buffer was full."""
        if count:
            self._episode(_SLOW_SUPERVISOR, "").count += count

    def leave_out(self, counts: Mapping[str, int]) -> None:
        """Note records that workers left out because of the limit, by app."""
        for app, count in counts.items():
            self._untold[app] += count
            self._count_lost(_SESSION_LIMIT, app, count)

    def tick(self) -> None:
        """Write sums, and log limits that are over; to be called once a second, and at the end."""
        sums, self._sums = self._sums, {}
        written: list[_Line] = []
        for event in sums.values():
            line = msgspec.json.encode(event)
            self._take(self._head(line), line, written)
        self._write(written)
        while len(self._untold) > MAX_UNTOLD:
            del self._untold[next(iter(self._untold))]
        now = self._clock()
        for (what, app), episode in tuple(self._episodes.items()):
            if now - episode.last_at >= QUIET_S:
                del self._episodes[what, app]
                log.warning("%s: over, %d were left out%s", what, episode.count, f" of app {app}" if app else "")

    def _merge(self, line: bytes) -> bytes | None:
        """Keep a sum until the next tick; return it as a line if there are too many."""
        event = self._decode(line)
        key = (event.Application, event.Reason, event.AccessRule, event.ClientIP)
        known = self._sums.get(key)
        if known is None and len(self._sums) >= MAX_SUMS:
            return line
        self._sums[key] = event if known is None else _added(known, event)
        return None

    def _take(self, head: _Head, line: bytes, written: list[_Line]) -> None:
        """Add a line to those that are written, unless its limit is reached."""
        account = _Account(head.Application, head.is_refusal)
        if not self._allows(account, head.Timestamp[:_SECOND]):
            self._untold[account.app] += 1
            self._count_lost(_REFUSAL_LIMIT if account.is_refusal else _SESSION_LIMIT, account.app, 1)
            return
        untold = self._untold.pop(account.app, 0)
        if untold:
            line = line[:-1] + b',"Suppressed":%d}' % untold
        written.append(_Line(account.app, self._form.line(line), untold))

    def _allows(self, account: _Account, second: str) -> bool:
        if not self._per_second:
            return True
        used = self._used_in(second)
        used[account] += 1
        return used[account] <= self._per_second

    def _used_in(self, second: str) -> Counter[_Account]:
        used = self._used.get(second)
        if used is None:
            if len(self._used) >= MAX_SECONDS:
                del self._used[next(iter(self._used))]
            used = self._used[second] = Counter()
        return used

    def _write(self, written: list[_Line]) -> None:
        if written and not self._writer.write(b"".join(one.line + b"\n" for one in written)):
            for one in written:
                self._untold[one.app] += one.suppressed + 1
            self._count_lost(_SLOW_READER, "", len(written))

    def _count_lost(self, what: str, app: str, count: int) -> None:
        self._suppressed(count)
        self._episode(what, app).count += count

    def _episode(self, what: str, app: str) -> _Episode:
        episode = self._episodes.get((what, app))
        if episode is None:
            episode = self._episodes[what, app] = _Episode()
            log.warning("%s: records are left out%s", what, f" of app {app}" if app else "")
        episode.last_at = self._clock()
        return episode


def _added(one: SessionEvent, other: SessionEvent) -> SessionEvent:
    """Add up two sums of the same client, or of the clients that have no sum of their own."""
    one = msgspec.structs.replace(one, Sessions=one.weight + other.weight, SampledOneIn=msgspec.UNSET)
    if one.Clients is msgspec.UNSET or other.Clients is msgspec.UNSET:
        return one
    return msgspec.structs.replace(one, Clients=one.Clients + other.Clients)
