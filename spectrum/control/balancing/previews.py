"""Previews: pools are probed once with a monitor that is not in use, to show the results. Previews have no effect on
traffic, records, metrics or the health of origins.
"""

import asyncio
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spectrum.control.balancing.health import HealthKeeper
from spectrum.core.balancing.health import ProbeResult
from spectrum.core.balancing.objects import Monitor
from spectrum.core.balancing.settings import OriginSettings, PoolSettings
from spectrum.probes.target import ProbeTarget
from spectrum.tasks import Tasks

# Previews at a time, of all owners and of each; each preview has at most `AT_ONCE` connections.
MAX_RUNNING, MAX_RUNNING_OF_OWNER = 8, 2
AT_ONCE = 8
# An origin that is not probed within this time is reported as not probed.
MAX_S = 60.0
MAX_ADDRESSES = 1000
# How long results are kept, and how many of one owner.
KEPT_S = 600.0
MAX_KEPT_OF_OWNER = 8


class PreviewsBusy(Exception):
    """Too many previews are running; the message says whose."""


@dataclass(slots=True)
class _OriginPreview:
    settings: OriginSettings
    targets: tuple[ProbeTarget, ...]
    result: ProbeResult | None = None

    def shown(self) -> dict[str, Any]:
        """Return the result in the form that the status of a pool has."""
        settings, found = self.settings, self.result
        if not settings.enabled:
            state, found = "disabled", ProbeResult(False)
        else:
            found = found or ProbeResult(False, f"not probed: the {MAX_S:g} s of the preview were over")
            state = "healthy" if found.ok else "down"
        return {
            "name": settings.name,
            "address": settings.address or (settings.dns.name if settings.dns else ""),
            "health": state,
            "reason": found.reason or None,
            "rtt_ms": round(found.rtt_s * 1000, 3) if found.rtt_s else None,
            "response_code": found.code or None,
        }


@dataclass(slots=True)
class _PoolPreview:
    minimum_origins: int
    origins: list[_OriginPreview]

    @property
    def is_over(self) -> bool:
        """Whether all origins have a result."""
        return all(origin.result is not None or not origin.settings.enabled for origin in self.origins)

    def shown(self) -> dict[str, Any]:
        up = sum(origin.result is not None and origin.result.ok for origin in self.origins)
        return {"healthy": up >= self.minimum_origins, "origins": [origin.shown() for origin in self.origins]}


@dataclass(slots=True)
class _Preview:
    monitor_type: str
    pools: dict[str, _PoolPreview]
    began: float = field(default_factory=time.monotonic)
    is_over: bool = False

    @property
    def origins(self) -> list[_OriginPreview]:
        return [origin for pool in self.pools.values() for origin in pool.origins]


class Previews:
    """Runs previews, and keeps their results for a while.

    Args:
        health: Has the pools, and probes.
    """

    def __init__(self, health: HealthKeeper) -> None:
        self._health = health
        self._kept: dict[str, dict[str, _Preview]] = {}
        self._tasks = Tasks()

    def begin(self, owner: str, monitor: Monitor, pools: Iterable[str]) -> tuple[str, list[str]]:
        """Begin to probe pools once; return the preview's id, and the names of the pools that exist.

        Args:
            owner: Who may read the results.
            monitor: The monitor that they are probed with.
            pools: Names of pools; names that are not served are left out.

        Raises:
            PreviewsBusy: If too many are under way.
            ValueError: If the pools have too many addresses.
        """
        self._forget()
        running = {name: sum(not one.is_over for one in own.values()) for name, own in self._kept.items()}
        if running.get(owner, 0) >= MAX_RUNNING_OF_OWNER or sum(running.values()) >= MAX_RUNNING:
            whose = "of this account" if running.get(owner, 0) >= MAX_RUNNING_OF_OWNER else "of all accounts"
            raise PreviewsBusy(f"the limit of previews {whose} at a time is reached")
        views = {name: self._health.views[name] for name in pools if name in self._health.views}
        count = sum(len(view.settings.origins) for view in views.values())
        preview = _Preview(monitor.type, {})
        if count <= MAX_ADDRESSES:
            preview.pools = {name: self._pool(view.settings, monitor) for name, view in views.items()}
            count = sum(len(origin.targets) for origin in preview.origins)
        if count > MAX_ADDRESSES:
            raise ValueError(f"{count} addresses are more than the {MAX_ADDRESSES} of a preview: preview a single pool")
        preview_id = secrets.token_hex(16)
        own = self._kept.setdefault(owner, {})
        own[preview_id] = preview
        for oldest in [key for key, one in own.items() if one.is_over][: max(0, len(own) - MAX_KEPT_OF_OWNER)]:
            del own[oldest]
        self._tasks.start(self._run(preview), f"preview {preview_id}")
        return preview_id, list(preview.pools)

    def results(self, owner: str, preview_id: str) -> dict[str, Any] | None:
        """Return the pools that have been probed, by name, and the monitor; None if the owner has no such preview."""
        self._forget()
        preview = self._kept.get(owner, {}).get(preview_id)
        if preview is None:
            return None
        pools = {name: pool.shown() for name, pool in preview.pools.items() if preview.is_over or pool.is_over}
        return {"monitor_type": preview.monitor_type, "pools": pools}

    async def stop(self) -> None:
        """Stop the previews that are running."""
        await self._tasks.stop()

    def _pool(self, settings: PoolSettings, monitor: Monitor) -> _PoolPreview:
        health = self._health
        members = [health.members[origin.number] for origin in settings.origins]
        targets = [tuple(health.targets_under(member, "", monitor).values()) for member in members]
        origins = [_OriginPreview(member.settings, found) for member, found in zip(members, targets, strict=True)]
        return _PoolPreview(settings.minimum_origins, origins)

    def _forget(self) -> None:
        since = time.monotonic() - KEPT_S
        for owner, own in list(self._kept.items()):
            for preview_id in [key for key, one in own.items() if one.is_over and one.began < since]:
                del own[preview_id]
            if not own:
                del self._kept[owner]

    async def _run(self, preview: _Preview) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(MAX_S):
                await asyncio.gather(
                    *(self._look(origin, slots) for origin in preview.origins if origin.settings.enabled)
                )
        except TimeoutError:
            pass  # The results show which origins were not reached.
        finally:
            preview.is_over = True

    async def _look(self, origin: _OriginPreview, slots: asyncio.Semaphore) -> None:
        """Probe an origin; it is healthy if one of its addresses is."""
        found = await asyncio.gather(*(self._probe(target, slots) for target in origin.targets))
        failed = found[0] if found else ProbeResult(False, "its name has no address")
        origin.result = next((one for one in found if one.ok), failed)

    async def _probe(self, target: ProbeTarget, slots: asyncio.Semaphore) -> ProbeResult:
        if not target.port and target.monitor.type != "icmp_ping":
            return ProbeResult(False, "no port to probe: give the origin or the monitor a port")
        async with slots:
            return await self._health.probe(target)
