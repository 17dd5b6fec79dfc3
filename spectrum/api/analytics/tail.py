"""The end of the journal, read by the API's process from descriptors that the supervisor passes.

A segment is read with `pread` to its end; only then, and once per second, the supervisor is asked.
"""

import os
import time
from collections.abc import Awaitable, Callable

from spectrum.analytics.store import STORED_TOGETHER
from spectrum.core.records.journal import MAX_FRAME_BYTES, Cursor, Entry, Extent, Stop, following, read_frames, resume
from spectrum.link.analytics import JournalView

READ_BYTES = 2 * MAX_FRAME_BYTES
# Batches that are taken together have about as many records as the store writes best at once, and at most these bytes.
TAKE_BYTES = 16 * READ_BYTES
ASK_S = 1.0

# Asks for the state of the journal; arguments: whether this is the first question, and the segment of which a
# descriptor is needed. The descriptor is -1 where there is none.
AskJournal = Callable[[bool, int | None], Awaitable[tuple[JournalView, int]]]
Run = Callable[[Callable[[], list[Entry]]], Awaitable[list[Entry]]]


class JournalClosed(Exception):
    """There is no journal to read yet; the message has the cause."""


class JournalTail:
    """Reads the journal from a cursor on.

    Args:
        ask: Asks the supervisor.
        run: Runs functions that read files, in a thread.
        records: The number of records that `more` returns at a time, and up to a batch more.
        lose: Called with the number of lost records, and the cause if they are damaged.

    Attributes:
        cursor: The place of the next record; moved by the caller after records were taken.
        extent: The state of the journal at the last question.
    """

    def __init__(
        self, ask: AskJournal, run: Run, lose: Callable[[int, str], None], records: int = STORED_TOGETHER
    ) -> None:
        self._ask = ask
        self._run = run
        self._lose = lose
        self._records = records
        self._file = -1
        self._stop = Stop.END
        self._is_full = False
        self._asked_at = 0.0
        self.cursor = Cursor(0, 0, 0)
        self.extent = Extent((0,), self.cursor)

    async def begin(self, cursor: Cursor | None) -> None:
        """Continue at a cursor; None for the oldest record.

        Raises:
            JournalClosed: If there is no journal yet.
        """
        await self._look(begins=True)
        self.cursor, lost = resume(cursor, self.extent)
        self._lose(lost, "")

    async def more(self) -> list[Entry]:
        """Return the batches that follow the cursor; none at the end of the journal.

        Raises:
            JournalClosed: If there is no journal.
            OSError: If it cannot be read.
        """
        await self.keep_up()
        while True:
            if entries := await self._run(self._read):
                return entries
            # Records appended between the last read and the answer are not a gap.
            await self._look(wants_file=True)
            if entries := await self._run(self._read):
                return entries
            if self.cursor.record >= self.extent.end.record:
                return []
            self._skip()

    async def keep_up(self) -> None:
        """Ask for the state of the journal, and report the intake's, if a second has passed since the last time.

        Raises:
            JournalClosed: If there is no journal.
        """
        if time.monotonic() >= self._asked_at + ASK_S:
            await self._look()

    @property
    def is_behind(self) -> bool:
        """Whether the journal has more than the last call returned."""
        return self._is_full or self.cursor.segment != self.extent.segments[-1]

    def close(self) -> None:
        """Close the file."""
        self._use(-1)

    def _read(self) -> list[Entry]:
        if self._file < 0:
            self._stop = Stop.END
            return []
        taken: list[Entry] = []
        place, begin = self.cursor, self.cursor
        self._is_full = True
        while self._is_full and place.offset - begin.offset < TAKE_BYTES:
            data = os.pread(self._file, READ_BYTES, place.offset)
            entries, self._stop = read_frames(data, place)
            for entry in entries:
                taken.append(entry)
                place = entry.end
                if place.record - begin.record >= self._records:
                    return taken
            self._is_full = len(data) == READ_BYTES and bool(entries)
        return taken

    async def _look(self, begins: bool = False, wants_file: bool = False) -> None:
        self._asked_at = time.monotonic()
        view, file = await self._ask(begins, self.cursor.segment if wants_file else None)
        if wants_file:
            self._use(file)
        if view.extent is None:
            raise JournalClosed(view.why or "the journal is not open")
        self.extent = view.extent

    def _skip(self) -> None:
        """Continue behind a segment's end, a dropped segment, or damage."""
        at = self.cursor
        self.cursor, lost = following(at, self.extent)
        self._use(-1)
        damage = f"segment {at.segment} is damaged at byte {at.offset}" if self._stop is Stop.DAMAGED else ""
        self._lose(lost, damage)

    def _use(self, file: int) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = file
