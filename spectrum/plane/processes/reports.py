"""Reports of a worker to its supervisor: counters, results at origins, sockets with short receive buffers."""

import asyncio

from spectrum.core.life.service import ServiceLife
from spectrum.core.records.measures import AppMeasures, WorkerMeasures, add_measures
from spectrum.link.channel import MAX_DESCRIPTORS
from spectrum.link.messages import OutcomesReport, ShortQueues
from spectrum.link.takeover import Measures
from spectrum.plane.outbox import Outbox
from spectrum.plane.processes.link import Link
from spectrum.plane.processes.planes import Planes

REPORT_INTERVAL_S = 1.0
# Measures of this number of apps fit a packet, whatever their histograms hold.
APPS_PER_PACKET = 64
OUTCOMES_PER_PACKET = 1000
# Delay of the report of a failed connect, so that others are included.
OUTCOMES_DELAY_S = 0.05


class Reports:
    """Reports every second, and on request, while there is a supervisor.

    Args:
        link: Takes the reports.
        life: Whether the worker is heard.
        planes: What is reported of.
        outbox: Counts the records for which others stand.
    """

    def __init__(self, link: Link, life: ServiceLife, planes: Planes, outbox: Outbox) -> None:
        self._link = link
        self._life = life
        self._planes = planes
        self._outbox = outbox
        self._outcomes_timer: asyncio.TimerHandle | None = None
        self._stalls_reported = self._busy_ns_reported = 0

    def begin(self) -> None:
        """Begin to report."""
        asyncio.get_running_loop().call_later(REPORT_INTERVAL_S, self._report_regularly)

    def _report_regularly(self) -> None:
        asyncio.get_running_loop().call_later(REPORT_INTERVAL_S, self._report_regularly)
        for plane in (self._planes.tcp, self._planes.udp):
            plane.hearing.look_on()
        self._planes.flush_records()
        if self._life.is_heard:
            self._report_short_queues()
        if not self._link.waits:  # Counters add up here while the supervisor does not read.
            self.report()

    def _report_short_queues(self) -> None:
        sockets = self._planes.udp.engine.take_short_queues()
        for start in range(0, len(sockets), MAX_DESCRIPTORS):
            self._link.send(ShortQueues(), sockets[start : start + MAX_DESCRIPTORS])

    def report(self, number: int = 0) -> None:
        """Report the counters since the last report.

        Args:
            number: The number of the request that this answers; 0 for none.
        """
        if not self._life.is_heard:
            return
        self._planes.balancers.tick()
        measures = self._planes.tcp.take_measures()
        for name, taken in self._planes.udp.take_measures().items():
            add_measures(measures, name, taken)
        apps = list(measures.items())
        chunks = [dict(apps[i : i + APPS_PER_PACKET]) for i in range(0, len(apps), APPS_PER_PACKET)] or [{}]
        for i, chunk in enumerate(chunks):
            self._send(number, i == len(chunks) - 1, chunk)
        self._report_outcomes()

    def count_anew(self) -> None:
        """Report all open sessions to a supervisor that begins to count."""
        self._planes.tcp.take_measures()
        self._planes.udp.take_measures()
        counts = list(self._planes.tcp.open_sessions().items())
        for i in range(0, len(counts), APPS_PER_PACKET):
            part = {name: AppMeasures(started=count) for name, count in counts[i : i + APPS_PER_PACKET]}
            self._send(0, False, part)

    def _send(self, number: int, last: bool, apps: dict[str, AppMeasures]) -> None:
        planes, relay = (self._planes.tcp, self._planes.udp), self._planes.tcp.relay
        stalls, busy_ns = relay.stalls, self._planes.engine.busy_poll_ns
        own = WorkerMeasures(
            accept_stalls=stalls - self._stalls_reported,
            busy_poll_s=(busy_ns - self._busy_ns_reported) / 1e9,
            events_dropped=self._outbox.take_omitted(),
            listeners_mended=sum(plane.hearing.take_mended() for plane in planes),
        )
        self._stalls_reported, self._busy_ns_reported = stalls, busy_ns
        offloaded, deaf = self._planes.udp.engine.offloaded, sum(plane.hearing.deaf for plane in planes)
        self._link.send(
            Measures(number, last, apps, own, self._planes.active, relay.stalled, relay.held_bytes, offloaded, deaf)
        )

    def report_outcomes_soon(self) -> None:
        """Report results at origins before the next regular report."""
        if self._outcomes_timer is None:
            self._outcomes_timer = asyncio.get_running_loop().call_later(OUTCOMES_DELAY_S, self._report_outcomes)

    def _report_outcomes(self) -> None:
        if self._outcomes_timer is not None:
            self._outcomes_timer.cancel()
            self._outcomes_timer = None
        if self._link.waits:
            return
        for plane in (self._planes.tcp, self._planes.udp):
            plane.take_connects()
        outcomes = list(self._planes.balancers.take_outcomes().items())
        for i in range(0, len(outcomes), OUTCOMES_PER_PACKET):
            self._link.send(OutcomesReport(dict(outcomes[i : i + OUTCOMES_PER_PACKET])))
