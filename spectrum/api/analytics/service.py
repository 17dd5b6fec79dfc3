"""Analytics in the API's process: the store with its intake, by the settings of the file."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from spectrum.analytics.store import AnalyticsStore
from spectrum.api.analytics.intake import JournalIntake
from spectrum.api.analytics.tail import JournalClosed
from spectrum.kernel.descriptors import close_all
from spectrum.link.analytics import PATH, JournalQuestion, JournalView
from spectrum.link.api import ApiClient
from spectrum.tasks import Tasks

OFF = "analytics is off: write analytics: true in the file"

# Makes the store of some settings; it is not open yet.
MakeStore = Callable[[Mapping[str, Any]], AnalyticsStore]


class AnalyticsService:
    """Has the store, and its intake.

    Args:
        client: Asks the supervisor for the journal.
        make: Makes a store.
    """

    def __init__(self, client: ApiClient, make: MakeStore) -> None:
        self._client = client
        self._make = make
        self._settings: Mapping[str, Any] | None = None
        self._intake: JournalIntake | None = None
        self._running: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        # The folder is used by one store at a time.
        self._changing = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether the file enables analytics."""
        return self._settings is not None

    @property
    def store(self) -> AnalyticsStore | None:
        """The store; None where analytics is off, or the store is not available now."""
        return self._intake.store if self._intake is not None else None

    @property
    def why(self) -> str:
        """Why there is no store, or why it takes no records; empty otherwise."""
        if self._intake is None:
            return "the store is being opened" if self.is_on else OFF
        return self._intake.why or ("" if self._intake.store is not None else "the store is being opened")

    def configure(self, settings: Mapping[str, Any] | None) -> None:
        """Use new settings; None for no analytics."""
        if settings != self._settings:
            self._settings = settings
            self._tasks.start(self._change(), "change the store of analytics")

    async def stop(self) -> None:
        """Close the store."""
        await self._tasks.stop()
        await self._end()

    async def _change(self) -> None:
        async with self._changing:
            await self._end()
            if (settings := self._settings) is not None:
                self._intake = intake = JournalIntake(lambda: self._make(settings), self._ask)
                self._running = Tasks().start(intake.run(), "take records into analytics")

    async def _end(self) -> None:
        running, self._running, self._intake = self._running, None, None
        if running is not None:
            running.cancel()
            await asyncio.wait((running,))

    async def _ask(self, question: JournalQuestion) -> tuple[JournalView, int]:
        status, body, files = await self._client.ask_files("POST", PATH, body=question)
        if status != 200:
            close_all(files)
            raise JournalClosed(f"the daemon answers with status {status}: {body}")
        return msgspec.convert(body, JournalView), files[0] if files else -1
