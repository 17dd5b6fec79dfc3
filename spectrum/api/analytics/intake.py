"""The intake of analytics: takes records from the journal into the store, each exactly once.

The journal delivers each record at least once. The store saves, in the same transaction as the rows, the place in the
journal and the next sequence number of each source, so that repeated records are skipped, whichever process was killed
when. All blocking calls run in one thread of low priority, behind questions and workers.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from spectrum.analytics.store import STORED_TOGETHER, AnalyticsError, AnalyticsStore, PacketSample
from spectrum.api.analytics.retention_clock import RetentionClock
from spectrum.api.analytics.tail import JournalClosed, JournalTail
from spectrum.core.analytics.packet_rows import packet_row
from spectrum.core.records.journal import Entry
from spectrum.kernel import signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.scheduling import give_way
from spectrum.link.analytics import IntakeReport, JournalQuestion, JournalView
from spectrum.link.api import LinkLost
from spectrum.tasks import in_thread_of

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")

# Records that arrive within this time are taken together; in the longer one, if they are enough for the store to write
# them as a whole part of its table, which costs less (`STORED_TOGETHER`).
GATHER_S = 1.0
LONG_GATHER_S = 3.0
# So that a slightly lower rate than before suffices.
_RESERVE = 1.1
TIDY_S = 10.0
TELL_DROPPED_S = 3600.0
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
# Attempts to write, before the store is reopened.
REOPEN_AFTER = 3
# Added to the nice value of the process (5, `api/main.py`), for that thread and threads of the store: workers on the
# same processors have priority.
NICENESS = 5

# Asks the supervisor; the descriptor is -1 where there is none.
AskSupervisor = Callable[[JournalQuestion], Awaitable[tuple[JournalView, int]]]


def gather_s(records: int, within_s: float) -> float:
    """Return how long records are gathered, in seconds, if so many arrived within the time before."""
    rate = records / max(within_s, GATHER_S)
    if rate * LONG_GATHER_S < STORED_TOGETHER * _RESERVE:
        return GATHER_S
    return STORED_TOGETHER * _RESERVE / rate


class JournalIntake:
    """Keeps a store up to date with the journal.

    Args:
        make: Makes the store.
        ask: Asks the supervisor.

    Attributes:
        store: The store; None while it is not available.
        why: Why it is not available, or takes no records; empty otherwise.
    """

    def __init__(self, make: Callable[[], AnalyticsStore], ask: AskSupervisor) -> None:
        self.store: AnalyticsStore | None = None
        self.why = ""
        self._make = make
        self._ask_supervisor = ask
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="analytics", initializer=_begin_thread)
        self._tail = JournalTail(self._ask, self._run, self._lose)
        self._rows = self._repeated = self._unreadable = self._lost = 0
        # Records lost since the intake was last at the end of the journal.
        self._losing = 0
        self._failures: Counter[str] = Counter()
        self._is_begun = False
        self._began_ns = time.time_ns()
        self._taken_us = self._size = 0
        self._looked_at = -GATHER_S
        self._tidied_at = -TIDY_S
        self._retention = RetentionClock()
        # Rows that were dropped since the log last told of them, and when it did.
        self._dropped, self._told_at = 0, -TELL_DROPPED_S

    async def run(self) -> None:
        """Take records until cancelled."""
        try:
            while True:
                store = await self._open()
                while await self._step(store):
                    pass
                await self._close()
        finally:
            await self._close()
            self._tail.close()
            self._thread.shutdown(wait=False)

    async def _open(self) -> AnalyticsStore:
        store = await self._attempt(self._opened)
        self.store = store
        progress = await self._attempt(partial(self._run, store.progress))
        await self._attempt(partial(self._tail.begin, progress.cursor))
        self._is_begun = True
        return store

    async def _opened(self) -> AnalyticsStore:
        store = self._make()
        try:
            await self._run(store.open)
        except asyncio.CancelledError:
            await self._run(store.close)  # it was opened to the end, and nobody else has it
            raise
        return store

    async def _close(self) -> None:
        store, self.store = self.store, None
        if store is not None:
            await self._run(store.close)

    async def _step(self, store: AnalyticsStore) -> bool:
        """Take the next records; return False if the store must be reopened."""
        entries = await self._attempt(self._tail.more)
        records, now = sum(entry.batch.records for entry in entries), time.monotonic()
        pause_s = gather_s(records, now - self._looked_at)
        self._looked_at = now
        if entries and not await self._take(store, entries):
            return False
        if not entries:
            self._caught_up()
        if time.monotonic() >= self._tidied_at + TIDY_S:
            await self._tidy(store)
        if not (entries and self._tail.is_behind):
            await self._gather(pause_s)
        return True

    async def _gather(self, pause_s: float) -> None:
        """Let records arrive."""
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, GATHER_S))
            await self._attempt(self._tail.keep_up)

    async def _take(self, store: AnalyticsStore, entries: list[Entry]) -> bool:
        """Take batches, or some of them; return False if the store takes none and must be reopened."""
        for attempt in range(REOPEN_AFTER):
            if attempt:
                await self._pause(attempt)
            try:
                await self._write(store, entries)
            except AnalyticsError as exc:
                self._fails(exc.reason, str(exc))
            except Exception as exc:
                self._faults(exc)
                if len(entries) > 1:
                    entries = entries[: len(entries) // 2]
                elif attempt:
                    await self._pass_over(store, entries[0])
                    return True
            else:
                return True
        return False

    async def _write(self, store: AnalyticsStore, entries: Sequence[Entry]) -> None:
        cursor = entries[-1].end
        taken = await self._run(partial(store.take, [entry.batch for entry in entries], cursor))
        self._rows += taken.rows
        self._repeated += taken.repeated
        self._unreadable += taken.unreadable
        self._taken_us = entries[-1].batch.at_us
        self._tail.cursor = cursor
        self._works()

    async def _pass_over(self, store: AnalyticsStore, entry: Entry) -> None:
        """Skip records that cannot be taken because of an internal error."""
        batch = entry.batch
        log.error("analytics: %d records of %s from %d on are skipped", batch.records, batch.source, batch.sequence)
        await self._attempt(partial(self._run, partial(store.take, (), entry.end)))
        self._lost += batch.records
        self._tail.cursor = entry.end

    async def _tidy(self, store: AnalyticsStore) -> None:
        try:
            now = self._retention.time(time.time(), time.monotonic())
            tidied = await self._run(partial(store.tidy, now))
        except AnalyticsError as exc:
            self._fails(exc.reason, str(exc))
        except Exception as exc:
            self._faults(exc)
        else:
            self._size = tidied.size
            self._tell_dropped(tidied.dropped)
            self._works()
            if tidied.more:
                return
        self._tidied_at = time.monotonic()

    def _tell_dropped(self, rows: int) -> None:
        """Log, at most once per hour, how many rows were dropped because of age or size."""
        self._dropped += rows
        if self._dropped and time.monotonic() >= self._told_at + TELL_DROPPED_S:
            log.info("analytics: %d rows were dropped because of their age, or the size of the store", self._dropped)
            self._dropped, self._told_at = 0, time.monotonic()

    # --- failures -------------------------------------------------------------------------------------------------

    async def _attempt(self, step: Callable[[], Awaitable[_Done]]) -> _Done:
        """Run a step that may fail temporarily; return its result."""
        for failed in itertools.count(1):
            try:
                return await step()
            except AnalyticsError as exc:
                self._fails(exc.reason, str(exc))
            except JournalClosed as exc:
                self._fails("journal", str(exc))
            except LinkLost as exc:
                self._fails("supervisor", str(exc))
            except OSError as exc:
                where = f"{exc.filename}: " if exc.filename else ""
                self._fails("journal", where + (exc.strerror or str(exc)).lower())
            except Exception as exc:
                self._faults(exc)
            await self._pause(failed)
        raise AssertionError("it counts without end")

    async def _pause(self, failed: int) -> None:
        """Wait after a number of failures in a row; the supervisor is told."""
        with suppress(JournalClosed, LinkLost, OSError):
            _, file = await self._ask_supervisor(JournalQuestion(report=self._report()))
            close_all([file] if file >= 0 else [])
        await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** (failed - 1), MAX_PAUSE_S))

    def _fails(self, reason: str, why: str) -> None:
        self._failures[reason] += 1
        if why != self.why:
            log.error("analytics: %s", why)
        self.why = why

    def _faults(self, exc: Exception) -> None:
        why = f"internal error, its traceback is in the log: {type(exc).__name__}: {exc}"
        if why != self.why:
            log.error("analytics: internal error", exc_info=exc)
        self._failures["fault"] += 1
        self.why = why

    def _works(self) -> None:
        if self.why:
            behind = max(0, self._tail.extent.end.record - self._tail.cursor.record)
            log.warning("analytics: records are taken again; %d are waiting", behind)
        self.why = ""

    def _lose(self, records: int, damage: str) -> None:
        if not records:
            return
        if not self._losing or damage:
            why = damage or "they were dropped from the journal before intake"
            log.error("analytics: %d records are lost: %s", records, why)
        self._lost += records
        self._losing += records

    def _caught_up(self) -> None:
        if self._losing:
            log.warning("analytics: at the end of the journal again; %d records were lost", self._losing)
        self._losing = 0

    # --- the supervisor -------------------------------------------------------------------------------------------

    async def _ask(self, begins: bool, segment: int | None) -> tuple[JournalView, int]:
        view, file = await self._ask_supervisor(JournalQuestion(report=self._report(), begins=begins, segment=segment))
        if view.packets and self.store is not None:
            await self._take_packets(self.store, view)
        return view, file

    async def _take_packets(self, store: AnalyticsStore, view: JournalView) -> None:
        """Take samples, which are not stored anywhere else: samples that cannot be taken are lost."""
        rows = [PacketSample(row) for packet in view.packets if (row := packet_row(packet, view.node)) is not None]
        try:
            await self._run(partial(store.take_packets, rows))
        except AnalyticsError as exc:
            self._fails(exc.reason, str(exc))
        except Exception as exc:
            self._faults(exc)

    def _report(self) -> IntakeReport:
        return IntakeReport(
            intake=self._began_ns,
            rows=self._rows,
            repeated=self._repeated,
            unreadable=self._unreadable,
            lost=self._lost,
            failures=dict(self._failures),
            failure=self.why,
            record=self._tail.cursor.record if self._is_begun else -1,
            taken_us=self._taken_us,
            size=self._size,
        )

    async def _run(self, step: Callable[[], _Done]) -> _Done:
        return await in_thread_of(self._thread, step)


def _begin_thread() -> None:
    signals.hold_all()  # signals belong to the main thread
    give_way(NICENESS)
