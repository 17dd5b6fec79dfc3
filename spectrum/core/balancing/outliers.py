"""Passive health: origins that fail clients are ejected for a growing time, at most a share of their pool.

The model is Envoy's outlier detection. Two kinds of failures in a row count, each by itself: connects that failed, and
sessions that the origin reset before it sent a byte; a connect that succeeds says nothing about the latter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # a worker takes settings, and needs no pydantic
    from spectrum.core.balancing.objects import OutlierDetection


class Signs(msgspec.Struct, array_like=True):
    """What clients met at one origin since the last report of a worker.

    Attributes:
        connected: Connects that succeeded.
        connect_failures: Those that failed since the last that succeeded.
        answered: Sessions that ended and had bytes from the origin.
        resets: Sessions that the origin reset without a byte, since the last one that it answered.
        reason: Of the last failed connect.
    """

    connected: int = 0
    connect_failures: int = 0
    answered: int = 0
    resets: int = 0
    reason: str = ""

    def connect_succeeded(self, count: int) -> None:
        """Count connects."""
        if count:
            self.connected += count
            self.connect_failures = 0

    def connect_failed(self, reason: str) -> None:
        """Count a connect that failed."""
        self.connect_failures += 1
        self.reason = reason

    def ended(self, answered: bool, reset: bool) -> None:
        """Count the end of a session that had an origin: with bytes from it, or reset by it without any."""
        if answered:
            self.answered += 1
            self.resets = 0
        elif reset:
            self.resets += 1


@dataclass(slots=True)
class Record:
    """An origin under detection.

    Attributes:
        ejected_until: The end of its ejection; 0 while it is not ejected.
        ejections: How many times in a row; each is longer than the one before.
    """

    connect_failures: int = 0
    resets: int = 0
    ejected_at: float = 0.0
    ejected_until: float = 0.0
    ejections: int = 0
    returned_at: float = 0.0
    reason: str = ""


@dataclass(slots=True)
class OutlierDetector:
    """The origins of one pool, by number.

    Args:
        settings: The pool's; None detects nothing.
        size: How many origins the pool has.
    """

    settings: "OutlierDetection | None"
    size: int
    records: dict[int, Record] = field(default_factory=dict)

    def ejected(self, number: int) -> bool:
        """Tell whether an origin is ejected."""
        record = self.records.get(number)
        return record is not None and record.ejected_until > 0

    def take(self, number: int, signs: Signs, others_usable: Callable[[], int], now: float) -> Record | None:
        """Take a worker's signs of one origin.

        Args:
            number: The origin's.
            signs: What its clients met.
            others_usable: Tells how many others of the pool serve; the last one is never ejected.
            now: Monotonic seconds.

        Returns:
            Its record, if it is ejected by this.
        """
        if self.settings is None:
            return None
        record = self.records.setdefault(number, Record())
        record.connect_failures = signs.connect_failures + (0 if signs.connected else record.connect_failures)
        record.resets = signs.resets + (0 if signs.answered else record.resets)
        needed = self.settings.consecutive_failures
        if record.ejected_until or max(record.connect_failures, record.resets) < needed:
            return None
        count = sum(self.ejected(other) for other in self.records)
        if others_usable() < 1 or (count + 1) * 100 > self.settings.max_ejection_percent * self.size:
            return None
        self._eject(record, signs, now)
        return record

    def _eject(self, record: Record, signs: Signs, now: float) -> None:
        assert self.settings is not None, "nothing is ejected without settings"
        if record.returned_at:
            # Each such while without an ejection forgives one.
            forgiven = int((now - record.returned_at) // self.settings.max_ejection_time_s)
            record.ejections = max(0, record.ejections - forgiven)
        record.ejections += 1
        wait_s = min(self.settings.max_ejection_time_s, self.settings.base_ejection_time_s * record.ejections)
        record.ejected_at, record.ejected_until = now, now + wait_s
        if record.connect_failures >= record.resets:
            record.reason = f"{record.connect_failures} connects failed in a row, last {signs.reason or 'refused'}"
        else:
            record.reason = f"{record.resets} sessions reset in a row before a byte"
        record.connect_failures = record.resets = 0

    def due(self, now: float) -> list[int]:
        """End the ejections whose time is over; return their origins."""
        over = [number for number, record in self.records.items() if 0 < record.ejected_until <= now]
        for number in over:
            self._return(number, now)
        return over

    def probe_passed(self, number: int, began: float, now: float) -> bool:
        """A probe that began at `began` passed: an ejection older than it ends. Return whether one did."""
        record = self.records.get(number)
        if record is None or not record.ejected_until or began < record.ejected_at:
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
