"""Load balancing in the supervisor: health checks of origins, status and metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from prometheus_client.core import Metric

from spectrum.control.balancing.explain import app_settings, explain
from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.balancing.health_metrics import health_metrics, read_health
from spectrum.control.balancing.previews import Previews, PreviewsBusy
from spectrum.control.balancing.report import balancers_status, balancing_troubles, pool_status, pools_status
from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.configuration.served import Served
from spectrum.control.filter.explain import explain_filter
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.trouble import Trouble
from spectrum.core.balancing.checks import BALANCING, monitor_faults
from spectrum.core.balancing.groups import probing
from spectrum.core.balancing.objects import Monitor
from spectrum.core.difference import Difference
from spectrum.core.names import name_key
from spectrum.core.snapshot import Addresses, AppSettings
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import in_thread

_BALANCING = frozenset(section.key for section in BALANCING.sections)


class _PreviewAsked(msgspec.Struct, frozen=True):
    owner: str
    monitor: dict[str, Any]
    pools: list[str]


class HealthActor(Actor):
    """Runs the health checks of a configuration's origins.

    Args:
        health: Keeps their health.
        addresses: The addresses of DNS names.
        served: What is served.
        memory: The memory that workers share.
    """

    def __init__(self, health: HealthKeeper, addresses: Addresses, served: Served, memory: SharedMemory) -> None:
        self._health = health
        self._addresses = addresses
        self._served = served
        self._memory = memory
        self._previews = Previews(health)

    async def status(self) -> Mapping[str, Any]:
        """Return load balancers, pools and origins."""
        snapshot, health = self._served.snapshot, self._health
        return {
            "load_balancers": balancers_status(snapshot, health),
            "pools": pools_status(snapshot, self._served.config, health, self._memory.loads),
        }

    def troubles(self) -> Iterable[Trouble]:
        """Report origins that are down, pools with too few origins, and load balancers without a healthy pool."""
        return balancing_troubles(self._served.snapshot, self._health)

    async def metrics(self) -> Iterable[Metric]:
        """Return the health of origins and pools, and the results of probes."""
        return health_metrics(await read_health(self._health))

    def resources(self) -> Iterable[Resource]:
        """GET /explain, GET /pool, GET /balancing, POST /previews, GET /preview."""
        return (
            Resource("GET", "/explain", self._explain),
            Resource("GET", "/pool", self._pool),
            Resource("GET", "/balancing", self._balancing),
            Resource("POST", "/previews", self._begin_preview, has_body=True),
            Resource("GET", "/preview", self._preview),
        )

    async def _balancing(self, asked: ResourceRequest) -> dict[str, Any]:
        """Return the status of load balancers and pools, and the name of this node."""
        return {"node": self._served.config.node.name or "local", **await self.status()}

    async def _pool(self, asked: ResourceRequest) -> dict[str, Any]:
        """Return the status of one pool, and the name of this node."""
        name, config = asked.query.get("pool", ""), self._served.config
        pool = next((pool for pool in self._served.snapshot.pools if pool.name == name), None)
        if pool is None:
            raise ValueError(f"no pool {name!r}")
        configured = config.pools[name]
        told = pool_status(pool, configured, self._health, self._memory.loads)
        types = {one.monitor: config.monitors[one.monitor].type for one in probing(configured, config.monitor_groups)}
        return {"node": config.node.name or "local", "monitor_types": types, **told}

    async def _begin_preview(self, asked: ResourceRequest) -> dict[str, Any]:
        """Probe pools once with the monitor in the body; return the preview's id, or why there is none."""
        wanted = msgspec.convert(asked.body, _PreviewAsked)
        monitor = Monitor.model_validate(wanted.monitor)
        faults = [(list(fault.path), fault.message) for fault in monitor_faults((), monitor)]
        if faults:
            return {"faults": faults}
        try:
            preview_id, pools = self._previews.begin(wanted.owner, monitor, wanted.pools)
        except PreviewsBusy as exc:
            return {"busy": str(exc)}
        except ValueError as exc:
            return {"faults": [([], str(exc))]}
        return {"id": preview_id, "pools": pools}

    async def _preview(self, asked: ResourceRequest) -> dict[str, Any]:
        """Return the results of a preview so far; no pools if its owner has no such preview."""
        return self._previews.results(asked.query.get("owner", ""), asked.query.get("id", "")) or {"pools": None}

    async def _explain(self, asked: ResourceRequest) -> dict[str, Any]:
        query = asked.query
        return {"steps": await self.explain(query.get("app", ""), query.get("client", ""), int(query.get("port", "0")))}

    async def explain(self, app: str, client: str, port: int) -> list[str]:
        """Return the steps of the decision for a client of an app.

        Raises:
            ValueError: If there is no such app, the client is not an address, or nothing is served yet.
        """
        plan = self._served.plan
        if not plan.snapshot.generation:
            raise ValueError("the daemon is not serving yet")
        filtered = None
        if plan.config.filter is not None:
            settings = app_settings(plan.snapshot, app)
            filtered = await in_thread(explain_filter, plan.config.filter, settings, client)
        return explain(plan.snapshot, plan.prefixes, self._health, self._memory, app, client, port, filtered)

    async def commit(self, change: Change) -> None:
        """Use the new origins."""
        if _concerns(change):
            self._health.apply(change.after.config, change.after.snapshot, self._addresses)

    async def abort(self, change: Change) -> None:
        """Use the former origins again."""
        if not change.is_first and _concerns(change):
            self._health.apply(change.before.config, change.before.snapshot, self._addresses)

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the addresses of names that are not down, and the standings of origins."""
        worker.tell_names(self._health.addresses_for_workers(self._addresses))
        worker.tell_health(self._health.standings, self._health.told_latencies)

    def tell_difference(self, worker: WorkerProcess, difference: Difference) -> None:
        """Send a worker the addresses of the names in a difference, some of which it may have, and the standings of
        origins.
        """
        keys = map(name_key, difference.names())
        if known := {key: self._addresses[key] for key in keys if key in self._addresses}:
            worker.tell_names(self._health.addresses_for_workers(known))
        standings = self._health.standings
        if found := {one.number: standings[one.number] for one in difference.origins() if one.number in standings}:
            worker.tell_health(found, {})

    async def close(self) -> None:
        """Stop all probes."""
        await self._previews.stop()
        await self._health.stop()


def _concerns(change: Change) -> bool:
    """Return whether health depends on the difference: of apps, only on the headers that those with load balancers
    send.
    """
    found = change.difference
    if found is None or not _BALANCING.isdisjoint(change.names or ()):
        return True
    return bool(_headers(found.former) ^ _headers(found.apps))


def _headers(apps: Iterable[AppSettings]) -> set[tuple[str, str, str]]:
    """Return the headers that load balancers send, and over which transport."""
    return {(app.load_balancer, app.transport, app.proxy_protocol) for app in apps if app.load_balancer}
