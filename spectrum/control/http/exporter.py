"""The metrics, as Prometheus reads them. Apps without a single session have no series."""

import asyncio
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from spectrum import __version__
from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.balancing.health_metrics import HealthReadings, health_metrics, read_health
from spectrum.control.names.name_watch import NameReading, NameWatch
from spectrum.control.records.metrics import record_metrics
from spectrum.control.records.stream import RecordReadings, RecordStream
from spectrum.control.records.totals import Totals
from spectrum.core.records.measures import (
    CONNECT_BOUNDS_S,
    DROPS,
    DURATION_BOUNDS_S,
    AppMeasures,
    Histogram,
    WorkerMeasures,
)
from spectrum.core.records.reasons import Reason

# Apps that are rendered together.
SLICE = 200


class NodeState:
    """What the exporter needs beside the totals."""

    def __init__(self) -> None:
        self.generation = 0
        self.last_reload_successful = True
        self.restart_needed = False
        self.workers_ready = 0
        # By place: the generation that a worker serves, and whether it gives signs of life.
        self.workers: dict[int, tuple[int, bool]] = {}
        # By place, how many seconds it stays without a worker, as workers there end again and again.
        self.pauses: dict[int, float] = {}
        self.workers_stalled = 0
        self.listeners_deaf = 0
        self.held_bytes = 0
        self.flows_offloaded = 0
        self.helper_lost = False
        # Seconds since 1970, by the name of the certificate.
        self.certificates_end_at: dict[str, int] = {}


@dataclass(frozen=True)
class _Readings:
    """What a page is made of. Nothing changes it, so it can be rendered in a thread."""

    apps: dict[str, AppMeasures]
    workers: WorkerMeasures
    worker_restarts: int
    workers_killed: int
    state: NodeState
    health: HealthReadings
    names: tuple[NameReading, ...]
    records: RecordReadings

    def render(self) -> bytes:
        """Return the page.

        Apps are rendered a slice at a time: Python frees the samples of a family with the loop held up, and those of
        thousands of apps for tens of milliseconds.
        """
        texts: dict[str, list[bytes]] = {}
        for metric in self._metrics():
            text = generate_latest(_Only(metric))
            if (known := texts.setdefault(metric.name, [])) and text:
                text = text.split(b"\n", 2)[2]  # without its HELP and TYPE
            known.append(text)
        return b"".join(chain.from_iterable(texts.values()))

    def _metrics(self) -> Iterator[Metric]:
        """Yield families; those of apps once for each slice."""
        names = tuple(self.apps)
        for i in range(0, max(1, len(names)), SLICE):
            apps = {name: self.apps[name] for name in names[i : i + SLICE]}
            yield from _session_metrics(apps)
            yield from _origin_metrics(apps)
            yield from _rule_metrics(apps)
            yield from _handshake_metrics(apps)
        yield from _node_metrics(self)
        yield from health_metrics(self.health)
        yield from _name_metrics(self.names)
        yield from record_metrics(self.records)


@dataclass(frozen=True, eq=False)
class _Only(Collector):
    """Collects one family."""

    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def _session_metrics(apps: dict[str, AppMeasures]) -> Iterator[Metric]:
    started = CounterMetricFamily("spectrum_sessions_started", "Clients accepted", labels=["app"])
    active = GaugeMetricFamily("spectrum_sessions_active", "Sessions open now", labels=["app"])
    closed = CounterMetricFamily("spectrum_sessions_closed", "Sessions ended, by reason", labels=["app", "reason"])
    refused = CounterMetricFamily(
        "spectrum_sessions_refused", "Clients turned away, by reason", labels=["app", "reason"]
    )
    moved = CounterMetricFamily("spectrum_bytes", "Payload bytes read, by sender", labels=["app", "from"])
    datagrams = CounterMetricFamily("spectrum_datagrams", "Datagrams read, by sender", labels=["app", "from"])
    dropped = CounterMetricFamily("spectrum_datagrams_dropped", "Datagrams dropped", labels=["app", "reason"])
    connect = HistogramMetricFamily(
        "spectrum_connect_duration_seconds", "Time from accepting a client to its origin's answer", labels=["app"]
    )
    duration = HistogramMetricFamily("spectrum_session_duration_seconds", "Time that sessions lasted", labels=["app"])
    for name, measures in apps.items():
        for number, count in measures.ended.items():
            ending = Reason(number)
            (refused if ending.refused else closed).add_metric([name, ending.label], count)
        started.add_metric([name], measures.started)
        active.add_metric([name], measures.active)
        moved.add_metric([name, "client"], measures.bytes_from_client)
        moved.add_metric([name, "origin"], measures.bytes_from_origin)
        if measures.datagrams_from_client or measures.dropped:
            datagrams.add_metric([name, "client"], measures.datagrams_from_client)
            datagrams.add_metric([name, "origin"], measures.datagrams_from_origin)
            for place, reason in enumerate(DROPS):
                dropped.add_metric([name, reason], measures.dropped.get(place, 0))
        _add_histogram(connect, name, CONNECT_BOUNDS_S, measures.connect)
        _add_histogram(duration, name, DURATION_BOUNDS_S, measures.duration)
    yield from (started, active, closed, refused, moved, datagrams, dropped, connect, duration)


def _add_histogram(family: HistogramMetricFamily, name: str, bounds: Sequence[float], histogram: Histogram) -> None:
    buckets, running = [], 0
    for bound, count in zip((*map(str, bounds), "+Inf"), histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    family.add_metric([name], buckets, histogram.total)


def _origin_metrics(apps: dict[str, AppMeasures]) -> Iterator[Metric]:
    labels = ["app", "origin"]
    connected = CounterMetricFamily("spectrum_origin_connections", "Sessions connected to an origin", labels=labels)
    failed = CounterMetricFamily("spectrum_origin_connect_failures", "Connects that failed", labels=labels)
    failovers = CounterMetricFamily(
        "spectrum_failovers", "Clients sent on to another origin of their load balancer", labels=["app"]
    )
    for name, measures in apps.items():
        for origin, counted in measures.origins.items():
            connected.add_metric([name, origin], counted.connected)
            failed.add_metric([name, origin], counted.failed)
        if measures.failovers:
            failovers.add_metric([name], measures.failovers)
    yield from (connected, failed, failovers)


def _rule_metrics(apps: dict[str, AppMeasures]) -> Iterator[Metric]:
    hits = CounterMetricFamily("spectrum_access_rule_hits", "Clients that an access rule named", labels=["app", "rule"])
    for name, measures in apps.items():
        for rule, count in measures.rules.items():
            hits.add_metric([name, rule], count)
    yield hits


def _handshake_metrics(apps: dict[str, AppMeasures]) -> Iterator[Metric]:
    handshakes = CounterMetricFamily(
        "spectrum_tls_handshakes", "TLS handshakes with clients", labels=["app", "resumed"]
    )
    for name, measures in apps.items():
        if measures.handshakes:
            handshakes.add_metric([name, "no"], measures.handshakes - measures.resumed)
            handshakes.add_metric([name, "yes"], measures.resumed)
    yield handshakes


def _name_metrics(names: tuple[NameReading, ...]) -> Iterator[Metric]:
    labels = ["name", "type"]
    addresses = GaugeMetricFamily("spectrum_name_addresses", "Addresses of the last good answer", labels=labels)
    age = GaugeMetricFamily("spectrum_name_age_seconds", "Time since the last good answer", labels=labels)
    lookups = CounterMetricFamily("spectrum_name_lookups", "Look-ups that ended", labels=[*labels, "result"])
    for name in names:
        key = [name.name, name.type or "any"]
        addresses.add_metric(key, name.addresses)
        if name.age_s is not None:
            age.add_metric(key, name.age_s)
        for result, count in sorted(name.results.items()):
            lookups.add_metric([*key, result], count)
    yield from (addresses, age, lookups)


def _node_metrics(readings: _Readings) -> Iterator[Metric]:
    own, state = readings.workers, readings.state
    ends = GaugeMetricFamily(
        "spectrum_certificate_not_after_timestamp_seconds", "When a certificate ends", labels=["certificate"]
    )
    for name, ends_at in state.certificates_end_at.items():
        ends.add_metric([name], ends_at)
    yield ends
    yield InfoMetricFamily("spectrum_build", "Version of this daemon", value={"version": __version__})
    yield CounterMetricFamily("spectrum_accept_stalls", "Times accepting stopped at a limit", value=own.accept_stalls)
    yield GaugeMetricFamily("spectrum_workers_stalled", "Workers not accepting now", value=state.workers_stalled)
    yield GaugeMetricFamily(
        "spectrum_listeners_deaf", "Listeners of workers that the kernel will not watch", value=state.listeners_deaf
    )
    yield CounterMetricFamily(
        "spectrum_listeners_mended", "Listeners found unwatched, and watched again", value=own.listeners_mended
    )
    yield GaugeMetricFamily("spectrum_held_bytes", "Bytes kept for receivers that are slow", value=state.held_bytes)
    yield GaugeMetricFamily(
        "spectrum_udp_flows_offloaded", "UDP flows whose datagrams the kernel moves", value=state.flows_offloaded
    )
    yield CounterMetricFamily(
        "spectrum_busy_poll_seconds", "Processor time spent looking for events", value=own.busy_poll_s
    )
    yield CounterMetricFamily(
        "spectrum_events_dropped", "Session records lost for want of room", value=own.events_dropped
    )
    yield GaugeMetricFamily(
        "spectrum_helper_lost", "1 if the privileged helper has ended and takes a restart", value=state.helper_lost
    )
    yield GaugeMetricFamily("spectrum_workers_ready", "Workers that serve", value=state.workers_ready)
    yield CounterMetricFamily("spectrum_worker_restarts", "Workers replaced", value=readings.worker_restarts)
    yield CounterMetricFamily(
        "spectrum_workers_killed", "Workers replaced for want of a sign of life", value=readings.workers_killed
    )
    serves = GaugeMetricFamily("spectrum_worker_generation", "Generation that a worker serves", labels=["worker"])
    answers = GaugeMetricFamily("spectrum_worker_up", "1 while a worker gives signs of life", labels=["worker"])
    for place, (generation, up) in sorted(state.workers.items()):
        serves.add_metric([str(place)], generation)
        answers.add_metric([str(place)], up)
    pauses = GaugeMetricFamily(
        "spectrum_worker_restart_pause_seconds",
        "Until a worker that ends again and again is replaced",
        labels=["worker"],
    )
    for place in sorted(state.workers):
        pauses.add_metric([str(place)], state.pauses.get(place, 0.0))
    yield from (serves, answers, pauses)
    yield GaugeMetricFamily("spectrum_config_generation", "Generation being served", value=state.generation)
    yield GaugeMetricFamily(
        "spectrum_config_restart_needed",
        "1 while the file has settings that take a restart",
        value=state.restart_needed,
    )
    yield GaugeMetricFamily(
        "spectrum_config_last_reload_successful", "1 if the last reload was", value=state.last_reload_successful
    )


class Exporter:
    """Renders the metrics of one node."""

    def __init__(
        self,
        totals: Totals,
        state: NodeState,
        health: HealthKeeper | None = None,
        names: NameWatch | None = None,
        records: RecordStream | None = None,
    ) -> None:
        self._totals = totals
        self._state = state
        self._health = health
        self._names = names
        self._records = records

    async def render(self) -> bytes:
        """Return the page of /metrics in Prometheus' text format.

        What is counted is read on the loop, which changes it, and rendered in a thread.
        """
        health = await read_health(self._health) if self._health is not None else HealthReadings()
        readings = _Readings(
            self._totals.view(),
            copy(self._totals.workers),
            self._totals.worker_restarts,
            self._totals.workers_killed,
            copy(self._state),
            health,
            self._names.read() if self._names is not None else (),
            self._records.read() if self._records is not None else RecordReadings(),
        )
        return await asyncio.to_thread(readings.render)
