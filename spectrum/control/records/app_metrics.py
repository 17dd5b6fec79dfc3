"""The metrics of apps, as text. Of an app without sessions only the counters that are always there are written."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spectrum.control.http.exposition import Family, HistogramFamily, SummaryFamily, label
from spectrum.core.records.measures import (
    CONNECT_BOUNDS_S,
    DROPS,
    DURATION_BOUNDS_S,
    PRECONNECTS,
    AppMeasures,
    OriginMeasures,
)
from spectrum.core.records.reasons import Reason

if TYPE_CHECKING:
    from spectrum.control.records.totals import Totals

# Reasons that are frequent, and those that alerts use: their counters exist before the first event, as `rate` sees no
# change where a counter begins. Others begin with their first event: thousands of apps would have many.
USUAL = (
    Reason.CLIENT_CLOSED,
    Reason.ORIGIN_CLOSED,
    Reason.CLIENT_RESET,
    Reason.ORIGIN_RESET,
    Reason.IDLE_TIMEOUT,
    Reason.CONNECT_REFUSED,
    Reason.CONNECT_TIMEOUT,
    Reason.NO_ORIGIN,
)
_NONE = {reason.value: 0 for reason in USUAL}
# Apps written before the loop gets a turn: half a millisecond to one.
SLICE = 10
IDLE_SLICE = 500


async def app_metrics(
    totals: "Totals", names: Mapping[int, tuple[str, str]], served: Iterable[str] = ()
) -> list[bytes]:
    """Return the families, in pieces, one after the other.

    Args:
        totals: The counters.
        names: Pool and name of origins in pools, by number.
        served: The apps of the file.

    Counters are read and written on the loop, which changes them, some apps at a time: a thread would delay the loop
    each time that it runs.
    """
    apps = _AppMetrics(names)
    for i, name in enumerate(tuple(totals.apps), 1):
        if (measures := totals.apps.get(name)) is not None:  # It may be forgotten by now.
            apps.add(name, measures)
        if i % SLICE == 0:
            apps.gather()
            await asyncio.sleep(0)
    apps.gather()
    for i, name in enumerate(served, 1):
        if name not in totals.apps:
            apps.add_idle(name)
        if i % IDLE_SLICE == 0:
            await asyncio.sleep(0)
    apps.gather()
    return apps.take()


class _AppMetrics:
    """The families with samples of each app. The samples of an app are consistent."""

    def __init__(self, names: Mapping[int, tuple[str, str]]) -> None:
        self.started = Family("spectrum_sessions_started_total", "Clients accepted", "counter")
        self.active = Family("spectrum_sessions_active", "Sessions open now", "gauge")
        self.closed = Family("spectrum_sessions_closed_total", "Sessions ended, by reason", "counter")
        self.refused = Family("spectrum_sessions_refused_total", "Clients turned away, by reason", "counter")
        self.moved = Family("spectrum_bytes_total", "Payload bytes read, by sender", "counter")
        self.datagrams = Family("spectrum_datagrams_total", "Datagrams read, by sender", "counter")
        self.dropped = Family("spectrum_datagrams_dropped_total", "Datagrams dropped", "counter")
        self.connect = HistogramFamily(
            "spectrum_connect_duration_seconds",
            "Time from accepting a client until its origin answered",
            CONNECT_BOUNDS_S,
        )
        self.duration = HistogramFamily("spectrum_session_duration_seconds", "Duration of sessions", DURATION_BOUNDS_S)
        self.origin_sessions = Family("spectrum_origin_sessions", "Sessions open to an origin now", "gauge")
        self.origin_bytes = Family("spectrum_origin_bytes_total", "Payload bytes of an origin, by sender", "counter")
        self.connected = Family("spectrum_origin_connections_total", "Sessions connected to an origin", "counter")
        self.failed = Family("spectrum_origin_connect_failures_total", "Connects that failed, by reason", "counter")
        self.origin_connect = SummaryFamily(
            "spectrum_origin_connect_duration_seconds", "Time until an origin answered, of sessions that ended"
        )
        self.preconnects = Family(
            "spectrum_origin_preconnects_total",
            "Connections opened ahead of sessions, by outcome",
            "counter",
        )
        self.preconnected = Family("spectrum_origin_preconnected", "Connections that wait for a session", "gauge")
        self.address = Family("spectrum_origin_info", "Addresses of an origin", "gauge")
        self.failovers = Family(
            "spectrum_failovers_total", "Clients sent on to another origin of their load balancer", "counter"
        )
        self.hits = Family("spectrum_access_rule_hits_total", "Clients that an access rule named", "counter")
        self.handshakes = Family("spectrum_tls_handshakes_total", "TLS handshakes with clients", "counter")
        self.queued = Family("spectrum_queued_total", "Sessions that waited in the queue of a full origin", "counter")
        self.queue_wait = Family(
            "spectrum_queue_wait_seconds_total", "Time that sessions waited in such queues", "counter"
        )
        self._texts: dict[Family, list[bytes]] = {family: [family.head] for family in vars(self).values()}
        self._names = names

    def add_idle(self, name: str) -> None:
        """Write the samples of an app without sessions."""
        app = label("app", name)
        self.started.add(app, 0)
        self.active.add(app, 0)

    def add(self, name: str, measures: AppMeasures) -> None:
        """Write the samples of an app."""
        app = label("app", name)
        for reason, count in (_NONE | measures.ended).items():
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
        self._add_origins(app, measures.origins)
        if measures.failovers:
            self.failovers.add(app, measures.failovers)
        if measures.queued:
            self.queued.add(app, measures.queued)
            self.queue_wait.add(app, measures.queue_wait_s)
        for rule, count in measures.rules.items():
            self.hits.add(f"{app},{label('rule', rule)}", count)
        if measures.handshakes:
            self.handshakes.add(f'{app},resumed="no"', measures.handshakes - measures.resumed)
            self.handshakes.add(f'{app},resumed="yes"', measures.resumed)

    def _add_origins(self, app: str, addresses: Mapping[str, OriginMeasures]) -> None:
        """Write the samples of an app's origins, each the sum of its addresses."""
        origins: dict[str, OriginMeasures] = {}
        for address, counted in addresses.items():
            pool, name = self._names.get(counted.number, ("", address))
            labels = f"{app},{label('pool', pool)},{label('origin', name)}"
            self.address.add(f"{labels},{label('address', address)}", 1)
            origins.setdefault(labels, OriginMeasures()).add(counted)
        for labels, counted in origins.items():
            # After a takeover, ends may be known of sessions whose beginning was counted before.
            self.origin_sessions.add(labels, max(counted.connected - counted.ended, 0))
            self.origin_bytes.add(f'{labels},from="client"', counted.bytes_from_clients)
            self.origin_bytes.add(f'{labels},from="origin"', counted.bytes_from_origin)
            self.connected.add(labels, counted.connected)
            self.origin_connect.observe(labels, counted.connects, counted.connect_s)
            for reason, count in counted.failures.items():
                self.failed.add(f"{labels},{label('reason', reason)}", count)
            if counted.preconnects:
                self.preconnected.add(labels, max(counted.preconnected, 0))
                for what in PRECONNECTS:
                    self.preconnects.add(f"{labels},{label('result', what)}", counted.preconnects.get(what, 0))

    def gather(self) -> None:
        """Collect what was written, and free its lines, so that their number stays small."""
        for family, texts in self._texts.items():
            texts.append(family.take())

    def take(self) -> list[bytes]:
        """Return the families, in pieces, one after the other; the caller frees them."""
        taken, self._texts = self._texts, {}
        return [text for texts in taken.values() for text in texts]
