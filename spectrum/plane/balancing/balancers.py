"""The pools and load balancers of a worker, updated by messages of the supervisor.

Loads and affinities are shared with all other workers; health and latencies come from the supervisor.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from spectrum.core.balancing.balancer import Balancer, Choice
from spectrum.core.balancing.clients import client_key
from spectrum.core.balancing.outliers import OriginOutcomes
from spectrum.core.balancing.pools import PoolView, Standing
from spectrum.core.balancing.settings import BalancerSettings, OriginSettings, PoolSettings
from spectrum.core.difference import Difference, differing_objects
from spectrum.core.origin_bounds import RetrySettings
from spectrum.core.snapshot import Snapshot
from spectrum.engine.retry_budget import RetryBudget
from spectrum.engine.shared import Affinities, Loads

# Origins that are disabled or gone, by load balancer and number, and how many seconds their sessions have to drain;
# None for no limit.
Stopped = Mapping[tuple[str, int], float | None]
# Returns the country of an address in wire form, "" if unknown.
CountryOf = Callable[[bytes], str]


def nowhere(client: bytes) -> str:
    """Return "" for every client."""
    return ""


class RunningBalancer:
    """A load balancer in a worker.

    Args:
        loads: Sessions of each origin.
        affinities: The origins of returning clients.
    """

    def __init__(self, loads: Loads, affinities: Affinities) -> None:
        self._loads = loads
        self._affinities = affinities
        self._draw = random.random
        self.core: Balancer

    def update(self, core: Balancer, country_of: CountryOf) -> None:
        """Use another state of health from now on; `country_of` is for geo steering by the client's country."""
        settings = core.settings
        self.core = core
        self._country_of = country_of
        self._salt = settings.name.encode()
        self._by_port = settings.affinity == "ip_port"
        self._remembers = settings.affinity != "none"
        self._by_country = bool(settings.country_pools)
        self._ttl_s = round(settings.affinity_ttl_s)

    def _key(self, client: bytes, client_port: int) -> int:
        return client_key(self._salt, client, client_port if self._by_port else None)

    def choose(self, client: bytes, client_port: int) -> Choice:
        """Choose the origin of a new client, and remember it if the load balancer has affinity."""
        core = self.core
        country = self._country_of(client) if self._by_country else ""
        if not self._remembers:
            key = self._key(client, client_port) if core.needs_key else 0
            return core.choose(key, self._draw, self._loads, 0, country)
        key, now_s = self._key(client, client_port), int(time.monotonic())
        tag = self._affinities.find(key, now_s, self._ttl_s)
        choice = core.choose(key, self._draw, self._loads, tag, country)
        if choice.pins and choice.origin is not None:
            self._affinities.remember(key, choice.origin.tag, now_s)
        return choice

    def after(self, tried: Sequence[OriginSettings], client: bytes, client_port: int) -> OriginSettings | None:
        """Return the next origin for a client that could not reach those `tried`, in this order; None for none."""
        core = self.core
        key = self._key(client, client_port)
        country = self._country_of(client) if self._by_country else ""
        now_s = int(time.monotonic())
        kept = self._remembers and self._affinities.find(key, now_s, self._ttl_s, False) == tried[0].tag
        origin = core.next_choice(tried, kept, key, self._draw, self._loads, country)
        if origin is not None and self._remembers and core.settings.failover == "sticky":
            self._affinities.remember(key, origin.tag, now_s)
        return origin


class Balancers:
    """All pools and load balancers of a worker.

    Args:
        loads: Sessions of each origin; it is told which pool an origin belongs to.
        affinities: The origins of returning clients.
        urgent: Called when clients failed at an origin, so that the supervisor is notified soon.

    Attributes:
        country_of: For geo steering by the client's country; a change takes effect with the next snapshot.
        origins: Every origin of the latest snapshot by number.
    """

    def __init__(
        self,
        loads: Loads,
        affinities: Affinities,
        urgent: Callable[[], None] = lambda: None,
    ) -> None:
        self._loads = loads
        self._affinities = affinities
        self._urgent = urgent
        self.country_of: CountryOf = nowhere
        self._pools: dict[str, PoolSettings] = {}
        self._pool_of: dict[int, str] = {}
        self._views: dict[str, PoolView] = {}
        self._settings: dict[str, BalancerSettings] = {}
        self._running: dict[str, RunningBalancer] = {}
        # Load balancers by pool.
        self._users: dict[str, dict[str, None]] = {}
        self._standings: dict[int, Standing] = {}
        self._latencies: dict[str, float] = {}
        self._outcomes: dict[int, OriginOutcomes] = {}
        # The enabled origins of each load balancer.
        self._serving: dict[str, set[int]] = {}
        # When the drain of an origin ends, by (load balancer, number of the origin).
        self._draining: dict[tuple[str, int], float] = {}
        self.origins: dict[int, OriginSettings] = {}
        self._places: Mapping[str, tuple[int, ...]] = {}
        self._budgets: dict[tuple[str, str], tuple[RetrySettings, RetryBudget]] = {}

    def __getitem__(self, name: str) -> RunningBalancer:
        """Return a load balancer of the latest snapshot; the object stays the same over reloads."""
        return self._running[name]

    def names_of(self, number: int) -> tuple[str, str]:
        """Return the names of an origin's pool and of the origin; "" if unknown."""
        origin = self.origins.get(number)
        return (self._pool_of[number], origin.name) if origin is not None else ("", "")

    def places_of(self, app: str) -> tuple[int, ...]:
        """Return the numbers under which the sessions of an app's own origins are counted; none if they are not
        counted.
        """
        return self._places.get(app, ())

    def is_full(self, place: int, most: int) -> bool:
        """Return whether an origin has reached `max_sessions`."""
        return self._loads.open(place) >= most

    def budget_of(self, kind: str, name: str, settings: RetrySettings | None) -> RetryBudget | None:
        """Return the retry budget of a pool or of an app; it is the same object as long as its settings are.

        Args:
            kind: "pool" or "app".
            name: The name of the pool or app.
            settings: None without a limit.
        """
        if settings is None:
            self._budgets.pop((kind, name), None)
            return None
        known = self._budgets.get((kind, name))
        if known is None or known[0] != settings:
            known = self._budgets[kind, name] = settings, RetryBudget(settings.percent, settings.min_per_second)
        return known[1]

    def budget_at(self, number: int) -> RetryBudget | None:
        """Return the retry budget of the pool of an origin, by the origin's number."""
        pool = self._pools.get(self._pool_of.get(number, ""))
        return self.budget_of("pool", pool.name, pool.retries) if pool is not None else None

    def __contains__(self, name: str) -> bool:
        """Return whether the latest snapshot has a load balancer."""
        return name in self._running

    # --- messages of the supervisor -------------------------------------------------------------------------------

    def apply(self, snapshot: Snapshot) -> Stopped:
        """Apply the pools and load balancers of a snapshot; return the origins that it stops."""
        self._places = snapshot.origin_places
        served = {("app", app.name) for app in snapshot.apps}
        self._budgets = {key: one for key, one in self._budgets.items() if key[0] == "pool" or key in served}
        pools = differing_objects(tuple(self._pools.values()), snapshot.pools)
        balancers = differing_objects(tuple(self._settings.values()), snapshot.balancers)
        stopped, _ = self._take(Difference(0, snapshot.generation, (), (), *pools, *balancers))
        self._standings = {n: standing for n, standing in self._standings.items() if n in self._pool_of}
        for name in self._settings:
            self._balance(name)
        return stopped

    def change(self, difference: Difference) -> tuple[Stopped, list[str]]:
        """Apply a difference in pools and load balancers.

        Returns:
            The origins that it stops, and the load balancers that changed, or whose pools did.
        """
        stopped, concerned = self._take(difference)
        names = [name for name in concerned if name in self._settings]
        for name in names:
            self._balance(name)
        return stopped, names

    def _take(self, difference: Difference) -> tuple[Stopped, list[str]]:
        """Apply a difference, except to balancers that choose; return as `change`, including load balancers that are
        gone.
        """
        now = time.monotonic()
        concerned = dict.fromkeys(one.name for one in (*difference.former_balancers, *difference.balancers))
        pools = [pool.name for pool in (*difference.former_pools, *difference.pools)]
        concerned |= dict.fromkeys(name for pool in pools for name in self._users.get(pool, ()))
        former = {one.name: one for one in difference.former_balancers}
        self._take_pools(difference.former_pools, difference.pools, now)
        self._take_settings(difference.former_balancers, difference.balancers)
        before = {name: self._serving.pop(name, set()) for name in concerned}
        self._serving |= {name: self._enabled(self._settings[name]) for name in concerned if name in self._settings}
        stopped = {
            (name, number): (self._settings.get(name) or former[name]).drain_s
            for name, numbers in before.items()
            for number in numbers - self._serving.get(name, set())
        }
        self._note_drains(stopped, now)
        return stopped, list(concerned)

    def _take_pools(self, former: Sequence[PoolSettings], changed: Sequence[PoolSettings], now: float) -> None:
        gone: set[int] = set()
        for pool in former:
            del self._pools[pool.name]
            self._views.pop(pool.name, None)
            for origin in pool.origins:
                del self.origins[origin.number], self._pool_of[origin.number]
                gone.add(origin.number)
        for pool in changed:
            self._pools[pool.name] = pool
            for origin in pool.origins:
                self._loads.set_parent(origin.number, pool.number)
                self.origins[origin.number], self._pool_of[origin.number] = origin, pool.name
        for number in gone - self.origins.keys():
            self._standings.pop(number, None)
        for pool in former:
            if pool.name not in self._pools:
                self._budgets.pop(("pool", pool.name), None)
        for pool in changed:
            self._look_at(pool.name, now)

    def _take_settings(self, former: Sequence[BalancerSettings], changed: Sequence[BalancerSettings]) -> None:
        for settings in former:
            del self._settings[settings.name]
            for pool in settings.all_pools():
                del self._users[pool][settings.name]
                if not self._users[pool]:
                    del self._users[pool]
        for settings in changed:
            self._settings[settings.name] = settings
            for pool in settings.all_pools():
                self._users.setdefault(pool, {})[settings.name] = None
        for settings in former:
            if settings.name not in self._settings:
                self._running.pop(settings.name, None)

    def _enabled(self, settings: BalancerSettings) -> set[int]:
        """Return the enabled origins of a load balancer."""
        pools = (self._pools[pool] for pool in settings.all_pools())
        return {origin.number for pool in pools if pool.enabled for origin in pool.origins if origin.enabled}

    def is_stopped(self, key: tuple[str, int]) -> bool:
        """Return whether an origin, by load balancer and number, is not enabled."""
        return key[1] not in self._serving.get(key[0], set())

    def _note_drains(self, stopped: Stopped, now: float) -> None:
        self._draining = {key: until for key, until in self._draining.items() if until > now and self.is_stopped(key)}
        self._draining |= {key: now + drain_s for key, drain_s in stopped.items() if drain_s}

    def take_standings(self, standings: Mapping[int, Standing]) -> set[int]:
        """Apply the health of origins, by number; return those that have become unusable, whose flows must leave."""
        before, now = self._kept(standings), time.monotonic()
        # Including origins of a snapshot that has not arrived yet.
        self._standings.update(standings)
        self._renew({self._pool_of[number] for number in standings if number in self._pool_of}, now)
        return before - self._kept(standings)

    def _kept(self, numbers: Iterable[int]) -> set[int]:
        """Return the origins whose flows stay: they are usable, or drained by an operator."""
        return {
            n
            for n in numbers
            if n in self._pool_of
            and (n in self._views[self._pool_of[n]].usable or ((s := self._standings.get(n)) and s.out == "drain"))
        }

    def take_latencies(self, latencies: Mapping[str, float]) -> None:
        """Apply the mean round trips of probes, by pool."""
        self._latencies.update(latencies)
        for name, settings in self._settings.items():
            if settings.policy == "dynamic_latency" and not latencies.keys().isdisjoint(settings.all_pools()):
                self._balance(name)

    def tick(self) -> None:
        """Advance slow starts and end drains; called once a second."""
        now = time.monotonic()
        self._renew({name for name, view in self._views.items() if view.ramping}, now)
        over = [key for key, until in self._draining.items() if until <= now]
        for key in over:
            del self._draining[key]
        for name in {key[0] for key in over}:
            if name in self._settings:
                self._balance(name)

    def _renew(self, pools: Iterable[str], now: float) -> None:
        names: set[str] = set()
        for pool in pools:
            self._look_at(pool, now)
            names.update(self._users.get(pool, ()))
        for name in names:
            self._balance(name)

    def _look_at(self, pool: str, now: float) -> None:
        self._views[pool] = PoolView(self._pools[pool], self._standings, now, self._views.get(pool))

    def _balance(self, name: str) -> None:
        settings = self._settings[name]
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = RunningBalancer(self._loads, self._affinities)
        views = {pool: self._views[pool] for pool in settings.all_pools()}
        draining = {number for balancer, number in self._draining if balancer == name}
        running.update(Balancer(settings, views, self._latencies, draining), self.country_of)

    # --- results of clients' sessions -----------------------------------------------------------------------------

    def outcomes_of(self, number: int) -> OriginOutcomes:
        """Return the notes on an origin since the last report."""
        outcomes = self._outcomes.get(number)
        if outcomes is None:
            outcomes = self._outcomes[number] = OriginOutcomes()
        return outcomes

    def failed(self, number: int, reason: str) -> None:
        """Note that a client could not be connected to an origin."""
        self.outcomes_of(number).connect_failed(reason)
        self._urgent()

    def ended(self, number: int, answered: bool, reset: bool, count: int = 1) -> None:
        """Note the end of sessions: see `OriginOutcomes.ended`."""
        self.outcomes_of(number).ended(answered, reset, count)
        if reset and not answered:
            self._urgent()

    def take_outcomes(self) -> dict[int, OriginOutcomes]:
        """Return the notes since the last call, by an origin's number."""
        taken, self._outcomes = self._outcomes, {}
        return taken
