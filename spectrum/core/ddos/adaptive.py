"""Adaptive profiles: packets per second of each app by protocol, port, and so on, over ten seconds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.maxima import DAY_S, MOST_DEVIATIONS, Deviation, Dimension, Maxima
from spectrum.core.ddos.packets import IN_USE, NO_APP, Packets
from spectrum.core.packets import PROTOCOLS

BUCKET_S = 10.0
# Maximum number of values of a dimension of an app; further ones are counted together.
MOST_VALUES = 64
OTHERS = "other"
SIZES = np.array([64, 128, 256, 512, 1024])
SIZE_NAMES = (*(f"up to {size}" for size in SIZES), "above 1024")
PlacesOf = Callable[[Packets], NDArray[np.str_]]
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
# How each value is displayed.
_DIMENSIONS: Mapping[Dimension, tuple[Callable[[Packets], NDArray[Any]], Callable[[Any], str]]] = {
    "all": (lambda packets: np.zeros(len(packets), np.uint8), lambda _: "all"),
    "protocol": (lambda packets: packets["protocol"], lambda value: _PROTOCOL_NAMES.get(int(value), str(value))),
    "port": (lambda packets: packets["destination_port"], str),
    "size": (lambda packets: np.searchsorted(SIZES, packets["length"]), lambda value: SIZE_NAMES[int(value)]),
}


@dataclass(frozen=True, slots=True)
class Deviated:
    """The traffic of an app exceeds its adaptive profile; this alone drops nothing.

    Attributes:
        app: Its number.
        maxima: The value with the excess, and its maxima.
        deviation: The excess.
    """

    app: int
    maxima: Maxima
    deviation: Deviation

    def __str__(self) -> str:
        return (
            f"{self.maxima.dimension} {self.maxima.value}: {self.deviation.packets_per_second:,.0f} pps, "
            f"and {self.deviation.limit:,.0f}/s is the limit by the week before"
        )


class Adaptive:
    """Counts packets, and compares with the week before.

    Attributes:
        places: Functions by `country` and `asn` that return the place of each packet's source, where there is a
            database.
    """

    def __init__(self) -> None:
        self.places: Mapping[Dimension, PlacesOf] = {}
        self._apps: dict[int, dict[tuple[Dimension, str], Maxima]] = {}
        self._bucket: dict[tuple[int, Dimension, str], float] = {}
        self._seconds = 0.0

    def take(self, packets: Packets, seconds: float, at: float) -> list[Deviated]:
        """Take samples of some seconds that no rule matched; return new deviations.

        Args:
            packets: Samples.
            seconds: The time in which they were taken.
            at: The end of that time, in seconds since 1970.
        """
        packets = packets.where(packets["app"] != NO_APP)
        for dimension, values, shown in self._told_apart(packets):
            self._count(packets, dimension, values, shown)
        idle = packets.where(packets["state"] != IN_USE)
        self._count(idle, "openings", np.zeros(len(idle), np.uint8), lambda _: "all")
        self._seconds += seconds
        return list(self._close(at)) if self._seconds >= BUCKET_S else []

    def _told_apart(self, packets: Packets) -> Iterator[tuple[Dimension, NDArray[Any], Callable[[Any], str]]]:
        for dimension, (values, shown) in _DIMENSIONS.items():
            yield dimension, values(packets), shown
        for dimension, places_of in self.places.items():
            yield dimension, places_of(packets), str

    def _count(self, packets: Packets, dimension: Dimension, values: NDArray[Any], shown: Callable[[Any], str]) -> None:
        kinds, inverse = np.unique(values, return_inverse=True)
        if not len(kinds):
            return
        keys = packets["app"].astype(np.int64) * len(kinds) + inverse
        found, places = np.unique(keys, return_inverse=True)
        sums = np.bincount(places, packets["stands_for"])
        for key, count in zip(found.tolist(), sums.tolist(), strict=True):
            app, kind = divmod(key, len(kinds))
            place = (app, dimension, shown(kinds[kind]))
            self._bucket[place] = self._bucket.get(place, 0.0) + count

    def _close(self, at: float) -> Iterator[Deviated]:
        """End ten seconds."""
        seconds, day = self._seconds, int(at // DAY_S)
        rates: dict[tuple[int, Dimension, str], float] = {}
        for (app, dimension, value), count in self._bucket.items():
            place = (app, dimension, self._room_for(app, dimension, value))
            rates[place] = rates.get(place, 0.0) + count / seconds
        self._bucket, self._seconds = {}, 0.0
        for (app, dimension, value), rate in rates.items():
            known = self._apps.setdefault(app, {})
            maxima = known.setdefault((dimension, value), Maxima(dimension, value, [], []))
            deviation = _deviation(maxima, rate, seconds, at, day)
            maxima.add(rate, day)
            if deviation is not None:
                yield Deviated(app, maxima, deviation)

    def _room_for(self, app: int, dimension: Dimension, value: str) -> str:
        known = self._apps.get(app, {})
        if (dimension, value) in known:
            return value
        return value if sum(one == dimension for one, _ in known) < MOST_VALUES else OTHERS

    def maxima_of(self, app: int) -> list[Maxima]:
        """Return the maxima of an app."""
        return list(self._apps.get(app, {}).values())

    def recall(self, app: int, maxima: list[Maxima]) -> None:
        """Restore the maxima of an app after a restart."""
        self._apps[app] = {(one.dimension, one.value): one for one in maxima}

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Renumber apps; those without a number are forgotten."""
        self._apps = {numbers[old]: maxima for old, maxima in self._apps.items() if old in numbers}
        self._bucket = {}

    def share(self, app: int, rows: Packets) -> None:
        """Record the share of an app's openings that has each value.

        Args:
            app: Its number.
            rows: Samples of its openings.
        """
        for one in self.maxima_of(app):
            one.share = 0.0
        for dimension, values, shown in self._told_apart(rows):
            kinds, counts = np.unique(values, return_counts=True)
            for kind, count in zip(kinds, counts.tolist(), strict=True):
                found = self._apps.get(app, {}).get((dimension, shown(kind)))
                if found is not None:
                    found.share = count / len(rows)


def _deviation(maxima: Maxima, rate: float, seconds: float, at: float, day: int) -> Deviation | None:
    """Record a rate above its limit; return a deviation that begins with it."""
    limit = maxima.limit(day)
    if limit is None or rate <= limit.packets_per_second:
        return None
    most = limit.packets_per_second
    last = maxima.deviations[-1] if maxima.deviations else None
    if last is not None and at - seconds - last.ended <= BUCKET_S:
        last.ended, last.beyond = at, last.beyond + (rate - most) * seconds
        last.packets_per_second = max(last.packets_per_second, rate)
        return None
    begun = Deviation(at - seconds, at, rate, most, (rate - most) * seconds)
    maxima.deviations.append(begun)
    del maxima.deviations[:-MOST_DEVIATIONS]
    return begun
