"""Choice of one of several origins, or pools, by weight or load, at a cost independent of their number."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol

from spectrum.core.balancing.rendezvous import Rendezvous, bucket_of
from spectrum.core.balancing.settings import OriginSettings

# A float from 0 up to but excluding 1.
Draw = Callable[[], float]


class Load(Protocol):
    """Sessions of an origin or pool, by number, in all workers."""

    def open(self, number: int, /) -> int:
        """Return how many there are."""
        ...

    def waiting(self, number: int, /) -> int:
        """Return how many of them have clients that wait for an answer."""
        ...


class Wheel:
    """Draws indices in proportion to weights.

    Args:
        weights: At least one above zero; an index with weight 0 is never drawn.
    """

    __slots__ = ("_bounds", "_total", "weights")

    def __init__(self, weights: Sequence[float]) -> None:
        bounds = list(accumulate(weights))
        self.weights = weights
        self._total = bounds[-1]
        # Without the last one, so that rounding cannot exceed the end.
        self._bounds = bounds[:-1]

    def draw(self, draw: Draw) -> int:
        """Return an index."""
        return bisect_right(self._bounds, draw() * self._total)

    def draw_lighter(self, draw: Draw, load: Callable[[int], int], numbers: Sequence[int]) -> int:
        """Return the one of two indices that has less load for its weight ("power of two choices").

        Mitzenmacher (2001): nearly as even as comparing all of them, without the rush to the emptiest one. `numbers`
        are their numbers in `load`.
        """
        bounds, total = self._bounds, self._total
        first = bisect_right(bounds, draw() * total)
        second = bisect_right(bounds, draw() * total)
        if first == second:
            return first
        mine = (load(numbers[first]) + 1) * self.weights[second]
        theirs = (load(numbers[second]) + 1) * self.weights[first]
        return second if mine > theirs else first


def measure_of(policy: str) -> Callable[[Load], Callable[[int], int]]:
    """Return the function that a least_* policy compares by."""
    return _waiting if policy == "least_outstanding_requests" else _open


def _open(load: Load) -> Callable[[int], int]:
    return load.open


def _waiting(load: Load) -> Callable[[int], int]:
    return load.waiting


class Picker(Protocol):
    """Chooses among the usable origins of a pool."""

    def pick(self, key: int, draw: Draw, load: Load) -> OriginSettings:
        """Return the origin for a new client."""
        ...


class RandomPicker:
    """`random`: in proportion to weights."""

    __slots__ = ("_origins", "_wheel")

    def __init__(self, origins: Sequence[OriginSettings], weights: Sequence[float]) -> None:
        self._origins = origins
        self._wheel = Wheel(weights)

    def pick(self, key: int, draw: Draw, load: Load) -> OriginSettings:
        """See `Picker`."""
        return self._origins[self._wheel.draw(draw)]


class LeastPicker:
    """`least_connections` and `least_outstanding_requests`: the less loaded of two."""

    __slots__ = ("_numbers", "_of", "_origins", "_wheel")

    def __init__(self, policy: str, origins: Sequence[OriginSettings], weights: Sequence[float]) -> None:
        self._of = measure_of(policy)
        self._origins = origins
        self._numbers = [origin.number for origin in origins]
        self._wheel = Wheel(weights)

    def pick(self, key: int, draw: Draw, load: Load) -> OriginSettings:
        """See `Picker`."""
        return self._origins[self._wheel.draw_lighter(draw, self._of(load), self._numbers)]


class HashPicker:
    """`hash`: always the same origin for a client; clients of unusable origins are spread over the others.

    Args:
        rendezvous: The hash space of `origins`.
        origins: All origins of the pool, usable or not.
        usable: Which of them are usable; at least one with a weight.
    """

    __slots__ = ("_moved", "_origins", "_rendezvous", "_usable")

    def __init__(self, rendezvous: Rendezvous, origins: Sequence[OriginSettings], usable: Sequence[bool]) -> None:
        self._rendezvous = rendezvous
        self._origins = origins
        self._usable = bytes(usable)
        # By bucket, the replacement for an unusable origin.
        self._moved: dict[int, OriginSettings] = {}

    def pick(self, key: int, draw: Draw, load: Load) -> OriginSettings:
        """See `Picker`."""
        first = self._rendezvous.find(key)
        if self._usable[first]:
            return self._origins[first]
        bucket = bucket_of(key)
        other = self._moved.get(bucket)
        if other is None:
            other = self._moved[bucket] = self._origins[self._rendezvous.find_among(key, self._usable)]
        return other
