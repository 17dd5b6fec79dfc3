"""What one sees of a daemon: the metrics page, its status, and where a client would go."""

import asyncio
import os
import time
from typing import Any

from aiohttp import web

from spectrum import __version__
from spectrum.control.balancing.explain import explain
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.served import Served
from spectrum.control.features import Features
from spectrum.control.http.admin import Upgrade, control_app
from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.http.status import apps_status, balancers_status, names_status, pools_status
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.life import Life
from spectrum.control.records.stream import records_status
from spectrum.control.records.totals import Totals
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Shared


class Pages:
    """Reads what there is; nothing waits for it but who asks.

    Args:
        source: What people call the source of the configuration.
        life: Whether the daemon goes on.
        served: What it serves.
        reloads: Of the configuration.
        fleet: The workers.
        memory: What they share.
        totals: What they counted.
        helper: Who changes the kernel's tables.
        features: All features.
    """

    def __init__(
        self,
        source: str,
        life: Life,
        served: Served,
        reloads: Reloads,
        fleet: Fleet,
        memory: SharedMemory,
        totals: Totals,
        helper: Helper,
        features: Features,
    ) -> None:
        self._source = source
        self._life = life
        self._served = served
        self._reloads = reloads
        self._fleet = fleet
        self._memory = memory
        self._totals = totals
        self._helper = helper
        self._features = features
        self._state = NodeState()
        self._exporter = Exporter(totals, self._state, features.health, features.names, features.records)
        self._started_at = time.monotonic()

    def control(self, upgrade: Upgrade) -> web.Application:
        """Return what the control socket serves; `upgrade` upgrades the daemon."""
        features, status = self._features, Shared(self.status)
        return control_app(status, self._reloads.reload, self.explain, upgrade, features.filter.samples, features.bound)

    def ready(self) -> bool:
        """Tell whether every worker serves on all of its listeners, and gives signs of life."""
        return not self._life.stopping.is_set() and len(self._fleet.listening()) == self._fleet.count

    async def metrics(self) -> bytes:
        """Return the metrics page."""
        await self._fleet.ask()
        self._read(self._state)
        self._totals.forget(self._served.config.apps.keys(), time.monotonic())
        return await self._exporter.render()

    def _read(self, state: NodeState) -> None:
        fleet, served = self._fleet, self._served
        answering = fleet.answering()
        state.generation = served.snapshot.generation if served.is_live else 0
        state.last_reload_successful = self._reloads.last_successful
        state.restart_needed = bool(served.restart_needed())
        state.certificates_end_at = {one.name: one.ends_at for one in served.snapshot.tls.certificates}
        state.workers_ready = len(answering)
        state.pauses = fleet.pauses()
        state.workers = {
            place: (found.life.generation if found else 0, found in answering)
            for place in range(fleet.count)
            for found in [fleet.workers.get(place)]
        }
        state.flows_offloaded = sum(worker.offloaded for worker in fleet.all())
        state.helper_lost = self._helper.is_lost
        state.held_bytes = sum(worker.held_bytes for worker in fleet.all())
        state.listeners_deaf = sum(worker.deaf for worker in fleet.workers.values())
        state.workers_stalled = sum(worker.stalled for worker in fleet.workers.values())

    async def status(self) -> dict[str, Any]:
        """Return what `spectrum status` shows."""
        await self._fleet.ask()
        features, served = self._features, self._served
        names = dict(features.names.addresses), dict(features.names.failures)
        apps = await asyncio.to_thread(apps_status, served.snapshot, self._totals.view(), *names)
        return {
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
            "kernel": {
                "bindings": features.bound.state,
                "filter": features.filter.state,
                "udp_offload": features.offload.state,
                "helper": self._helper.state,
            },
            "names": names_status(features.names),
            "records": records_status(features.records.read()),
            "apps": apps,
            "load_balancers": balancers_status(served.snapshot, features.health),
            "pools": pools_status(served.snapshot, served.config, features.health, self._memory.loads),
        }

    def explain(self, app: str, client: str, port: int) -> list[str]:
        """Return, step by step, where a client of an app goes, and why.

        Raises:
            ValueError: If there is no such app, the client is no address, or nothing is served yet.
        """
        plan = self._served.plan
        if not plan.snapshot.generation:
            raise ValueError("the daemon is not serving yet")
        return explain(plan.snapshot, plan.prefixes, self._features.health, self._memory, app, client, port)
