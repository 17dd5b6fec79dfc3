"""The stream of records: from workers, and from this process, to the log and to the journal.

Log lines are written at once, at a limited rate, and need no disk. The journal keeps records for its sinks, each of
which gets them at least once. Neither waits for the other, and nothing on the loop waits for either.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import Metric

from spectrum import __version__
from spectrum.control.configuration.actor import Actor, Change, Jobs
from spectrum.control.records.feed import Feed, FeedReading
from spectrum.control.records.journal import Journal
from spectrum.control.records.log import LineWriter, SessionLog
from spectrum.control.records.metrics import record_metrics
from spectrum.control.records.places import journal_of
from spectrum.control.records.sinks import make_sink
from spectrum.control.records.totals import Totals
from spectrum.control.trouble import Trouble
from spectrum.control.usage import Usage
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.events import Occasion, configuration_event
from spectrum.core.ddos.attack_records import AttackRecord
from spectrum.core.records.formats import RecordFormat
from spectrum.core.records.objects import JournalSection, SinkSection
from spectrum.kernel import signals
from spectrum.link.takeover import Events
from spectrum.log import FORMAT_VARIABLE, LEVEL_VARIABLE, configure_logging

log = logging.getLogger(__name__)

# How long records that wait for a disk are written at the end.
CLOSE_S = 5.0
# How long lines that wait for a slow disk are written when a successor takes over.
LEAVE_S = 30.0
# How long sums of refusals from workers are added up.
TICK_S = 1.0


@dataclass(frozen=True)
class JournalReading:
    """What the journal is like; `appended`, `lost` and `omitted` are records since the start.

    For those that are omitted others stand, which are kept.
    """

    path: str
    size: int
    max_bytes: int
    appended: int
    lost: int
    failure: str
    omitted: int = 0


@dataclass(frozen=True)
class RecordReadings:
    """The readings of all records.

    Attributes:
        lines_suppressed: Lines that the log left out, because of its limit or of a slow reader.
        lines_lost: Lines that could not be written.
        journal: None if the file has none.
        feeds: One for each sink.
    """

    lines_suppressed: int = 0
    lines_lost: int = 0
    journal: JournalReading | None = None
    feeds: tuple[FeedReading, ...] = ()


class KeptRecords:
    """The journal and its sinks.

    Args:
        section: The journal's section.
        node: The name of this machine in ids of records.

    Attributes:
        journal: The journal.
    """

    def __init__(self, section: JournalSection, node: str) -> None:
        self._section = section
        self._node = node
        self._folder = Path(section.path)
        self.journal = Journal(self._folder, section.max_bytes)
        self._sinks: dict[str, SinkSection] = {}
        self._feeds: dict[str, Feed] = {}
        # Feeds that were stopped, and may not have ended yet, by name.
        self._stopped: dict[str, Feed] = {}

    def configure(self, sinks: Mapping[str, SinkSection]) -> None:
        """Use other sinks; unchanged ones are left alone, changed ones go on at their cursor."""
        for name in [name for name, sink in self._sinks.items() if sinks.get(name) != sink]:
            self._stopped[name] = self._feeds.pop(name)
            self._stopped[name].stop()
        for name, sink in sinks.items():
            if name not in self._feeds:
                self._feeds[name] = Feed(
                    name, make_sink(sink, self._node), self.journal, self._folder, self._stopped.get(name)
                )
        self._sinks = dict(sinks)

    def add(self, source: str, first: int, count: int, lines: bytes, is_of_many: bool = False) -> None:
        """Keep records; `source` is who made them on this machine. Of many, some may stand for the others."""
        self.journal.add(f"{self._node}/{source}", first, count, lines, is_of_many)

    def take_kept(self) -> dict[str, int]:
        """Return what the journal wrote since the last call: by source, the number after its latest record."""
        return {source.removeprefix(f"{self._node}/"): end for source, end in self.journal.take_kept().items()}

    def reopen(self) -> None:
        """Let all sinks reopen their files and connections."""
        for feed in self._feeds.values():
            feed.reopen()

    def read(self) -> tuple[JournalReading, tuple[FeedReading, ...]]:
        """Return the readings."""
        journal, section = self.journal, self._section
        reading = JournalReading(
            section.path,
            journal.size,
            section.max_bytes,
            journal.appended,
            journal.lost,
            journal.failure,
            journal.omitted,
        )
        return reading, tuple(feed.read() for feed in self._feeds.values())

    def close(self, timeout_s: float) -> None:
        """Write what waits, deliver it to the sinks, and release the files to the next process, within a time."""
        deadline = time.monotonic() + timeout_s
        self.journal.close(timeout_s)
        feeds = [*self._feeds.values(), *self._stopped.values()]
        ended = [feed.close(max(0.0, deadline - time.monotonic())) for feed in feeds]
        if all(ended):
            self.journal.release()


def record_folders(config: Config) -> list[Path]:
    """Return the folders that records are written to."""
    journal = journal_of(config)
    sinks = [Path(sink.path).parent for sink in config.records.sinks.values() if sink.path is not None]
    return [Path(journal.path), *sinks] if journal is not None else []


class RecordStream:
    """Takes records, and passes them to the log and to the journal.

    Args:
        config: The configuration at the start.
        writer: Writes the lines of the log; owned from here on.
    """

    def __init__(self, config: Config, writer: LineWriter) -> None:
        self._writer = writer
        self._lines_suppressed = 0
        self._records_lost = 0
        self._has_log = config.log.sessions
        self._has_analytics = config.analytics is not None
        self._log = SessionLog(writer, *_settings(config), self._suppress)
        self._kept: KeptRecords | None = None
        # Analytics needs it: the file names none.
        self._is_for_analytics = False
        # Number of records of this process; and of workers of versions that did not number theirs.
        self._source = f"supervisor/{time.time_ns() // 1000:x}"
        self._next = 1
        if (journal := journal_of(config)) is not None:
            self._keep(journal, config)

    @property
    def journal(self) -> Journal | None:
        """The journal; None if nothing needs one."""
        return self._kept.journal if self._kept is not None else None

    def configure(self, config: Config) -> None:
        """Use the settings that a reload changes."""
        self._has_log = config.log.sessions
        self._has_analytics = config.analytics is not None
        self._log.configure(*_settings(config))
        journal = journal_of(config)
        if self._kept is not None and self._is_for_analytics and journal is None:
            self._leave(self._kept)
        if self._kept is not None:
            self._kept.configure(config.records.sinks)
        elif journal is not None and config.records.journal is None:
            self._keep(journal, config)

    def _keep(self, journal: JournalSection, config: Config) -> None:
        self._kept = KeptRecords(journal, config.node.name or socket.gethostname())
        self._kept.configure(config.records.sinks)
        self._is_for_analytics = config.records.journal is None

    def _leave(self, kept: KeptRecords) -> None:
        """Stop keeping records; a thread writes what waits for the disk."""
        self._kept = None
        with signals.all_held():
            threading.Thread(target=kept.close, args=(CLOSE_S,), name="leave the journal", daemon=True).start()

    def _suppress(self, lines: int) -> None:
        self._lines_suppressed += lines

    def add(self, events: Events) -> None:
        """Take records of a worker."""
        if self._has_log and not events.again:
            self._log.add(events.lines, events.has_sums)
        if self._kept is None:
            return
        if events.source:
            self._kept.add(events.source, events.first, events.count, events.lines, is_of_many=True)
        else:
            self._keep_own(self._kept, events.count, events.lines)

    def add_health(self, event: HealthEvent) -> None:
        """Take a change of health."""
        if self._has_log:
            self._log.add_event(event)
        if self._kept is not None:
            self._keep_own(self._kept, 1, msgspec.json.encode(event) + b"\n")

    def add_configuration(self, occasion: Occasion, revision: int, author: str, changes: Sequence[str]) -> None:
        """Take a change of the configuration: a record for analytics. The log has it as messages."""
        if self._kept is not None and self._has_analytics:
            event = configuration_event(occasion, datetime.now(UTC), revision, author, changes)
            self._keep_own(self._kept, 1, msgspec.json.encode(event) + b"\n")

    def add_attacks(self, records: Sequence[AttackRecord]) -> None:
        """Take events of attacks. The log has them as messages."""
        if self._kept is not None and records:
            self._keep_own(self._kept, len(records), b"".join(msgspec.json.encode(one) + b"\n" for one in records))

    def _keep_own(self, kept: KeptRecords, count: int, lines: bytes) -> None:
        kept.add(self._source, self._next, count, lines)
        self._next += count

    def tick(self, dropped: int, left_out: Mapping[str, int]) -> None:
        """Write sums; to be called once a second.

        Args:
            dropped: How many records workers have dropped so far.
            left_out: By app, how many they have left out since the last call because of the log's limit.
        """
        self._log.leave_out(left_out)
        self._log.lose(dropped - self._records_lost)
        self._records_lost = dropped
        self._log.tick()

    def take_kept(self) -> dict[str, int]:
        """Return which records workers may forget: by source, the number of the first one that is not journaled."""
        return self._kept.take_kept() if self._kept is not None else {}

    def reopen(self) -> None:
        """Let all sinks reopen their files and connections, as after a rotation."""
        log.info("files and connections of sinks are reopened")
        if self._kept is not None:
            self._kept.reopen()

    def read(self) -> RecordReadings:
        """Return the readings."""
        journal, feeds = self._kept.read() if self._kept is not None else (None, ())
        return RecordReadings(self._lines_suppressed, self._writer.lost, journal, feeds)

    def close(self, log_s: float = 2.0) -> None:
        """Write what waits; `CLOSE_S` is the limit for the journal and its sinks, the argument that for the log."""
        self._log.tick()
        self._writer.close(log_s)
        if self._kept is not None:
            self._kept.close(CLOSE_S)


class RecordsActor(Actor):
    """Applies the settings of records, and those of the daemon's own messages.

    Args:
        records: Takes records.
        totals: Have the number of records that workers dropped.
        tell_kept: Tells workers which of their records are journaled.
    """

    def __init__(self, records: RecordStream, totals: Totals, tell_kept: Callable[[Mapping[str, int]], None]) -> None:
        self._records = records
        self._totals = totals
        self._tell_kept = tell_kept

    def jobs(self) -> Jobs:
        """Write sums."""
        return {"sum refusals": self._tick}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._records.tick(self._totals.workers.events_dropped, self._totals.take_left_out())
            self._tell_kept(self._records.take_kept())

    async def status(self) -> Mapping[str, Any]:
        """Return the journal and its sinks."""
        return {"records": records_status(self._records.read())}

    def troubles(self) -> Iterable[Trouble]:
        """Report lost records, and sinks that fail."""
        readings = self._records.read()
        parts = [("the log", "", readings.lines_lost, 0, "")]
        if (journal := readings.journal) is not None:
            parts += [("the journal", "", journal.lost, 0, journal.failure)]
            parts += [("sink", feed.name, feed.lost, feed.lag_records, feed.failure) for feed in readings.feeds]
        for part, name, lost, behind, failure in parts:
            if lost or failure:
                facts = {"part": part, "name": name, "lost": lost, "behind": behind, "why": failure}
                yield Trouble("records_lost" if lost else "records_wait", "degraded", facts=facts)

    async def metrics(self) -> Iterable[Metric]:
        """Return the metrics of the journal, its sinks and the log."""
        return record_metrics(self._records.read())

    async def usage(self) -> Iterable[Usage]:
        """Return how full the journal is: at its limit the oldest records are dropped."""
        if (journal := self._records.read().journal) is None:
            return ()
        return (Usage("journal_bytes", "node", journal.size, journal.max_bytes, "records.journal.max_bytes"),)

    def leave(self) -> None:
        """Write what waits, even for a slow disk."""
        self._records.close(LEAVE_S)

    async def close(self) -> None:
        """Write what waits."""
        self._records.close()

    async def commit(self, change: Change) -> None:
        """Apply the new settings."""
        self._take(change.before.config, change.after.config)

    async def abort(self, change: Change) -> None:
        """Apply the former settings."""
        self._take(change.after.config, change.before.config)

    def _take(self, former: Config, config: Config) -> None:
        if config.log.format != former.log.format:
            os.environ[FORMAT_VARIABLE] = config.log.format  # Of workers from now on.
            configure_logging(config.log.format == "json", os.environ.get(LEVEL_VARIABLE, "INFO"))
        self._records.configure(config)


def _settings(config: Config) -> tuple[RecordFormat, int]:
    section = config.log
    form = RecordFormat(section.format, section.fields, section.omit_empty, __version__)
    return form, section.sessions_per_second


def records_status(readings: RecordReadings) -> dict[str, Any] | None:
    """Return the part of `spectrum status` about the journal and its sinks; None if the file has none."""
    journal = readings.journal
    if journal is None:
        return None
    return {
        "journal": {
            "path": journal.path,
            "bytes": journal.size,
            "max_bytes": journal.max_bytes,
            "records": journal.appended,
            "lost": journal.lost,
            "failure": journal.failure or None,
        },
        "sinks": [
            {
                "name": feed.name,
                "records": feed.delivered,
                "lag_records": feed.lag_records,
                "lag_s": round(feed.lag_s, 1),
                "lost": feed.lost,
                "failure": feed.failure or None,
            }
            for feed in readings.feeds
        ],
    }
