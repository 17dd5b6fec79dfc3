"""DNS names of apps in a daemon: published while their app is served, withdrawn with it, reconciled after an outage."""

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change, Jobs
from spectrum.control.configuration.served import Served
from spectrum.control.dns.ledger import Ledger
from spectrum.core.dns import DnsPublishing
from spectrum.core.dns_records import Records, wanted
from spectrum.tasks import in_thread

if TYPE_CHECKING:
    from spectrum.control.dns.publishing import PublishingOutcome

log = logging.getLogger(__name__)

# Delay of the next attempt after a failure; it doubles.
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0
# How often servers are asked whether they still have the records.
LOOK_EVERY_S = 600.0
# Changes within this time are published together.
GATHER_S = 0.2


class DnsActor(Actor):
    """Publishes DNS names. A daemon that stops leaves them in place: until it comes back, clients get a refused
    connection instead of an unknown name.

    Args:
        path: The file that keeps the published records.
        served: What is served.
    """

    def __init__(self, path: Path, served: Served) -> None:
        self._ledger = Ledger(path)
        self._served = served
        self._wake = asyncio.Event()
        self._ends = False
        self._failures: dict[str, str] = {}
        self._updates = self._failed = 0

    async def prepare(self, change: Change) -> None:
        """Read what is published, at the start.

        Raises:
            RolloutError: If the file cannot be read.
        """
        if change.is_first:
            await asyncio.to_thread(self._ledger.read)

    async def release(self, change: Change) -> None:
        """Publish the names of the new configuration."""
        if change.before.config.dns is not None or change.after.config.dns is not None:
            self._wake.set()

    def jobs(self) -> Jobs:
        """Publish names when they change, and check them regularly."""
        return {"publish DNS names": self._run}

    def halt(self) -> None:
        """Begin no more updates."""
        self._ends = True

    def leave(self) -> None:
        """The successor continues."""
        self._ends = True

    async def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        looks = True
        while not self._ends:
            self._wake.clear()
            if self._served.config.dns is None and not self._ledger.entries:
                pause_s: float | None = None
            elif await self._pass(looks):
                pause_s, retry_s = LOOK_EVERY_S, FIRST_RETRY_S
            else:
                pause_s, retry_s = retry_s * random.uniform(0.75, 1), min(LAST_RETRY_S, 2 * retry_s)
            try:
                await asyncio.wait_for(self._wake.wait(), pause_s)
            except TimeoutError:
                looks = True
            else:
                looks = False
                await asyncio.sleep(GATHER_S)

    async def _pass(self, looks: bool) -> bool:
        """Bring every name to its wanted state; return whether all are."""
        config = self._served.config
        outcome = await in_thread(self._publish, config.dns, wanted(config), looks)
        self._note(outcome)
        return not outcome.failures

    def _publish(
        self, settings: DnsPublishing | None, names: Mapping[str, Records], looks: bool
    ) -> "PublishingOutcome":
        # Imported here: dnspython takes a sixth of a daemon's start time, and few publish names.
        from spectrum.control.dns.publishing import Publishing

        return Publishing(self._ledger, lambda: self._ends).run(settings, names, looks)

    def _note(self, outcome: "PublishingOutcome") -> None:
        for name, why in outcome.failures.items():
            if self._failures.get(name) != why:
                log.error("DNS name %s: %s", name, why)
        self._failures = outcome.failures
        self._updates += outcome.updates
        self._failed += len(outcome.failures)

    # --- status and metrics ---------------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, Any]:
        """Return the published names, and those that are not, with the reason."""
        if self._served.config.dns is None and not self._ledger.entries:
            return {}
        sure = [one for one in list(self._ledger.entries.values()) if one.is_sure]
        return {
            "dns": {
                "published": {one.name: [" ".join(record) for record in one.records] for one in sure},
                "failures": self._failures,
            }
        }

    async def metrics(self) -> Iterable[Metric]:
        """Return how many names are published and how many are not."""
        if self._served.config.dns is None and not self._ledger.entries:
            return ()
        names = GaugeMetricFamily("spectrum_dns_names", "DNS names of apps, by state", labels=["state"])
        names.add_metric(["published"], sum(one.is_sure for one in list(self._ledger.entries.values())))
        names.add_metric(["failed"], len(self._failures))
        updates = CounterMetricFamily("spectrum_dns_updates", "Updates that DNS servers accepted")
        updates.add_metric([], self._updates)
        failed = CounterMetricFamily("spectrum_dns_update_failures", "Updates of DNS names that failed")
        failed.add_metric([], self._failed)
        return names, updates, failed
