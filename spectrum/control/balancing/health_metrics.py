"""The metrics of origins, pools and load balancers."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.balancing.health import HealthKeeper

# Origins or pools that are read before the loop gets a turn: about a millisecond.
SLICE = 200


class OriginReading(NamedTuple):
    """The readings of an origin; `expires_at` in seconds since 1970, 0 if no certificate is known."""

    labels: list[str]
    usable: bool
    changes: int
    ejections: int
    rtt_s: float
    expires_at: float


class FindingReading(NamedTuple):
    """The finding of a member of a monitor group about an origin."""

    labels: list[str]
    healthy: bool


class PoolReading(NamedTuple):
    """The readings of a pool."""

    labels: list[str]
    healthy: bool
    origins_up: int
    rtt_s: float


@dataclass
class HealthReadings:
    """The readings that the metrics of health are made from. They are immutable, so that a thread can render them."""

    origins: list[OriginReading] = field(default_factory=list)
    findings: list[FindingReading] = field(default_factory=list)
    pools: list[PoolReading] = field(default_factory=list)
    fallbacks: dict[str, bool] = field(default_factory=dict)
    probes: dict[tuple[str, bool], int] = field(default_factory=dict)


async def read_health(health: HealthKeeper) -> HealthReadings:
    """Read all, without blocking the loop; each origin and pool is consistent by itself."""
    readings = HealthReadings(fallbacks=dict(health.fallbacks), probes=dict(health.probes))
    for i, number in enumerate(tuple(health.members)):
        if i % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if (member := health.members.get(number)) is not None:
            standing = health.standings.get(number)
            usable = standing is not None and standing.usable
            facts = health.rtt_of(number), health.certificate_of(number)
            labels = [member.pool, member.settings.name]
            readings.origins.append(OriginReading(labels, usable, member.changes, member.ejections, *facts))
            readings.findings += (
                FindingReading([*labels, finding.member.monitor], bool(finding.healthy))
                for finding in health.findings_of(number)
            )
    for i, name in enumerate(tuple(health.views)):
        if i % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if (view := health.views.get(name)) is not None:
            readings.pools.append(PoolReading([name], view.healthy, view.up, health.latency_of(name)))
    return readings


def health_metrics(readings: HealthReadings) -> Iterator[Metric]:
    """Yield the metrics of health; none if the file has no pools."""
    if not readings.origins:
        return
    yield from _origins(readings.origins)
    if readings.findings:
        yield _findings(readings.findings)
    yield from _pools(readings)
    probes = CounterMetricFamily("spectrum_probes", "Probes that ended", labels=["monitor", "result"])
    for (monitor, passed), count in sorted(readings.probes.items()):
        probes.add_metric([monitor, "passed" if passed else "failed"], count)
    yield probes


def _origins(origins: list[OriginReading]) -> Iterator[Metric]:
    labels = ["pool", "origin"]
    usable = GaugeMetricFamily("spectrum_origin_healthy", "1 if clients may be sent there", labels=labels)
    rtt = GaugeMetricFamily("spectrum_origin_rtt_seconds", "Mean round trip of probes", labels=labels)
    changes = CounterMetricFamily("spectrum_origin_health_changes", "Times the verdict changed", labels=labels)
    ejections = CounterMetricFamily(
        "spectrum_origin_ejections", "Times an origin was ejected for failing clients", labels=labels
    )
    expires = GaugeMetricFamily(
        "spectrum_origin_certificate_not_after_timestamp_seconds",
        "When the certificate expires, in seconds since 1970",
        labels=labels,
    )
    for origin in origins:
        usable.add_metric(origin.labels, origin.usable)
        changes.add_metric(origin.labels, origin.changes)
        ejections.add_metric(origin.labels, origin.ejections)
        if origin.rtt_s:
            rtt.add_metric(origin.labels, origin.rtt_s)
        if origin.expires_at:
            expires.add_metric(origin.labels, origin.expires_at)
    yield from (usable, rtt, changes, ejections, expires)


def _findings(findings: list[FindingReading]) -> Metric:
    healthy = GaugeMetricFamily(
        "spectrum_origin_monitor_healthy",
        "1 if a monitor of its pool's group finds the origin healthy",
        labels=["pool", "origin", "monitor"],
    )
    for finding in findings:
        healthy.add_metric(finding.labels, finding.healthy)
    return healthy


def _pools(readings: HealthReadings) -> Iterator[Metric]:
    healthy = GaugeMetricFamily("spectrum_pool_healthy", "1 if enough origins are up", labels=["pool"])
    up = GaugeMetricFamily("spectrum_pool_origins_up", "Origins that can be used", labels=["pool"])
    rtt = GaugeMetricFamily("spectrum_pool_rtt_seconds", "Mean round trip of its origins' probes", labels=["pool"])
    fallback = GaugeMetricFamily(
        "spectrum_load_balancer_fallback",
        "1 while no pool is healthy and the fallback pool serves",
        labels=["load_balancer"],
    )
    for pool in readings.pools:
        healthy.add_metric(pool.labels, pool.healthy)
        up.add_metric(pool.labels, pool.origins_up)
        if pool.rtt_s:
            rtt.add_metric(pool.labels, pool.rtt_s)
    for name, fell_back in readings.fallbacks.items():
        fallback.add_metric([name], fell_back)
    yield from (healthy, up, rtt, fallback)
