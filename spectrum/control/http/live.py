"""The live view, polled once a second: counters of apps since the last poll, and troubles. Nothing is computed while
nobody polls. Counters are sent as differences: of 10,000 apps those without traffic in the last second cost nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spectrum import __version__
from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.fleet import Fleet
from spectrum.control.records.totals import Totals
from spectrum.control.trouble import Trouble
from spectrum.control.usage import Usage
from spectrum.core.records.measures import AppMeasures
from spectrum.core.records.reasons import Reason

# Apps processed before the loop gets a turn: a millisecond.
SLICE = 200
# Interval of the check of limits: with 10,000 apps it takes 20 ms.
LIMITS_EVERY_S = 15.0
# The share of a limit from which it is reported.
NEAR = 0.9
MOST_LIMITS = 20
# How long a worker that ended is reported.
TOLD_FOR_S = 3600.0
_REASONS = {reason.value: reason for reason in Reason}


class LiveView:
    """Answers polls of the live view. Only the control API's process polls, for all browsers.

    Args:
        served: What is served.
        reloads: Reloads of the configuration.
        fleet: The workers.
        totals: Totals of the workers' counters.
        actors: The actors of all features.
    """

    def __init__(self, served: Served, reloads: Reloads, fleet: Fleet, totals: Totals, actors: Sequence[Actor]) -> None:
        self._served = served
        self._reloads = reloads
        self._fleet = fleet
        self._totals = totals
        self._actors = actors
        # Identifies the last answer; a client with another one gets the full state.
        self._number = 0
        self._near: list[Usage] = []
        self._near_at = -LIMITS_EVERY_S

    def resource(self) -> Resource:
        """Return the resource of the live view."""
        return Resource("GET", "/live", self._answer)

    async def _answer(self, asked: ResourceRequest) -> dict[str, Any]:
        await self._fleet.ask()
        at, now = time.time(), time.monotonic()
        changed = self._totals.news()
        is_next = asked.query.get("after") == str(self._number) and self._number > 0
        names: Iterable[str] = changed if is_next else list(self._totals.apps)
        self._number += 1
        await self._look_at_limits()
        return {
            "at": at,
            "monotonic": now,
            "number": self._number,
            "is_all": not is_next,
            "version": __version__,
            "node": self._served.config.node.name or "",
            "generation": self._served.snapshot.generation,
            "served": len(self._served.snapshot.apps),
            "workers": {"wanted": self._fleet.count, "serving": len(self._fleet.answering())},
            "apps": await self._counted(names),
            "troubles": [shown(one) for one in self._troubles()],
        }

    async def _counted(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return the counters of each app since the daemon's start."""
        told: dict[str, list[Any]] = {}
        for i, name in enumerate(names, 1):
            if (measures := self._totals.apps.get(name)) is not None:
                told[name] = counts(measures)
            if i % SLICE == 0:
                await asyncio.sleep(0)
        return told

    async def _look_at_limits(self) -> None:
        now = time.monotonic()
        if now - self._near_at < LIMITS_EVERY_S:
            return
        self._near_at = now
        usages = [usage for actor in self._actors for usage in await actor.usage()]
        near = sorted((one for one in usages if one.share >= NEAR), key=lambda one: -one.share)
        self._near = near[:MOST_LIMITS]

    # --- troubles -------------------------------------------------------------------------------------------------

    def _troubles(self) -> Iterator[Trouble]:
        for actor in self._actors:
            yield from actor.troubles()
        yield from self._of_workers()
        for one in self._near:
            facts = {"limit": one.limit, "of": one.of, "used": one.used, "maximum": one.maximum, "setting": one.setting}
            is_app = one.of in self._served.config.apps
            section, name = ("apps", one.of) if is_app else ("", "")
            yield Trouble("limit_near", "failed" if one.share >= 1 else "degraded", section, name, facts=facts)
        if self._reloads.refusal:
            yield Trouble(
                "reload_refused", "degraded", since=self._reloads.refused_at, facts={"why": self._reloads.refusal}
            )
        if needed := self._served.restart_needed():
            yield Trouble("restart_needed", "degraded", facts={"settings": needed})

    def _of_workers(self) -> Iterator[Trouble]:
        fleet, totals = self._fleet, self._totals
        for place, starts_in_s in fleet.pauses().items():
            facts = {"worker": place, "why": fleet.ends.get(place, ""), "starts_in_s": round(starts_in_s, 1)}
            yield Trouble("worker_missing", "failed", facts=facts)
        for worker in fleet.workers.values():
            if worker.stalled:
                yield Trouble("worker_stalled", "failed", facts={"worker": worker.number, "sessions": worker.sessions})
            if worker.deaf:
                yield Trouble("worker_deaf", "failed", facts={"worker": worker.number, "listeners": worker.deaf})
        if 0 <= time.time() - totals.worker_ended_at < TOLD_FOR_S:  # not for days after the clock is set back
            facts = {"count": totals.worker_restarts, "killed": totals.workers_killed, "lost": totals.sessions_lost}
            facts |= {"why": next(reversed(fleet.ends.values()), "")}
            yield Trouble("worker_replaced", "degraded", since=totals.worker_ended_at, facts=facts)


def shown(trouble: Trouble) -> dict[str, Any]:
    """Return a trouble in the form that is sent."""
    return {
        "kind": trouble.kind,
        "severity": trouble.severity,
        "section": trouble.section,
        "name": trouble.name,
        "since": trouble.since,
        "facts": dict(trouble.facts),
        "apps": list(trouble.apps),
    }


def counts(measures: AppMeasures) -> list[Any]:
    """Return the counters of an app: open and begun sessions, refused and failed ones, bytes from clients and to them,
    dropped datagrams, and failures by reason.
    """
    ended = refused = 0
    failures: dict[str, int] = {}
    for number, count in measures.ended.items():
        ended += count
        reason = _REASONS.get(number)
        if reason is None:
            continue
        if reason.refused:
            refused += count
        elif reason.status >= 500:
            failures[reason.label] = count
    dropped = sum(measures.dropped.values())
    return [
        measures.started - ended,
        measures.started,
        refused,
        sum(failures.values()),
        measures.bytes_from_client,
        measures.bytes_from_origin,
        dropped,
        failures,
    ]
