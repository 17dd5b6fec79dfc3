"""Scheduled reports: one per week, as PDF and as JSON, in a folder beside the store of analytics."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from spectrum.api.envelope import ApiError
from spectrum.core.analytics.section import DAYS
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

DAY_S, WEEK_S = 86400.0, 7 * 86400.0
LOOK_EVERY_S = 60.0
# Pause after a failure, such as a store that is still being opened.
RETRY_S = 600.0
_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# Makes the report of a time; arguments: its begin and end.
Make = Callable[[float, float], Awaitable[Mapping[str, Any]]]
Print = Callable[[Mapping[str, Any]], bytes]


def last_due(now: float, day: str, at_s: float) -> float:
    """Return when the last report was due: on this weekday, at some seconds after midnight, in UTC."""
    today = now // DAY_S * DAY_S
    days_since = (datetime.fromtimestamp(now, UTC).weekday() - DAYS.index(day)) % 7
    due = today - days_since * DAY_S + at_s
    return due if due <= now else due - WEEK_S


class WeeklyReports:
    """Writes reports.

    Args:
        make: Makes a report.
        printed: Returns a report as a PDF.
        clock: Returns the time.
    """

    def __init__(self, make: Make, printed: Print, clock: Callable[[], float] = time.time) -> None:
        self._make = make
        self._printed = printed
        self._clock = clock
        self._settings: Mapping[str, Any] | None = None
        self._done = 0.0
        self._next = 0.0

    def configure(self, settings: Mapping[str, Any] | None) -> None:
        """Use new settings of analytics; None for none."""
        self._settings = settings if settings and settings.get("reports") else None
        self._next = 0.0

    @property
    def folder(self) -> Path | None:
        """The folder of reports; None where none are written."""
        return Path(self._settings["folder"]) / "reports" if self._settings else None

    async def run(self) -> None:
        """Write reports when they are due, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Write the report of last week, if it is due and missing."""
        folder, now = self.folder, self._clock()
        if folder is None or self._settings is None or now < self._next:
            return
        wanted = self._settings["reports"]
        due = last_due(now, wanted["day"], wanted["at_s"])
        until = due // DAY_S * DAY_S
        name = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d}"
        if self._done == due or (folder / f"{name}.pdf").exists():
            return
        try:
            report = await self._make(until - WEEK_S, until)
            if report["is_empty"]:
                log.info("no report of the week until %s: there was no data", name)
            else:
                await in_thread(self._write, folder, name, report, wanted["keep"])
                log.info("report of the week until %s: %s", name, report["headline"])
            self._done = due
        except (ApiError, OSError) as exc:
            log.warning("the report of the week until %s cannot be made now: %s", name, exc)
            self._next = now + RETRY_S

    def _write(self, folder: Path, name: str, report: Mapping[str, Any], keep: int) -> None:
        folder.mkdir(mode=0o750, exist_ok=True)
        for ending, data in ((".json", msgspec.json.encode(report)), (".pdf", self._printed(report))):
            fresh = folder / f"{name}{ending}.new"
            fresh.write_bytes(data)
            fresh.replace(folder / f"{name}{ending}")
        for old in names_in(folder)[keep:]:
            for ending in (".json", ".pdf"):
                (folder / f"{old}{ending}").unlink(missing_ok=True)


def names_in(folder: Path) -> list[str]:
    """Return the end dates of the reports in a folder, the latest first."""
    if not folder.is_dir():
        return []
    found = [path.stem for path in folder.glob("*.pdf")]
    return sorted((name for name in found if _NAME.fullmatch(name)), reverse=True)
