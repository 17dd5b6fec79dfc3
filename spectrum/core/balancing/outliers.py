"""Passive health: origins that fail clients are ejected for a growing time, at most a share of their pool.

The model is Envoy's outlier detection. Two kinds of failures count separately: failed connects, and sessions that the
origin reset before it sent a byte; a successful connect says nothing about the latter. An origin is ejected for
consecutive failures, and for a share of failures well above that of the pool's other origins: clients whose sessions
fail everywhere say nothing about an origin.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median_low
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # A worker decodes settings without pydantic.
    from spectrum.core.balancing.objects import OutlierDetection


class OriginOutcomes(msgspec.Struct, array_like=True):
    """The results of clients at one origin since the last report of a worker.

    Attributes:
        connected: Connects that succeeded.
        connect_failures: Connects that failed since the last success.
        answered: Ended sessions with bytes from the origin.
        resets: Sessions that the origin reset without a byte, since the last one that it answered.
        reason: The reason of the last failed connect.
        all_connect_failures: Every connect that failed, whether or not one succeeded since.
        all_resets: Every session that the origin reset without a byte.
    """

    connected: int = 0
    connect_failures: int = 0
    answered: int = 0
    resets: int = 0
    reason: str = ""
    all_connect_failures: int = 0
    all_resets: int = 0

    def connect_succeeded(self, count: int) -> None:
        """Count connects."""
        if count:
            self.connected += count
            self.connect_failures = 0

    def connect_failed(self, reason: str) -> None:
        """Count a connect that failed."""
        self.connect_failures += 1
        self.all_connect_failures += 1
        self.reason = reason

    def ended(self, answered: bool, reset: bool, count: int = 1) -> None:
        """Count ended sessions that had an origin: with bytes from it, or reset by it without any."""
        if answered:
            self.answered += count
            self.resets = 0
        elif reset:
            self.resets += count
            self.all_resets += count


# Factor by which an outlier's share of failures must exceed the usual one in its pool.
TIMES_THE_USUAL = 2
# Number of intervals that a window is extended if no origin has enough clients.
MAX_WINDOW_INTERVALS = 30


@dataclass(slots=True)
class Tally:
    """The results of clients at an origin in one window; the names are those of `OriginOutcomes`."""

    connected: int = 0
    connect_failures: int = 0
    answered: int = 0
    resets: int = 0

    def add(self, outcomes: OriginOutcomes) -> None:
        """Add the counts of a worker."""
        self.connected += outcomes.connected
        self.connect_failures += outcomes.all_connect_failures
        self.answered += outcomes.answered
        self.resets += outcomes.all_resets

    def kinds(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return failures and totals, of connects and of sessions.

        Sessions that go on count as those that ended well: resets come early, and long sessions end long after.
        """
        sessions = max(self.connected, self.answered + self.resets)
        return (self.connect_failures, self.connected + self.connect_failures), (self.resets, sessions)


@dataclass(slots=True)
class Record:
    """The state of an origin.

    Attributes:
        ejected_until: The end of its ejection; 0 if it is not ejected.
        ejections: Number of successive ejections; each is longer than the one before.
        probe_ends_it: Whether a passing probe ends the ejection: if the cause was consecutive failed connects, and the
            probe connects. An origin that fails some clients passes some probes.
        tally: The results of clients in this window.
    """

    connect_failures: int = 0
    resets: int = 0
    ejected_at: float = 0.0
    ejected_until: float = 0.0
    ejections: int = 0
    returned_at: float = 0.0
    reason: str = ""
    probe_ends_it: bool = False
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class OutlierDetector:
    """The origins of one pool, by number.

    Args:
        settings: The pool's settings; None for no detection.
        size: The number of origins of the pool.
    """

    settings: "OutlierDetection | None"
    size: int
    records: dict[int, Record] = field(default_factory=dict)
    window_began: float = 0.0

    def ejected(self, number: int) -> bool:
        """Return whether an origin is ejected."""
        record = self.records.get(number)
        return record is not None and record.ejected_until > 0

    def take(
        self, number: int, outcomes: OriginOutcomes, others_usable: Callable[[int], int], now: float
    ) -> Record | None:
        """Add a worker's counts of one origin.

        Args:
            number: The origin's.
            outcomes: The counts.
            others_usable: Returns how many other origins serve; the last one is never ejected.
            now: Monotonic seconds.

        Returns:
            Its record, if this ejects it.
        """
        if self.settings is None:
            return None
        record = self.records.setdefault(number, Record())
        record.connect_failures = outcomes.connect_failures + (0 if outcomes.connected else record.connect_failures)
        record.resets = outcomes.resets + (0 if outcomes.answered else record.resets)
        if record.ejected_until:
            return None
        record.tally.add(outcomes)
        needed = self.settings.consecutive_failures
        if max(record.connect_failures, record.resets) < needed or not self._may_eject(others_usable(number)):
            return None
        by_connects = record.connect_failures >= record.resets
        if by_connects:
            reason = f"{record.connect_failures} connects failed in a row, last {outcomes.reason or 'refused'}"
        else:
            reason = f"{record.resets} sessions reset in a row before a byte"
        self._eject(record, reason, by_connects, now)
        return record

    def compare(self, others_usable: Callable[[int], int], now: float) -> list[int]:
        """Compare the shares of failures of all origins; to be called about once a second.

        Args:
            others_usable: As for `take`.
            now: Monotonic seconds.

        Returns:
            The origins that this ejects, whose shares are well above those of the others.
        """
        if self.settings is None or not self.settings.failure_percentage_threshold:
            return []
        ejected = []
        for kind, what in enumerate(("connects failed", "sessions were reset before a byte")):
            for number, percent in self._outliers(kind):
                if self._may_eject(others_usable(number)):
                    failed, of = self.records[number].tally.kinds()[kind]
                    reason = f"{failed} of {of} {what}, {percent:.0f} %, others of the pool far fewer"
                    self._eject(self.records[number], reason, False, now)
                    ejected.append(number)
        self._end_window(now)
        return ejected

    def _outliers(self, kind: int) -> Iterator[tuple[int, float]]:
        """Yield origins whose share of a kind of failures is too large, with the share in percent, the worst first."""
        assert self.settings is not None, "only with settings"
        volume = self.settings.failure_percentage_request_volume
        shares = {}
        for number, record in self.records.items():
            failed, of = record.tally.kinds()[kind]
            if of >= volume and not record.ejected_until:
                shares[number] = 100 * failed / of
        for number, percent in sorted(shares.items(), key=lambda item: -item[1]):
            # Origins that were ejected meanwhile are not compared.
            others = [share for other, share in shares.items() if other != number and not self.ejected(other)]
            if len(others) + 1 < self.settings.failure_percentage_minimum_hosts or not others:
                return
            usual = median_low(others)
            if percent >= max(self.settings.failure_percentage_threshold, TIMES_THE_USUAL * usual):
                yield number, percent

    def _end_window(self, now: float) -> None:
        """Begin a new window after an interval, or later if no origin has had enough clients."""
        assert self.settings is not None, "only with settings"
        age_s, interval_s = now - self.window_began, self.settings.interval_s
        if age_s < interval_s:
            return
        volumes = [of for record in self.records.values() for _, of in record.tally.kinds()]
        enough = max(volumes, default=0) >= self.settings.failure_percentage_request_volume
        if enough or age_s >= MAX_WINDOW_INTERVALS * interval_s:
            self.window_began = now
            for record in self.records.values():
                record.tally = Tally()

    def _may_eject(self, others_usable: int) -> bool:
        assert self.settings is not None, "only with settings"
        count = sum(self.ejected(other) for other in self.records)
        return others_usable > 0 and (count + 1) * 100 <= self.settings.max_ejection_percent * self.size

    def _eject(self, record: Record, reason: str, probe_ends_it: bool, now: float) -> None:
        assert self.settings is not None, "nothing is ejected without settings"
        if record.returned_at:
            # Each such period without an ejection reduces the count by one.
            forgiven = int((now - record.returned_at) // self.settings.max_ejection_time_s)
            record.ejections = max(0, record.ejections - forgiven)
        record.ejections += 1
        wait_s = min(self.settings.max_ejection_time_s, self.settings.base_ejection_time_s * record.ejections)
        record.ejected_at, record.ejected_until = now, now + wait_s
        record.reason, record.probe_ends_it = reason, probe_ends_it
        record.connect_failures = record.resets = 0
        record.tally = Tally()

    def due(self, now: float) -> list[int]:
        """Return the origins whose ejection is over, and end it."""
        over = [number for number, record in self.records.items() if 0 < record.ejected_until <= now]
        for number in over:
            self._return(number, now)
        return over

    def probe_passed(self, number: int, began: float, now: float) -> bool:
        """A probe that began at `began` passed: end an earlier ejection if that is sufficient. Return whether one
        ended.

        Return whether one did.
        """
        record = self.records.get(number)
        if record is None or not record.ejected_until or not record.probe_ends_it or began < record.ejected_at:
            return False
        self._return(number, now)
        return True

    def _return(self, number: int, now: float) -> None:
        record = self.records[number]
        record.ejected_until = 0.0
        record.returned_at = now

    def next_due(self) -> float | None:
        """Return when the next ejection ends."""
        return min((record.ejected_until for record in self.records.values() if record.ejected_until), default=None)
