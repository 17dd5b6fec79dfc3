"""Use of the limits in the file by sessions, flows, affinities and slow receivers."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator

from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.served import Served
from spectrum.control.usage import Usage
from spectrum.core.limits.rules import NODE_GROUPS, group_of
from spectrum.core.snapshot import AppSettings
from spectrum.plane.memory import SharedMemory

# Apps read before the loop gets a turn: less than a millisecond.
SLICE = 250
_NOUNS = {"tcp": "sessions", "udp": "flows"}


class LimitsActor(Actor):
    """Reports the use of limits. Workers enforce them: `plane/limits.py`.

    Args:
        served: What is served.
        memory: The memory that workers share, with their counts.
        held_bytes: Returns the bytes that workers buffer for slow receivers.
    """

    def __init__(self, served: Served, memory: SharedMemory, held_bytes: Callable[[], int]) -> None:
        self._served = served
        self._memory = memory
        self._held_bytes = held_bytes

    async def usage(self) -> Iterable[Usage]:
        """Return the use of the node's limits, and of the limits of apps."""
        of_apps, has_udp = list[Usage](), False
        for i, app in enumerate(self._served.snapshot.apps, 1):
            has_udp = has_udp or app.transport == "udp"
            of_apps += self._of_app(app)
            if i % SLICE == 0:
                await asyncio.sleep(0)
        return [*self._of_node(has_udp), *of_apps, *self._of_origins()]

    def _of_node(self, has_udp: bool) -> Iterator[Usage]:
        config, census = self._served.config, self._memory.census
        yield Usage("memory", "node", self._held_bytes(), config.limits.memory, "limits.memory")
        for transport, group in NODE_GROUPS.items():
            noun = _NOUNS[transport]
            if maximum := config.limits.for_transport(transport).sessions:
                yield Usage(noun, "node", census.count(group), maximum, f"limits.{noun}")
        if has_udp:
            for worker in range(self._memory.workers):
                flows = census.count_of(worker, NODE_GROUPS["udp"])
                yield Usage("flows", f"worker-{worker}", flows, config.max_flows, "max_flows")
        lifetimes = [
            int(one.session_affinity_ttl_s) for one in config.load_balancers.values() if one.session_affinity != "none"
        ]
        if lifetimes:
            maximum = config.max_affinities
            share = self._memory.affinities.share(time.monotonic_ns() // 1_000_000_000, max(lifetimes))
            yield Usage("affinities", "node", round(share * maximum), maximum, "max_affinities")

    def _of_origins(self) -> Iterator[Usage]:
        snapshot, loads = self._served.snapshot, self._memory.loads
        for pool in snapshot.pools:
            for origin in pool.origins:
                if origin.max_sessions:
                    setting = f"max_sessions of {origin.name} in pools.{pool.name}"
                    of, used = f"{pool.name}/{origin.name}", loads.open(origin.number)
                    yield Usage("origin_sessions", of, used, origin.max_sessions, setting)
        if not (places := snapshot.origin_places):
            return
        most = {app.name: app.bounds.max_sessions for app in snapshot.apps if app.name in places}
        for app, maximum in most.items():
            # The origin with the largest share: it is full first.
            used = max(map(loads.open, places[app]))
            yield Usage("origin_sessions", app, used, maximum, f"apps.{app}.origin_max_sessions")

    def _of_app(self, app: AppSettings) -> Iterator[Usage]:
        if app.limits.sessions:
            noun, count = _NOUNS[app.transport], self._memory.census.count(group_of(app.name, app.transport))
            yield Usage(noun, app.name, count, app.limits.sessions, f"apps.{app.name}.limits.{noun}")
