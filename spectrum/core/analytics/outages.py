"""Outages of origins, computed from changes of health."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# Events of health that say whether an origin takes sessions.
_OF_ORIGINS = {"originHealth", "originEjected", "originReturned"}


class HealthChange(NamedTuple):
    """A change of health: when, of which origin (`pool/name`), the new state, and why."""

    time: float
    event: str
    origin: str
    healthy: bool
    reason: str


class Outage(NamedTuple):
    """A time in which an origin took no sessions.

    Attributes:
        origin: `pool/name`.
        since, until: Seconds since 1970, within the period.
        reason: Why.
        goes_on: Whether it was not over at the end of the period.
    """

    origin: str
    since: float
    until: float
    reason: str
    goes_on: bool

    @property
    def length(self) -> float:
        """Its duration in seconds."""
        return self.until - self.since

    @property
    def pool(self) -> str:
        """The pool of the origin."""
        return self.origin.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The origin's name in its pool."""
        return self.origin.rpartition("/")[2]


class PoolAvailability(NamedTuple):
    """The availability of a pool.

    Attributes:
        pool: Its name.
        origins: How many it has.
        available: The share of the period in which at least one origin was up.
        up: The mean number of origins that were up.
        worst: The origin that was down for longest; "" if none was.
        worst_up: The share of the period in which that one was up.
        down: For how many seconds at least one was down; all outages added.
        goes_on: Whether one is down at the end.
        unavailable: For how many seconds none was up.
    """

    pool: str
    origins: int
    available: float
    up: float
    worst: str
    worst_up: float
    down: float
    goes_on: bool
    unavailable: float


def outages(changes: Iterable[HealthChange], since: float, until: float) -> list[Outage]:
    """Return the outages of origins within a period, the first ones first.

    Args:
        changes: In any order; those before `since` define the state at its beginning.
        since, until: Seconds since 1970.
    """
    begun: dict[str, HealthChange] = {}
    found = []
    for one in sorted(changes):
        if one.event not in _OF_ORIGINS or not one.origin or one.time >= until:
            continue
        if not one.healthy:
            begun.setdefault(one.origin, one)
        elif (first := begun.pop(one.origin, None)) is not None and one.time > since:
            found.append(Outage(one.origin, max(first.time, since), one.time, first.reason, False))
    found += [Outage(name, max(one.time, since), until, one.reason, True) for name, one in begun.items()]
    return sorted(found, key=lambda one: one.since)


def availability(
    pools: Mapping[str, Sequence[str]], found: Iterable[Outage], since: float, until: float
) -> list[PoolAvailability]:
    """Return the availability of each pool, the worst first.

    Args:
        pools: The names of the origins of each.
        found: Their outages.
        since, until: Seconds since 1970.
    """
    length = max(until - since, 1e-9)
    by_pool: dict[str, list[Outage]] = {}
    for one in found:
        by_pool.setdefault(one.pool, []).append(one)
    results = []
    for pool, names in pools.items():
        down: dict[str, float] = dict.fromkeys(names, 0.0)
        own = [one for one in by_pool.get(pool, ()) if one.name in down]
        for one in own:
            down[one.name] += one.length
        worst = max(down, key=lambda name: down[name], default="")
        total = sum(down.values())
        unavailable = _all_down(own, len(names))
        results.append(
            PoolAvailability(
                pool,
                len(names),
                1 - unavailable / length,
                len(names) - total / length,
                worst if total else "",
                1 - down.get(worst, 0.0) / length,
                total,
                any(one.goes_on for one in own),
                unavailable,
            )
        )
    return sorted(results, key=lambda one: (one.available, -one.down, one.pool))


def _all_down(found: Sequence[Outage], origins: int) -> float:
    """Return for how long all origins were down at the same time."""
    edges = sorted([(one.since, 1) for one in found] + [(one.until, -1) for one in found])
    down, since, total = 0, 0.0, 0.0
    for time, step in edges:
        if origins and down == origins:
            total += time - since
        down += step
        since = time
    return total
