"""Live figures, once per second, for all subscribers: one question to the daemon, and one message per scope.

Without subscribers nothing is asked. The daemon sends the totals of those apps whose counts changed; rates are the
differences over a second. A slow browser misses messages, and delays no other one.
"""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from spectrum.api.catalogue import NotLive
from spectrum.api.holdings import Holdings, Owners
from spectrum.api.live_events import AppFigures, AwayEvent, LiveEvent, Traffic, rated
from spectrum.link.encoding import encode
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

EVERY_S = 1.0
# Apps in a message: the limit of those with trouble, and of those with the most traffic.
MOST_APPS = 50
MOST_FINDINGS = 20
# Weight of the latest second in the mean by which apps are ranked.
SMOOTHED_S = 15.0
# Apps that a finding names.
MOST_NAMED = 5
# An app is in trouble at this number of failed sessions in the last minute, and this share of new ones.
FAILING_S, FAILING_LEAST, FAILING_SHARE, FAILING_MOST = 60.0, 5, 0.05, 0.5
# Positions in the daemon's counts of an app (spectrum/control/http/live.py).
OPEN, STARTED, REFUSED, FAILED, IN, OUT, DROPPED, FAILURES = range(8)
_NONE: list[Any] = [0, 0, 0, 0, 0, 0, 0, {}]
_SEVERITY = {"failed": 0, "degraded": 1, "past": 2}
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class LiveScope:
    """What a subscriber may see.

    Attributes:
        account: The account's name.
        zones: These zones only; None for all of the account.
        sees_node: Also the workers.
        sees_all: Also findings that belong to no account, such as those that name paths of the machine or objects of
            other accounts.
    """

    account: str
    zones: frozenset[str] | None = None
    sees_node: bool = True
    sees_all: bool = True

    def has(self, owners: Owners) -> bool:
        """Return whether an object of an account and a zone is visible."""
        account, zone = owners
        return account == self.account and (self.zones is None or zone in self.zones)


@dataclass(slots=True)
class _App:
    """The counts of an app."""

    owners: Owners
    counts: list[Any]
    # Differences to the previous second, by second.
    rates: tuple[float, ...] = (0.0,) * 7
    # A mean of its recent traffic, by which apps are ranked: ranks by a single second would make lists jump.
    weight: float = 0.0
    # Of the last minute: time, new sessions, failed sessions.
    minute: deque[tuple[float, int, int]] = field(default_factory=deque)


class LiveSource(Protocol):
    """Answers questions about what is served; see `supervisor.DaemonLink`."""

    async def ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return the answer of a resource of the control socket; raise `NotLive` without one."""


class LiveFeed:
    """Polls the daemon while there are subscribers.

    Args:
        supervisor: The link to the supervisor.
        catalogue: The objects, with their owners.
        every_s: The interval in seconds.
    """

    def __init__(self, supervisor: LiveSource, catalogue: Holdings, every_s: float = EVERY_S) -> None:
        self._supervisor = supervisor
        self._catalogue = catalogue
        self._every_s = every_s
        self._tasks = Tasks()
        self._listeners = 0
        self._is_running = self._is_stopped = False
        self._next: asyncio.Future[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._answer: dict[str, Any] | None = None
        self._away = ""
        # By the daemon's monotonic clock.
        self._now = 0.0
        self._number = 0
        self._apps: dict[str, _App] = {}
        # Apps with open sessions, or with traffic in the last second; and apps with recent failures.
        self._active: set[str] = set()
        self._failing: set[str] = set()
        self._moving: set[str] = set()
        self._sums: dict[Owners, list[float]] = {}
        self._rates: dict[Owners, list[float]] = {}
        self._has_rates = False
        self._messages: dict[LiveScope, bytes] = {}

    @property
    def listeners(self) -> int:
        """The number of subscribers."""
        return self._listeners

    async def follow(self, scope: LiveScope, is_good: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield each second's message, as an event of a stream.

        Args:
            scope: What the subscriber may see.
            is_good: Returns whether the subscriber is still authorized.
        """
        self._listeners += 1
        try:
            if not self._is_running and not self._is_stopped:
                self._is_running = True
                self._next = asyncio.get_running_loop().create_future()
                self._tasks.start(self._run(), "live figures")
            elif self._answer is not None:
                yield self._message(scope)
            while self._next is not None and not self._is_stopped:
                await asyncio.shield(self._next)
                if self._is_stopped or not is_good():
                    return
                yield self._message(scope)
        finally:
            self._listeners -= 1

    async def stop(self) -> None:
        """End all streams."""
        self._is_stopped = True
        self._turn()
        await self._tasks.stop()

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        due = now()
        try:
            while self._listeners:
                try:
                    self._take(await self._supervisor.ask("GET", "/live", {"after": str(self._number)}))
                except NotLive as exc:
                    self._forget()
                    self._away = str(exc)
                self._messages = {}
                self._turn()
                due = max(due + self._every_s, now())
                await asyncio.sleep(due - now())
        except Exception:
            log.exception("rates: internal error")
        finally:
            self._forget()
            self._is_running = False
            self._turn(is_last=True)

    def _turn(self, is_last: bool = False) -> None:
        """Wake subscribers that wait for the next message."""
        done, self._next = self._next, None
        if not is_last and not self._is_stopped:
            self._next = asyncio.get_running_loop().create_future()
        if done is not None and not done.done():
            done.set_result(None)

    # --- answers of the daemon ------------------------------------------------------------------------------------

    def _take(self, answer: dict[str, Any]) -> None:
        if answer["is_all"]:
            self._forget()
        passed_s = answer["monotonic"] - self._now
        self._has_rates = self._answer is not None and passed_s > 0
        self._answer, self._now, self._number, self._away = answer, answer["monotonic"], answer["number"], ""
        self._rates = {}
        moved, still = answer["apps"], self._moving - answer["apps"].keys()
        for name in still:
            self._apps[name].rates = (0.0,) * 7
            if not self._apps[name].counts[OPEN]:
                self._active.discard(name)
        self._moving = set()
        for name, counts in moved.items():
            self._count(name, counts, passed_s)
        for name in self._active:
            app = self._apps[name]
            app.weight += (app.rates[IN] + app.rates[OUT] - app.weight) / SMOOTHED_S
        for name in list(self._failing):
            self._age(name)

    def _count(self, name: str, counts: list[Any], passed_s: float) -> None:
        owners = self._owners(name)
        app = self._apps.get(name)
        if app is not None and app.owners != owners:
            self._add(app.owners, [-one for one in app.counts[:FAILURES]])
            app = None
        before = app.counts if app is not None else _NONE
        if app is None:
            app = self._apps[name] = _App(owners, counts)
        more = [now - then for now, then in zip(counts[:FAILURES], before[:FAILURES], strict=True)]
        self._add(owners, more)
        app.counts = counts
        if self._has_rates:
            app.rates = tuple(one / passed_s for one in more)
            rates = self._rates.setdefault(owners, [0.0] * 7)
            for i, rate in enumerate(app.rates):
                rates[i] += rate
            self._moving.add(name)
            if more[FAILED] or name in self._failing:
                self._failing.add(name)
                app.minute.append((self._now, more[STARTED], more[FAILED]))
        (self._active.add if counts[OPEN] or any(app.rates) else self._active.discard)(name)

    def _add(self, owners: Owners, more: Iterable[float]) -> None:
        sums = self._sums.setdefault(owners, [0.0] * 7)
        for i, one in enumerate(more):
            sums[i] += one

    def _age(self, name: str) -> None:
        minute = self._apps[name].minute
        while minute and minute[0][0] < self._now - FAILING_S:
            minute.popleft()
        if not any(failed for _, _, failed in minute):
            minute.clear()
            self._failing.discard(name)

    def _owners(self, name: str) -> Owners:
        found = self._catalogue.named("apps", name)
        return self._catalogue.owners(found) if found is not None else ("", "")

    # --- messages to subscribers ----------------------------------------------------------------------------------

    def _message(self, scope: LiveScope) -> bytes:
        """Return the event for a scope; all subscribers with that scope get the same one."""
        known = self._messages.get(scope)
        if known is None:
            content = self._content(scope) if self._answer is not None else AwayEvent(self._away)
            known = self._messages[scope] = b"data: %b\n\n" % encode(_ENCODER, content)
        return known

    def _content(self, scope: LiveScope) -> LiveEvent:
        answer = self._answer
        assert answer is not None, "the caller looked"
        findings = self._findings(scope, answer["troubles"])
        wrong = [one for one in findings if one["severity"] != "past"]
        states = _states(wrong)
        return LiveEvent(
            at=answer["at"],
            node=answer["node"],
            version=answer["version"],
            revision=answer["generation"],
            workers=answer["workers"] if scope.sees_node else None,
            totals=self._totals(scope),
            app_count=len(self._catalogue.in_account("apps", scope.account)),
            apps=[self._row(name, states.get(name)) for name in self._shown(scope, states)],
            trouble=_counted(wrong, states),
            findings=[_told(one, self._catalogue) for one in islice(findings, MOST_FINDINGS)],
            finding_count=len(findings),
        )

    def _totals(self, scope: LiveScope) -> Traffic:
        sums, rates = [0.0] * 7, [0.0] * 7
        for owners, counted in self._sums.items():
            if scope.has(owners):
                sums = [a + b for a, b in zip(sums, counted, strict=True)]
        for owners, rate in self._rates.items():
            if scope.has(owners):
                rates = [a + b for a, b in zip(rates, rate, strict=True)]
        return Traffic(open=sums[OPEN], **rated(rates if self._has_rates else None))

    def _shown(self, scope: LiveScope, states: Mapping[str, Any]) -> list[str]:
        """Return the names of the apps in a message: those with trouble, then those with the most traffic."""
        troubled = [name for name in states if scope.has(self._owners(name))]
        rest = (name for name in self._active if name not in states and scope.has(self._apps[name].owners))
        return troubled[:MOST_APPS] + heapq.nlargest(MOST_APPS, rest, key=self._weight)

    def _weight(self, name: str) -> tuple[float, float]:
        app = self._apps[name]
        return app.weight, app.counts[OPEN]

    def _row(self, name: str, state: tuple[str, str, Mapping[str, Any]] | None) -> AppFigures:
        app, found = self._apps.get(name), self._catalogue.named("apps", name)
        rates = app.rates if app is not None else (0.0,) * 7
        severity, why, facts = state if state is not None else (UNSET, UNSET, UNSET)
        return AppFigures(
            id=found.id if found else "",
            name=name,
            zone=self._zone_of(app.owners if app else self._owners(name)),
            protocol=found.value.get("protocol", "") if found else "",
            open=app.counts[OPEN] if app else 0,
            **rated(rates if self._has_rates else None),
            severity=severity,
            why=why,
            facts=facts,
        )

    def _zone_of(self, owners: Owners) -> str:
        zone = self._catalogue.named("zones", owners[1])
        return zone.id if zone is not None else ""

    def _findings(self, scope: LiveScope, troubles: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the findings, the worst first, among equals the newest."""
        found = [self._seen(scope, one) for one in (*troubles, *self._failing_apps()) if self._is_in(scope, one)]
        return sorted(found, key=lambda one: (_SEVERITY[one["severity"]], -one["since"]))

    def _is_in(self, scope: LiveScope, trouble: Mapping[str, Any]) -> bool:
        if not trouble["section"]:
            return scope.sees_all or (scope.sees_node and trouble["kind"].startswith("worker_"))
        one = self._catalogue.named(trouble["section"], trouble["name"])
        is_own = scope.sees_all if one is None else scope.has(self._catalogue.owners(one))
        return is_own or any(scope.has(self._owners(app)) for app in trouble["apps"])

    def _seen(self, scope: LiveScope, trouble: dict[str, Any]) -> dict[str, Any]:
        """Return a finding without the objects of other accounts."""
        if scope.zones is None and len(self._catalogue.names("accounts")) < 2:
            return trouble
        apps = [app for app in trouble["apps"] if scope.has(self._owners(app))]
        facts = trouble["facts"] if scope.sees_node or trouble["kind"] != "set_aside" else {}
        return {**trouble, "apps": apps, "facts": facts}

    def _failing_apps(self) -> Iterable[dict[str, Any]]:
        for name in self._failing:
            app = self._apps[name]
            began = sum(one for _, one, _ in app.minute)
            failed = sum(one for _, _, one in app.minute)
            if failed < FAILING_LEAST or failed < FAILING_SHARE * max(began, failed):
                continue
            failures = app.counts[FAILURES]
            yield {
                "kind": "app_failing",
                "severity": "failed" if failed >= FAILING_MOST * began else "degraded",
                "section": "apps",
                "name": name,
                "since": self._answer["at"] - (self._now - app.minute[0][0]) if self._answer is not None else 0.0,
                "facts": {"failed": failed, "began": began, "why": max(failures, key=failures.get, default="")},
                "apps": [name],
            }


def _states(findings: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str, Mapping[str, Any]]]:
    """Return the worst finding of each app: its severity, kind and facts; the worst apps first.

    An origin that is down degrades its app: other origins serve it.
    """
    found: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    for one in findings:
        severity = "degraded" if one["kind"] in ("origin_down", "origin_ejected") else one["severity"]
        for app in one["apps"] or ([one["name"]] if one["section"] == "apps" else []):
            known = found.get(app)
            if known is None or _SEVERITY[severity] < _SEVERITY[known[0]]:
                found[app] = severity, one["kind"], one["facts"]
    return dict(sorted(found.items(), key=lambda item: _SEVERITY[item[1][0]]))


def _counted(findings: Iterable[Mapping[str, Any]], states: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return the number of findings, by section of the file and severity; "node" for the node itself."""
    counted: dict[str, dict[str, int]] = {}
    for section, severity in (
        *(("apps", state[0]) for state in states.values()),
        *((one["section"] or "node", one["severity"]) for one in findings if one["section"] != "apps"),
    ):
        part = counted.setdefault(section, {"failed": 0, "degraded": 0})
        part[severity] += 1
    return counted


def _told(trouble: Mapping[str, Any], catalogue: Holdings) -> dict[str, Any]:
    """Return a finding with the ids of the objects that it names."""
    one = catalogue.named(trouble["section"], trouble["name"]) if trouble["section"] else None
    apps = []
    for name in trouble["apps"][:MOST_NAMED]:
        app = catalogue.named("apps", name)
        apps.append({"id": app.id if app else "", "name": name})
    return {**trouble, "id": one.id if one else "", "apps": apps, "app_count": len(trouble["apps"])}
