"""The metrics, as Prometheus reads them. Apps without a single session have no series."""

import asyncio
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from spectrum import __version__
from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.balancing.health_metrics import HealthReadings, health_metrics, read_health
from spectrum.control.http.exposition import Family, HistogramFamily, label
from spectrum.control.names.name_watch import NameReading, NameWatch
from spectrum.control.records.metrics import record_metrics
from spectrum.control.records.stream import RecordReadings, RecordStream
from spectrum.control.records.totals import Totals
from spectrum.core.records.measures import (
    CONNECT_BOUNDS_S,
    DROPS,
    DURATION_BOUNDS_S,
    AppMeasures,
    WorkerMeasures,
)
from spectrum.core.records.reasons import Reason

# Apps that are written before the loop turns: less than a millisecond.
SLICE = 20


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
    """What the rest of a page is made of. Nothing changes it, so it can be rendered in a thread."""

    workers: WorkerMeasures
    worker_restarts: int
    workers_killed: int
    state: NodeState
    health: HealthReadings
    names: tuple[NameReading, ...]
    records: RecordReadings

    def render(self) -> bytes:
        """Return what is not of apps."""
        return b"".join(generate_latest(_Only(metric)) for metric in self._metrics())

    def _metrics(self) -> Iterator[Metric]:
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


class _AppMetrics:
    """The families that have samples of each app. What was taken of an app at once is consistent."""

    def __init__(self) -> None:
        self.started = Family("spectrum_sessions_started_total", "Clients accepted", "counter")
        self.active = Family("spectrum_sessions_active", "Sessions open now", "gauge")
        self.closed = Family("spectrum_sessions_closed_total", "Sessions ended, by reason", "counter")
        self.refused = Family("spectrum_sessions_refused_total", "Clients turned away, by reason", "counter")
        self.moved = Family("spectrum_bytes_total", "Payload bytes read, by sender", "counter")
        self.datagrams = Family("spectrum_datagrams_total", "Datagrams read, by sender", "counter")
        self.dropped = Family("spectrum_datagrams_dropped_total", "Datagrams dropped", "counter")
        self.connect = HistogramFamily(
            "spectrum_connect_duration_seconds", "Time from accepting a client to its origin's answer", CONNECT_BOUNDS_S
        )
        self.duration = HistogramFamily(
            "spectrum_session_duration_seconds", "Time that sessions lasted", DURATION_BOUNDS_S
        )
        self.connected = Family("spectrum_origin_connections_total", "Sessions connected to an origin", "counter")
        self.failed = Family("spectrum_origin_connect_failures_total", "Connects that failed", "counter")
        self.failovers = Family(
            "spectrum_failovers_total", "Clients sent on to another origin of their load balancer", "counter"
        )
        self.hits = Family("spectrum_access_rule_hits_total", "Clients that an access rule named", "counter")
        self.handshakes = Family("spectrum_tls_handshakes_total", "TLS handshakes with clients", "counter")
        self._texts: dict[Family, list[bytes]] = {family: [family.head] for family in vars(self).values()}

    def add(self, name: str, measures: AppMeasures) -> None:
        """Write the samples of an app."""
        app = label("app", name)
        for reason, count in measures.ended.items():
            ending = Reason(reason)
            (self.refused if ending.refused else self.closed).add(f"{app},{label('reason', ending.label)}", count)
        self.started.add(app, measures.started)
        self.active.add(app, measures.active)
        self.moved.add(f'{app},from="client"', measures.bytes_from_client)
        self.moved.add(f'{app},from="origin"', measures.bytes_from_origin)
        if measures.datagrams_from_client or measures.dropped:
            self.datagrams.add(f'{app},from="client"', measures.datagrams_from_client)
            self.datagrams.add(f'{app},from="origin"', measures.datagrams_from_origin)
            for place, why in enumerate(DROPS):
                self.dropped.add(f"{app},{label('reason', why)}", measures.dropped.get(place, 0))
        self.connect.observe(app, measures.connect.counts, measures.connect.total)
        self.duration.observe(app, measures.duration.counts, measures.duration.total)
        for address, counted in measures.origins.items():
            origin = f"{app},{label('origin', address)}"
            self.connected.add(origin, counted.connected)
            self.failed.add(origin, counted.failed)
        if measures.failovers:
            self.failovers.add(app, measures.failovers)
        for rule, count in measures.rules.items():
            self.hits.add(f"{app},{label('rule', rule)}", count)
        if measures.handshakes:
            self.handshakes.add(f'{app},resumed="no"', measures.handshakes - measures.resumed)
            self.handshakes.add(f'{app},resumed="yes"', measures.resumed)

    def gather(self) -> None:
        """Put by what was written: its lines are let go of, so that never many are."""
        for family, texts in self._texts.items():
            texts.append(family.take())

    def take(self) -> list[bytes]:
        """Return the families, in pieces, one after the other; who takes them frees them."""
        taken, self._texts = self._texts, {}
        return [text for texts in taken.values() for text in texts]


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

        What is counted of apps is read and written on the loop, which changes it, some apps at a time: a thread would
        hold it up each time that it runs. The rest, which is short, is rendered in a thread.
        """
        apps = _AppMetrics()
        for i, name in enumerate(tuple(self._totals.apps), 1):
            if (measures := self._totals.apps.get(name)) is not None:  # it may be forgotten by now
                apps.add(name, measures)
            if i % SLICE == 0:
                apps.gather()
                await asyncio.sleep(0)
        apps.gather()
        health = await read_health(self._health) if self._health is not None else HealthReadings()
        readings = _Readings(
            copy(self._totals.workers),
            self._totals.worker_restarts,
            self._totals.workers_killed,
            copy(self._state),
            health,
            self._names.read() if self._names is not None else (),
            self._records.read() if self._records is not None else RecordReadings(),
        )
        # Many bytes are joined without Python's lock.
        return await asyncio.to_thread(lambda: b"".join([*apps.take(), readings.render()]))
