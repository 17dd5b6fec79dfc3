"""Analytics in a daemon: the folder of its store, access of the API's process to the journal, status and metrics.

The supervisor does nothing per record: it opens the journal's files for reading and hands the descriptors over.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import Metric

from spectrum.control.analytics.metrics import AnalyticsReadings, analytics_metrics
from spectrum.control.analytics.packet_places import PacketPlaces
from spectrum.control.api.needs import api_user
from spectrum.control.configuration.actor import Actor, Change, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.paths import analytics_folder
from spectrum.control.processes.account import AccountError, have_folder
from spectrum.control.records.stream import RecordStream
from spectrum.control.trouble import Trouble
from spectrum.control.usage import Usage
from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.configuration.config import Config
from spectrum.link.analytics import IntakeReport, JournalQuestion, JournalView
from spectrum.tasks import in_thread

# A change of these settings changes what charts show, and requires another store.
BEHIND_S = 30.0
_COUNTS = ("rows", "repeated", "unreadable", "lost")


class AnalyticsActor(Actor):
    """Owns the store's folder, gives access to the journal, and reports how far the store is behind.

    Args:
        served: What is served.
        records: Has the journal.
        take_packets: Returns the samples of packets since its last call.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        served: Served,
        records: RecordStream,
        take_packets: Callable[[], list[SampledPacket]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._served = served
        self._records = records
        self._take_packets = take_packets
        self._packet_places = PacketPlaces(served)
        self._clock = clock
        self._report = IntakeReport()
        # Totals of earlier intakes, before the one that reports now.
        self._before: Counter[str] = Counter()
        self._failures_before: Counter[str] = Counter()
        self._has_taken = False
        # Whether nothing was left to take, at the last report.
        self._level_at = clock()

    async def prepare(self, change: Change) -> None:
        """Create the folder of the store if it is missing.

        Raises:
            RolloutError: If it cannot be created.
        """
        config = change.after.config
        if config.analytics is None:
            return
        try:
            await in_thread(have_folder, analytics_folder(config), api_user(config), "analytics.store")
        except AccountError as exc:
            raise RolloutError(str(exc)) from exc

    # --- requests of the API's process ----------------------------------------------------------------------------

    def answer(self, body: bytes) -> tuple[JournalView, list[int]]:
        """Answer a request about the journal; the caller closes the descriptor of the segment in the answer.

        Raises:
            ValueError: If the request is malformed.
        """
        asked = _DECODER.decode(body)
        if asked.report.intake != self._report.intake:
            self._add_up()
        self._report = report = asked.report
        self._has_taken |= report.taken_us > 0
        journal = self._records.journal
        if journal is None or report.record >= journal.end:
            self._level_at = self._clock()
        if journal is None:
            return JournalView(why="the daemon has no journal"), []
        segments = journal.segments
        if segments is None:
            return JournalView(why=f"the journal is not open: {journal.failure or 'it is being opened'}"), []
        extent = segments.recovered if asked.begins and not self._has_taken else segments.extent
        files = [] if asked.segment is None else segments.open_segment(asked.segment)
        node = self._served.config.node.name or socket.gethostname()
        return JournalView(extent=extent, node=node, packets=self._packet_places.told(self._take_packets())), files

    def _add_up(self) -> None:
        """Add the counts of the previous intake to the totals."""
        for name in _COUNTS:
            self._before[name] += getattr(self._report, name)
        self._failures_before += Counter(self._report.failures)

    async def close(self) -> None:
        """Close the databases of places."""
        self._packet_places.close()

    # --- status and metrics ---------------------------------------------------------------------------------------

    def read(self) -> AnalyticsReadings:
        """Return the current readings of the store."""
        report, journal = self._report, self._records.journal
        counts = {name: self._before[name] + getattr(report, name) for name in _COUNTS}
        lag = max(0, journal.end - report.record) if journal is not None and report.record >= 0 else 0
        return AnalyticsReadings(
            **counts,
            failures=dict(self._failures_before + Counter(report.failures)),
            failure=report.failure,
            lag_records=lag,
            lag_s=max(0.0, self._clock() - max(self._level_at, report.taken_us / 1e6)) if lag else 0.0,
            size=report.size,
        )

    async def status(self) -> Mapping[str, Any]:
        """Return where the store is, and its lag."""
        section = self._served.config.analytics
        if section is None:
            return {}
        found = self.read()
        return {
            "analytics": {
                "store": section.clickhouse.url if section.clickhouse else str(self._folder()),
                "bytes": found.size,
                "max_bytes": None if section.clickhouse else section.max_bytes,
                "rows": found.rows,
                "lag_records": found.lag_records,
                "lag_s": round(found.lag_s, 1),
                "lost": found.lost,
                "failure": found.failure or None,
            }
        }

    def troubles(self) -> Iterable[Trouble]:
        """Report that intake has stopped, or that the records being taken are old."""
        if self._served.config.analytics is None:
            return
        found = self.read()
        if found.failure or found.lag_s >= BEHIND_S:
            facts = {"lag_s": round(found.lag_s, 1), "records": found.lag_records, "why": found.failure}
            yield Trouble("analytics_failing" if found.failure else "analytics_behind", "degraded", facts=facts)

    async def metrics(self) -> Iterable[Metric]:
        """Return the metrics of the store."""
        return analytics_metrics(self.read()) if self._served.config.analytics is not None else ()

    async def usage(self) -> Iterable[Usage]:
        """Return the fill level of the store; at its limit the oldest records are deleted."""
        section = self._served.config.analytics
        if section is None or section.clickhouse is not None:
            return ()
        return (Usage("analytics_bytes", "node", self._report.size, section.max_bytes, "analytics.max_bytes"),)

    def _folder(self) -> Path:
        return analytics_folder(self._served.config)


_DECODER = msgspec.json.Decoder(JournalQuestion)


def store_settings(config: Config) -> dict[str, Any] | None:
    """Return the settings of the store for the API's process; None if analytics is off."""
    section = config.analytics
    if section is None:
        return None
    return {
        "folder": str(analytics_folder(config)),
        "max_bytes": section.max_bytes,
        "events_s": section.keep.events_s,
        "reports": section.reports.model_dump() if section.reports else None,
        "minutes_s": section.keep.minutes_s,
        "memory": section.memory,
        "threads": section.threads,
        "clickhouse": section.clickhouse.model_dump() if section.clickhouse else None,
    }
