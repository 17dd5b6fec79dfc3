"""The pages of a daemon: metrics, status, and the resources of features."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from spectrum import __version__
from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.served import Served
from spectrum.control.http.admin import Upgrade, control_app
from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.http.live import LiveView
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.life import Life
from spectrum.control.records.totals import Totals
from spectrum.control.usage import Usage, usage_of_processes, usage_report
from spectrum.kernel.usage import ProcessUsage, usage_of
from spectrum.tasks import Shared, in_background


class Pages:
    """Renders the pages.

    Args:
        source: The name of the configuration's source.
        life: The daemon's life cycle.
        served: What is served.
        reloads: Reloads of the configuration.
        fleet: The workers.
        totals: Totals of the workers' counters.
        helper: The privileged helper.
        actors: The actors of all features.
    """

    def __init__(
        self,
        source: str,
        life: Life,
        served: Served,
        reloads: Reloads,
        fleet: Fleet,
        totals: Totals,
        helper: Helper,
        actors: Sequence[Actor],
    ) -> None:
        self._source = source
        self._life = life
        self._served = served
        self._reloads = reloads
        self._fleet = fleet
        self._helper = helper
        self._actors = actors
        self._state = NodeState()
        self._live = LiveView(served, reloads, fleet, totals, actors)
        self._exporter = Exporter(totals, self._state, actors)
        self._started_at = time.monotonic()

    def control(self, upgrade: Upgrade) -> web.Application:
        """Return the application of the control socket; `upgrade` upgrades the daemon."""
        return control_app(self._reloads.reload, upgrade, self.resources())

    def resources(self) -> list[Resource]:
        """Return all resources of the daemon, except those that replace its configuration or its program."""
        status = Shared(self.status)
        own = Resource("GET", "/status", lambda asked: status()), Resource("GET", "/limits", self._limits)
        return [*own, self._live.resource(), *(resource for actor in self._actors for resource in actor.resources())]

    def ready(self) -> bool:
        """Return whether every worker serves on all of its listeners, and responds."""
        return not self._life.stopping.is_set() and len(self._fleet.listening()) == self._fleet.count

    async def metrics(self, is_open: bool = False) -> bytes:
        """Return the metrics page; with `is_open`, as OpenMetrics."""
        await self._fleet.ask()
        self._read(self._state)
        processes = await self._processes()
        return await self._exporter.render(processes, await self._usages(processes), is_open)

    async def _limits(self, asked: ResourceRequest) -> dict[str, Any]:
        """Answer `spectrum limits`."""
        await self._fleet.ask()
        return {"limits": usage_report(await self._usages(await self._processes()))}

    async def _usages(self, processes: Mapping[str, ProcessUsage]) -> list[Usage]:
        usages = list(usage_of_processes(processes))
        for actor in self._actors:
            usages += await actor.usage()
        return usages

    async def _processes(self) -> dict[str, ProcessUsage]:
        """Return the resources that each process uses, by its name in metrics."""
        pids = {"supervisor": os.getpid()}
        for one in self._fleet.status():
            pids[f"former-{one['pid']}" if "relieved" in one else f"worker-{one['number']}"] = one["pid"]
        if self._helper.pid:
            pids["helper"] = self._helper.pid
        for actor in self._actors:
            pids |= actor.processes()
        found = await in_background(lambda: {name: usage_of(pid) for name, pid in pids.items()})
        return {name: usage for name, usage in found.items() if usage is not None}

    def _read(self, state: NodeState) -> None:
        fleet, served = self._fleet, self._served
        answering = fleet.answering()
        state.generation = served.snapshot.generation if served.is_live else 0
        state.last_reload_successful = self._reloads.last_successful
        state.restart_needed = bool(served.restart_needed())
        state.workers_ready = len(answering)
        state.pauses = fleet.pauses()
        state.workers = {
            place: (found.life.generation if found else 0, found in answering)
            for place in range(fleet.count)
            for found in [fleet.workers.get(place)]
        }
        state.helper_lost = self._helper.is_lost
        state.held_bytes = sum(worker.held_bytes for worker in fleet.all())
        state.listeners_deaf = sum(worker.deaf for worker in fleet.workers.values())
        state.workers_stalled = sum(worker.stalled for worker in fleet.workers.values())

    async def status(self) -> dict[str, Any]:
        """Answer `spectrum status`."""
        await self._fleet.ask()
        served = self._served
        status: dict[str, Any] = {
            "version": __version__,
            "pid": os.getpid(),
            "config": self._source,
            "generation": served.snapshot.generation,
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "starting": not served.is_live,
            "draining": self._life.stopping.is_set(),
            "restart_needed": served.restart_needed(),
            "workers": self._fleet.status(),
            "pauses": [
                {"number": place, "starts_in_s": round(seconds, 1), "why": self._fleet.ends.get(place, "")}
                for place, seconds in self._fleet.pauses().items()
            ],
            "kernel": {},
        }
        for actor in self._actors:
            _merge(status, await actor.status())
        status["kernel"]["helper"] = self._helper.state
        return status


def _merge(status: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add a part to a status; mappings under the same key are merged."""
    for key, value in part.items():
        if isinstance(known := status.get(key), dict) and isinstance(value, Mapping):
            _merge(known, value)
        else:
            status[key] = value
