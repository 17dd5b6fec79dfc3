"""Totals of the counters of all workers; when a worker dies, only its last second is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from spectrum.control.configuration.actor import Actor, Change, Jobs
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.records.app_metrics import app_metrics
from spectrum.control.records.app_status import apps_json
from spectrum.core.names import parse_service
from spectrum.core.records.measures import AppMeasures, OriginMeasures, WorkerMeasures, add_measures
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import Snapshot
from spectrum.tasks import in_background

# A removed app without sessions is kept for this time, in case that it comes back. Origins and access rules of an app
# without reports are kept for this time to twice that.
FORGET_AFTER_S = 3600.0
# Beyond this number of removed apps, those that were removed first are forgotten early, some in each call of `forget`.
MAX_GONE = 1000
FORGOTTEN_AT_ONCE = 100
SWEEP_EVERY_S = 1.0
# Apps checked in one call of `sweep`: a millisecond.
APPS_AT_ONCE = 500


@dataclass(frozen=True)
class Named:
    """The names in a configuration: the addresses of origins, those of names included, and access rules."""

    addresses: Set[str]
    rules: Set[str]


def named(snapshot: Snapshot, names: Mapping[str, tuple[str, ...]]) -> Named:
    """Return the names in a configuration; `names` are the addresses of names, as `core.names.name_key` has them."""
    addresses = {address for app in snapshot.apps for address, _ in app.origins}
    addresses.update(origin.address for pool in snapshot.pools for origin in pool.origins)
    for known in names.values():
        addresses.update(text if " " not in text else parse_service(text).address for text in known)
    return Named(addresses, {rule.name for rule in snapshot.access.rules})


def origin_names(snapshot: Snapshot) -> dict[int, tuple[str, str]]:
    """Return the pool and the name of each origin in pools, by its number."""
    return {origin.number: (pool.name, origin.name) for pool in snapshot.pools for origin in pool.origins}


@dataclass
class Totals:
    """Counters since the supervisor's start.

    Attributes:
        apps: Counters by app's name; they change with each report. `view` returns a copy that does not.
    """

    apps: dict[str, AppMeasures] = field(default_factory=dict)
    workers: WorkerMeasures = field(default_factory=WorkerMeasures)
    worker_restarts: int = 0
    # Of these, those that were killed because they did not respond.
    workers_killed: int = 0
    # When the last one ended unexpectedly (seconds since 1970; 0 for never), and the sessions lost with all of them.
    worker_ended_at: float = 0.0
    sessions_lost: int = 0
    # Apps without a view: they are changed in place, others are copied.
    _own: set[str] = field(default_factory=set)
    # Open sessions per worker number and app.
    _open: dict[int, Counter[str]] = field(default_factory=dict)
    # Likewise, connections that wait for a session, by app and origin.
    _preconnected: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)
    # The apps of the file, and those that have counters although they are not among them.
    _served: Set[str] = frozenset()
    _absent: set[str] = field(default_factory=set)
    # Since when an app is neither in the file nor has sessions, in the order of these times.
    _gone_since: dict[str, float] = field(default_factory=dict)
    # Of each app, the origins and rules reported since the last sweep.
    _reported: dict[str, set[str]] = field(default_factory=dict)
    # Apps that are still to be swept, and when the next sweep begins.
    _to_sweep: list[str] = field(default_factory=list)
    # By app, the records that workers have left out since the last `take_left_out`.
    _left_out: Counter[str] = field(default_factory=Counter)
    # Apps with changed counters since the last `news`.
    _news: set[str] = field(default_factory=set)
    _sweep_at: float | None = None

    def view(self) -> dict[str, AppMeasures]:
        """Return the counters by app as of now, which do not change any more: any thread may read them."""
        self._own = set()
        return dict(self.apps)

    def news(self) -> set[str]:
        """Return the apps whose counters changed since the last call."""
        news, self._news = self._news, set()
        return news

    def take_left_out(self) -> dict[str, int]:
        """Return by app how many records workers have left out of the log since the last call."""
        left_out, self._left_out = self._left_out, Counter()
        return left_out

    def add(self, worker: int, apps: dict[str, AppMeasures], own: WorkerMeasures) -> None:
        """Add a report of worker number `worker`."""
        self.workers.add(own)
        opened = self._open.setdefault(worker, Counter())
        preconnected = self._preconnected.setdefault(worker, Counter())
        for name, measures in apps.items():
            opened[name] += measures.active
            if measures.left_out:
                self._left_out[name] += measures.left_out
            for origin, counted in measures.origins.items():
                if counted.preconnects:
                    preconnected[name, origin] += counted.preconnected
            if measures.origins or measures.rules:
                self._reported.setdefault(name, set()).update(measures.origins, measures.rules)
            self._add(name, measures)

    def _add(self, name: str, measures: AppMeasures) -> None:
        self._have_own(name)
        self._news.add(name)
        if name not in self.apps and name not in self._served:
            self._absent.add(name)
        add_measures(self.apps, name, measures)

    def _have_own(self, name: str) -> None:
        """Copy the counters of an app that a view has."""
        if name in self._own:
            return
        self._own.add(name)
        if name in self.apps:
            copy = AppMeasures()
            copy.add(self.apps[name])
            self.apps[name] = copy

    def lose(self, worker: int) -> int:
        """Count the open sessions of a worker that is gone as lost; return their number. Its connections that waited
        for a session were closed with it.
        """
        for (name, origin), count in self._preconnected.pop(worker, Counter()).items():
            self._add(name, AppMeasures(origins={origin: OriginMeasures(preconnects={"closed": count})}))
        lost = {name: count for name, count in self._open.pop(worker, Counter()).items() if count > 0}
        for name, count in lost.items():
            self._add(name, AppMeasures(ended={Reason.WORKER_LOST: count}))
        self.sessions_lost += sum(lost.values())
        return sum(lost.values())

    def serve(self, served: Set[str], removed: Iterable[str]) -> None:
        """Take the apps of another configuration.

        Args:
            served: All of them.
            removed: At least those that it does not have and that have counters.
        """
        self._served = served
        self._absent = {name for name in (*self._absent, *removed) if name not in served and name in self.apps}

    def forget(self, now: float) -> None:
        """Forget apps that are not served any more and had no session for `FORGET_AFTER_S`, the first ones of them.

        Otherwise a node whose apps come and go would accumulate series. `now` is of the monotonic clock.
        """
        gone = {name: None for name in self._absent if self.apps[name].active <= 0}
        still = {name: since for name, since in self._gone_since.items() if name in gone}
        self._gone_since = still | dict.fromkeys(gone.keys() - still.keys(), now)
        surplus = len(self._gone_since) - MAX_GONE
        for i, (name, since) in enumerate(tuple(islice(self._gone_since.items(), FORGOTTEN_AT_ONCE))):
            if i >= surplus and now - since < FORGET_AFTER_S:
                break
            self._forget_app(name)

    def _forget_app(self, name: str) -> None:
        del self.apps[name], self._gone_since[name]
        self._absent.discard(name)
        self._own.discard(name)
        self._news.discard(name)
        self._reported.pop(name, None)
        for opened in self._open.values():
            opened.pop(name, None)

    def sweep(self, get_named: Callable[[], Named], now: float) -> None:
        """Check some apps; forget their origins and rules that are not named, not reported and without a session. To be
        called once a second. `now` is of the monotonic clock.

        To be called once a second. `now` is of the monotonic clock.
        """
        if not self._to_sweep:
            if self._sweep_at is None or now >= self._sweep_at:
                self._to_sweep = list(self.apps) if self._sweep_at is not None else []
                self._sweep_at = now + FORGET_AFTER_S
            return
        some, self._to_sweep = self._to_sweep[:APPS_AT_ONCE], self._to_sweep[APPS_AT_ONCE:]
        quiet = {name: found for name in some if (found := self._quiet_parts(name))}
        if not quiet:
            return
        kept = get_named()
        for name, (origins, rules) in quiet.items():
            gone = [origin for origin in origins if origin.rpartition(":")[0].strip("[]") not in kept.addresses]
            unnamed = [rule for rule in rules if rule not in kept.rules]
            if gone or unnamed:
                self._have_own(name)
            for origin in gone:
                del self.apps[name].origins[origin]
            for rule in unnamed:
                del self.apps[name].rules[rule]

    def _quiet_parts(self, name: str) -> tuple[list[str], list[str]] | None:
        """Return the origins and rules of an app that were not reported since the last call; None without any."""
        measures, reported = self.apps.get(name), self._reported.pop(name, set())
        if measures is None:
            return None
        origins = [
            origin
            for origin, counted in measures.origins.items()
            if origin not in reported and counted.connected <= counted.ended
        ]
        rules = [rule for rule in measures.rules if rule not in reported]
        return (origins, rules) if origins or rules else None


FIGURES = ("sessions", "started", "failed", "refused", "bytes_from_client", "bytes_from_origin")
_FAILED = frozenset(reason for reason in Reason if reason.event in ("originError", "resolveOrigin"))
_REFUSED = frozenset(reason for reason in Reason if reason.refused)


def figures(one: AppMeasures) -> tuple[int, ...]:
    """Return for an app what `FIGURES` are called: `sessions` are the open ones, the others are counts since the start.
    `failed` are sessions that no origin accepted; `refused` are clients turned away before an origin was chosen.
    """
    return (
        one.active,
        one.started,
        sum(count for reason, count in one.ended.items() if reason in _FAILED),
        sum(count for reason, count in one.ended.items() if reason in _REFUSED),
        one.bytes_from_client,
        one.bytes_from_origin,
    )


def _figures_json(measured: Mapping[str, AppMeasures]) -> msgspec.Raw:
    """Return the figures of each app as JSON, written app by app: see `apps_json`."""
    items = (f"{msgspec.json.encode(name).decode()}:{list(figures(one))}" for name, one in measured.items())
    return msgspec.Raw(f"{{{','.join(items)}}}".encode())


def _absent(names: Iterable[str], served: Set[str]) -> list[str]:
    return [name for name in names if name not in served]


class TotalsActor(Actor):
    """Reports the counters of apps, and forgets those of apps that are gone.

    Args:
        totals: The counters.
        served: What is served.
        names: The addresses of names.
        failures: Why look-ups of names fail.
    """

    def __init__(
        self, totals: Totals, served: Served, names: Mapping[str, tuple[str, ...]], failures: Mapping[str, str]
    ) -> None:
        self._totals = totals
        self._served = served
        self._names = names
        self._failures = failures

    async def status(self) -> Mapping[str, Any]:
        """Return all apps, in the order of the file."""
        names = dict(self._names), dict(self._failures)
        return {"apps": await in_background(apps_json, self._served.snapshot, self._totals.view(), *names)}

    def resources(self) -> Iterable[Resource]:
        """GET /apps/figures: some numbers of each app with traffic."""
        return (Resource("GET", "/apps/figures", self._figures),)

    async def _figures(self, asked: ResourceRequest) -> dict[str, Any]:
        view = self._totals.view()
        paused = [app.name for app in self._served.snapshot.apps if app.paused]
        apps = await in_background(_figures_json, view)
        return {"at": time.time(), "keys": FIGURES, "apps": apps, "paused": paused}

    async def metrics(self) -> Iterable[bytes]:
        """Return the counters of each app, including removed apps with sessions."""
        snapshot, served = self._served.snapshot, self._served.config.apps
        return await app_metrics(self._totals, origin_names(snapshot), served)

    async def release(self, change: Change) -> None:
        """Start the retention time of apps that left the configuration."""
        served = change.after.config.apps.keys()
        if change.difference is not None:
            removed: Iterable[str] = change.difference.removed()
        else:
            self._totals.serve(served, ())  # Apps that are counted from now on are compared with it.
            removed = await in_background(_absent, list(self._totals.apps), served)
        self._totals.serve(served, removed)
        self._totals.forget(time.monotonic())

    def jobs(self) -> Jobs:
        """Forget apps, origins and rules that are gone."""
        return {"forget what is gone": self._sweep}

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._totals.forget(time.monotonic())
            self._totals.sweep(lambda: named(self._served.snapshot, self._names), time.monotonic())
