"""The metrics of origins, pools and load balancers."""

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.health import HealthKeeper


def health_metrics(health: HealthKeeper) -> Iterator[Metric]:
    """Yield them; none where the file has no pools."""
    if not health.members:
        return
    yield from _origins(health)
    yield from _pools(health)
    probes = CounterMetricFamily("spectrum_probes", "Probes that ended", labels=["monitor", "result"])
    for (monitor, passed), count in sorted(health.probes.items()):
        probes.add_metric([monitor, "passed" if passed else "failed"], count)
    yield probes


def _origins(health: HealthKeeper) -> Iterator[Metric]:
    labels = ["pool", "origin"]
    usable = GaugeMetricFamily("spectrum_origin_healthy", "1 if clients may be sent there", labels=labels)
    rtt = GaugeMetricFamily("spectrum_origin_rtt_seconds", "Mean round trip of probes", labels=labels)
    changes = CounterMetricFamily("spectrum_origin_health_changes", "Times the verdict changed", labels=labels)
    ejections = CounterMetricFamily(
        "spectrum_origin_ejections", "Times an origin was ejected for failing clients", labels=labels
    )
    expires = GaugeMetricFamily(
        "spectrum_origin_certificate_expires_seconds", "Time until the certificate expires", labels=labels
    )
    for number, member in health.members.items():
        key = [member.pool, member.settings.name]
        standing = health.standings.get(number)
        usable.add_metric(key, standing is not None and standing.usable)
        changes.add_metric(key, member.changes)
        ejections.add_metric(key, member.ejections)
        if rtt_s := health.rtt_of(number):
            rtt.add_metric(key, rtt_s)
        if certificate := health.certificate_of(number):
            expires.add_metric(key, certificate - time.time())
    yield from (usable, rtt, changes, ejections, expires)


def _pools(health: HealthKeeper) -> Iterator[Metric]:
    healthy = GaugeMetricFamily("spectrum_pool_healthy", "1 if enough origins are up", labels=["pool"])
    up = GaugeMetricFamily("spectrum_pool_origins_up", "Origins that can be used", labels=["pool"])
    rtt = GaugeMetricFamily("spectrum_pool_rtt_seconds", "Mean round trip of its origins' probes", labels=["pool"])
    fallback = GaugeMetricFamily(
        "spectrum_load_balancer_fallback",
        "1 while no pool is healthy: the fallback serves",
        labels=["load_balancer"],
    )
    for name, view in health.views.items():
        healthy.add_metric([name], view.healthy)
        up.add_metric([name], view.up)
        if latency := health.latency_of(name):
            rtt.add_metric([name], latency)
    for name, fell_back in health.fallbacks.items():
        fallback.add_metric([name], fell_back)
    yield from (healthy, up, rtt, fallback)
