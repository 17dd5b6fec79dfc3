"""Adaptive profiles: the daily maximum of rates, and limits from the week before. No I/O, no numpy.

A value of a dimension (a protocol, a country, an autonomous system, a port, a size of packets) has the maximum of each
day. Its limit is based on the 95th percentile of the last seven. Interpolated between seven values, that is nearly the
greatest: one day of an attack would raise it fivefold. So the order statistic below it is used, which leaves the
greatest out, and at most three times the median: beyond that an operator has to decide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from statistics import median
from typing import Literal

import msgspec

Dimension = Literal["all", "openings", "protocol", "country", "asn", "port", "size"]
DAY_S = 86_400
DAYS, LEAST_DAYS = 7, 3
# Kept days: a preview of the last week needs the week before.
KEPT_DAYS = 14
PERCENTILE = 0.95
# The factors of the percentile, and of the median, whichever limit is lower.
TOLERATED, MOST_OF_MEDIAN = 1.5, 3.0
# The lowest limit, in packets per second.
LEAST_RATE = 1_000.0
MOST_DEVIATIONS = 32


class DailyMaximum(msgspec.Struct, frozen=True, array_like=True):
    """The most packets per second of a day, over ten seconds.

    Attributes:
        day: Since 1970, in UTC.
        packets_per_second: The rate.
    """

    day: int
    packets_per_second: float


class Deviation(msgspec.Struct):
    """An excess over the limit.

    Attributes:
        began: In seconds since 1970.
        ended: The same; of a continuing one the end of the last ten seconds beyond the limit.
        packets_per_second: The highest rate.
        limit: The limit at that time.
        beyond: Packets beyond it.
    """

    began: float
    ended: float
    packets_per_second: float
    limit: float
    beyond: float


class Maxima(msgspec.Struct):
    """The maxima of a value of a dimension.

    Attributes:
        dimension: The dimension.
        value: The value, as it is displayed.
        days: The maximum of each day, the latest last; including today.
        deviations: The latest excesses.
        share: The share of the app's openings with this value.
    """

    dimension: Dimension
    value: str
    days: list[DailyMaximum] = []
    deviations: list[Deviation] = []
    share: float = 0.0

    def add(self, rate: float, day: int) -> None:
        """Add a rate over ten seconds."""
        if self.days and self.days[-1].day >= day:  # The clock may have been set back.
            last = self.days[-1]
            self.days[-1] = DailyMaximum(last.day, max(last.packets_per_second, rate))
        else:
            self.days.append(DailyMaximum(day, rate))
            del self.days[:-KEPT_DAYS]

    def limit(self, day: int) -> "Limit | None":
        """Return the limit of a day, by the week before; None with too few days."""
        return limit_of([one.packets_per_second for one in self.days if day - DAYS <= one.day < day])


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of a value.

    Attributes:
        packets_per_second: The limit.
        percentile: The 95th of the maxima, without interpolation.
        median: Of the maxima.
        is_doubtful: Whether the percentile is so far above the median that an operator has to decide if that is normal.
        days: The number of days.
    """

    packets_per_second: float
    percentile: float
    median: float
    is_doubtful: bool
    days: int


def limit_of(maxima: Sequence[float]) -> Limit | None:
    """Return the limit from the maxima of some days; None if these are too few."""
    if len(maxima) < LEAST_DAYS:
        return None
    ordered = sorted(maxima)
    percentile, middle = ordered[floor(PERCENTILE * (len(ordered) - 1))], median(ordered)
    usual = min(percentile, MOST_OF_MEDIAN * middle)
    return Limit(max(TOLERATED * usual, LEAST_RATE), percentile, middle, percentile > usual, len(ordered))


@dataclass(frozen=True, slots=True)
class Excess:
    """A day with an excess over the limit.

    Attributes:
        maxima: The value.
        day: Since 1970, in UTC.
        packets_per_second: The highest rate on that day.
        limit: The limit from the week before.
    """

    maxima: Maxima
    day: int
    packets_per_second: float
    limit: Limit


def preview(maxima: Sequence[Maxima], today: int) -> Iterator[Excess]:
    """Yield what would have been dropped in the last week, if limits dropped the excess instead of logging it."""
    for one in maxima:
        for day in one.days:
            limit = one.limit(day.day)
            if today - DAYS < day.day <= today and limit and day.packets_per_second > limit.packets_per_second:
                yield Excess(one, day.day, day.packets_per_second, limit)
