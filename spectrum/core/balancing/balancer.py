"""The decision for a new client: pool, origin, and the next origin when that cannot be reached. All variable inputs are
arguments (the client's key, a random number, loads, an affinity), so decisions can be tested by tables and explained.
Everything that depends on health alone is computed when health changes, not per client.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from spectrum.core.balancing.pickers import Draw, Load, Wheel, measure_of
from spectrum.core.balancing.pools import PoolView
from spectrum.core.balancing.settings import BalancerSettings, OriginSettings

# Number of origins of a pool that are tried for a client, and with failover across pools of other pools in addition.
TRIES_IN_POOL = 3
TRIES_ELSEWHERE = 2


class Choice(NamedTuple):
    """The origin of a client.

    Attributes:
        origin: None if there is none.
        kept: Whether it comes from the client's affinity.
        pins: Whether it is to be stored as the client's affinity.
        tries: How many origins may be tried, this one included.
        full: There is none because all that serve have reached `max_sessions`.
    """

    origin: OriginSettings | None
    kept: bool = False
    pins: bool = False
    tries: int = 1
    full: bool = False


NOWHERE = Choice(None)
FULL = Choice(None, full=True)


class Balancer:
    """A load balancer at one moment.

    Args:
        settings: The load balancer.
        views: Its pools, by name.
        latencies: Mean time of a probe's answer in seconds, by pool; pools without one come last.
        draining: Numbers of disabled origins to which their clients may still return.

    Attributes:
        needs_key: Whether decisions depend on the client's key; otherwise it need not be computed.
    """

    def __init__(
        self,
        settings: BalancerSettings,
        views: Mapping[str, PoolView],
        latencies: Mapping[str, float] | None = None,
        draining: Collection[int] = (),
    ) -> None:
        self.settings = settings
        self.views = views
        self._latencies = latencies or {}
        self._draining = draining
        self._stable = settings.affinity != "none"
        self._default = _Order(settings, self._healthy(settings.pools))
        self._by_country = {
            country: _Order(settings, self._healthy(pools)) for country, pools in settings.country_pools.items()
        }
        self._tries_from_kept = 1 if settings.failover == "none" else self._default.tries
        self._members = {
            origin.tag: (origin, views[pool])
            for pool in reversed(settings.all_pools())
            for origin in views[pool].settings.origins
        }
        self.needs_key = self._stable or any(
            view.settings.policy == "hash" or (view.settings.shed_percent and view.settings.shed_by_hash)
            for view in views.values()
        )

    def _healthy(self, pools: Sequence[str]) -> list[PoolView]:
        """The pools that serve, in order of failover, or of latency if that decides."""
        healthy = [self.views[pool] for pool in pools if self.views[pool].healthy]
        if self.settings.policy == "dynamic_latency":
            healthy.sort(key=lambda view: self._latencies.get(view.settings.name, float("inf")))
        return healthy

    def order(self, country: str = "") -> Sequence[PoolView]:
        """Return the healthy pools for clients of a country in order of failover; none if the fallback serves."""
        return self._by_country.get(country, self._default).pools

    def origin_of(self, tag: int) -> OriginSettings | None:
        """Return the origin with a tag, if it belongs to this load balancer."""
        found = self._members.get(tag)
        return found[0] if found else None

    def choose(self, key: int, draw: Draw, load: Load, tag: int = 0, country: str = "") -> Choice:
        """Choose the origin of a new client.

        Args:
            key: The client's key, by `clients.client_key`; ignored unless `needs_key`.
            draw: A random number.
            load: Loads for the least_* policies.
            tag: The tag of the client's affinity; 0 for none.
            country: The client's country, if known.
        """
        choice = self._choose(key, draw, load, tag, country)
        origin = choice.origin
        if origin is None or not origin.max_sessions or load.open(origin.number) < origin.max_sessions:
            return choice
        return self._beside(origin, choice.tries, key, draw, load, country)

    def _beside(self, full: OriginSettings, tries: int, key: int, draw: Draw, load: Load, country: str) -> Choice:
        """Return the choice for a client whose origin is full: another origin of the same pool, then of other pools if
        the load balancer fails over across pools. Its affinity stays.
        """
        home = self._members[full.tag][1]
        numbers = home.full(load)
        picker = home.without(numbers) if home.healthy else home.regardless_without(numbers)
        if picker is not None:
            return Choice(picker.pick(key, draw, load), tries=tries)
        for view in self.order(country) if self.settings.failover_across_pools else ():
            picker = view.without(view.full(load))
            if view is not home and picker is not None:
                return Choice(picker.pick(key, draw, load), tries=tries)
        return FULL

    def _choose(self, key: int, draw: Draw, load: Load, tag: int, country: str) -> Choice:
        if not self.settings.enabled:
            return NOWHERE
        if tag and (kept := self._keep(key, tag)) is not None:
            return kept
        order = self._by_country.get(country, self._default)
        for view in order.tried(draw, load):
            if view.settings.shed_percent and _sheds(view, key, draw):
                continue
            picker = view.stable_picker if self._stable else view.picker
            return Choice(picker.pick(key, draw, load), False, self._stable and not self._returns(tag), order.tries)
        view = self.views[self.settings.fallback]
        if view.regardless is None:
            return NOWHERE
        return Choice(view.regardless.pick(key, draw, load), tries=min(TRIES_IN_POOL, view.candidates))

    def _returns(self, tag: int) -> bool:
        """Return whether a client that cannot use the origin of its affinity should return there later."""
        member = self._members.get(tag)
        return self.settings.failover == "temporary" and member is not None and member[0].enabled

    def _keep(self, key: int, tag: int) -> Choice | None:
        """Return the choice by affinity; None if its origin cannot be used."""
        member = self._members.get(tag)
        if member is None:
            return None
        origin, view = member
        if origin.number not in view.usable:
            if origin.number not in self._draining:
                return None
        elif view.settings.shed_session_percent and share_of(key) < view.settings.shed_session_percent:
            return None
        return Choice(origin, True, tries=self._tries_from_kept)

    def next_choice(
        self, tried: Sequence[OriginSettings], kept: bool, key: int, draw: Draw, load: Load, country: str = ""
    ) -> OriginSettings | None:
        """Return the origin to try after those `tried`, in this order, could not be reached; None for none. `kept` says
        that the first one came from affinity. Other origins of the same pool come first, then those of other pools if
        the load balancer fails over across pools.
        """
        if kept and self.settings.failover == "none":
            return None
        numbers = {origin.number for origin in tried}
        elsewhere = 0
        if (home := self._view_of(tried[0])) is not None:
            inside = sum(1 for origin in home.settings.origins if origin.number in numbers)
            out = numbers | home.full(load)
            picker = home.without(out)
            if picker is None and home.settings.name == self.settings.fallback and not self.order(country):
                picker = home.regardless_without(out)
            if inside < TRIES_IN_POOL and picker is not None:
                return picker.pick(key, draw, load)
            elsewhere = len(tried) - inside
        if not self.settings.failover_across_pools or elsewhere >= TRIES_ELSEWHERE:
            return None
        for view in self.order(country):
            if view is home or not view.usable.isdisjoint(numbers):
                continue
            if (picker := view.without(view.full(load))) is not None:
                return picker.pick(key, draw, load)
        return None

    def _view_of(self, origin: OriginSettings) -> PoolView | None:
        found = self._members.get(origin.tag)
        return found[1] if found else None


def share_of(key: int) -> float:
    """Return the position of a client in the hash space, 0 to 100, from other bits than its bucket."""
    return (key & 0xFFFF) * (100 / 0x10000)


def _sheds(view: PoolView, key: int, draw: Draw) -> bool:
    if view.settings.shed_by_hash:
        return share_of(key) < view.settings.shed_percent
    return draw() * 100 < view.settings.shed_percent


class _Order:
    """The healthy pools for a group of clients, and which one is tried first."""

    __slots__ = ("_by_load", "_led", "_numbers", "_of", "_wheel", "pools", "tries")

    def __init__(self, settings: BalancerSettings, healthy: Sequence[PoolView]) -> None:
        self.pools = tuple(healthy)
        self._by_load = settings.policy.startswith("least")
        self._of = measure_of(settings.policy)
        self._numbers = [view.settings.number for view in self.pools]
        weight_of = dict(zip(settings.pools, settings.weights, strict=True))
        weights = [weight_of.get(view.settings.name, 1.0) for view in self.pools]
        weighted = (settings.policy == "random" or self._by_load) and any(weights)
        self._wheel = Wheel(weights) if weighted else None
        # The orders that begin with each of them, if chance or load decides.
        self._led = [(*self.pools[i:], *self.pools[:i]) for i in range(len(self.pools))] if weighted else []
        inside = max((len(view.usable) for view in self.pools), default=1)
        across = min(TRIES_ELSEWHERE, len(self.pools) - 1) if settings.failover_across_pools else 0
        self.tries = min(TRIES_IN_POOL, inside) + max(0, across)

    def tried(self, draw: Draw, load: Load) -> Sequence[PoolView]:
        """Return the pools in the order of trying."""
        if self._wheel is None:
            return self.pools
        if self._by_load:
            return self._led[self._wheel.draw_lighter(draw, self._of(load), self._numbers)]
        return self._led[self._wheel.draw(draw)]
