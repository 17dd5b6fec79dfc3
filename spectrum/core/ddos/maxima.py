"""Adaptive profiles: the busiest moment of every day, and what is too much by the week before. No I/O, no numpy.

A value of a dimension (a protocol, a country, an autonomous system, a port, a size of packets) has the maximum of each
day. Its limit is made of the 95th percentile of the last seven. Between seven values that is interpolated nearly to the
greatest: one day of an attack would raise it by five. Taken is the order statistic below, which leaves the greatest
out, and not more than three times the median: beyond that an operator has to look.
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
# As many are kept, so that what is previewed of the last week has a week before it.
KEPT_DAYS = 14
PERCENTILE = 0.95
# More than so many times the percentile is too much; not beyond so many times the median.
TOLERATED, MOST_OF_MEDIAN = 1.5, 3.0
# Less is never too much, in packets per second.
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
    """There was more than the limit.

    Attributes:
        began: In seconds since 1970.
        ended: The same; what goes on ends with the last ten seconds that were beyond.
        packets_per_second: The most.
        limit: What was the limit then.
        beyond: Packets beyond it.
    """

    began: float
    ended: float
    packets_per_second: float
    limit: float
    beyond: float


class Maxima(msgspec.Struct):
    """What is known of a value of a dimension.

    Attributes:
        dimension: What packets are told apart by.
        value: Of it, as it is shown.
        days: The maximum of each day, the latest last; today is among them.
        deviations: The latest.
        share: Which part of the app's openings has this value.
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
        packets_per_second: More is.
        percentile: The 95th of the maxima, without interpolation.
        median: Of the maxima.
        is_doubtful: Whether the percentile is so far above the median that an operator has to say if that is normal.
        days: Of how many days.
    """

    packets_per_second: float
    percentile: float
    median: float
    is_doubtful: bool
    days: int


def limit_of(maxima: Sequence[float]) -> Limit | None:
    """Return what is too much by the maxima of some days; None where these are too few."""
    if len(maxima) < LEAST_DAYS:
        return None
    ordered = sorted(maxima)
    percentile, middle = ordered[floor(PERCENTILE * (len(ordered) - 1))], median(ordered)
    usual = min(percentile, MOST_OF_MEDIAN * middle)
    return Limit(max(TOLERATED * usual, LEAST_RATE), percentile, middle, percentile > usual, len(ordered))


@dataclass(frozen=True, slots=True)
class Excess:
    """A day on which there was more than the limit.

    Attributes:
        maxima: Of what.
        day: Since 1970, in UTC.
        packets_per_second: The most on that day.
        limit: What was too much, by the week before.
    """

    maxima: Maxima
    day: int
    packets_per_second: float
    limit: Limit


def preview(maxima: Sequence[Maxima], today: int) -> Iterator[Excess]:
    """Yield what would have been dropped in the last week, if what is beyond limits were dropped and not logged."""
    for one in maxima:
        for day in one.days:
            limit = one.limit(day.day)
            if today - DAYS < day.day <= today and limit and day.packets_per_second > limit.packets_per_second:
                yield Excess(one, day.day, day.packets_per_second, limit)
