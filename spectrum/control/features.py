"""The features of a daemon, each registered once: its actor has a line in `Features.actors`, in the order of rollouts.
The actor is the whole of a feature in the supervisor: its part of a rollout, its status, its metrics, and its resources
on the control socket. Its sections of the file are registered in `core/features.py`.

This file wires them to each other. What they are built on (workers, listening sockets, the helper) comes from the
supervisor, which knows none of them.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from spectrum.control.analytics.actor import AnalyticsActor
from spectrum.control.api.actor import ApiActor
from spectrum.control.api.changes import Serve
from spectrum.control.balancing.actor import HealthActor
from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.balancing.origins import OriginsActor
from spectrum.control.bindings import BindingsActor, BoundApps
from spectrum.control.configuration.actor import Actor, Replan
from spectrum.control.configuration.plan import Planner
from spectrum.control.configuration.served import Served
from spectrum.control.configuration.source import Source
from spectrum.control.ddos.actor import DdosActor
from spectrum.control.ddos.attacks import AttackBook, AttacksActor
from spectrum.control.ddos.detection import KernelDetection
from spectrum.control.ddos.planes import DetectionPlanes
from spectrum.control.ddos.profiles import ProfilesActor
from spectrum.control.ddos.worker_detection import WorkerDetection
from spectrum.control.dns.actor import DnsActor
from spectrum.control.doctor import DoctorActor
from spectrum.control.filter.node import FilterActor, NodeFilter
from spectrum.control.flow_programs.actor import FlowProgramsActor
from spectrum.control.flow_programs.kept_objects import KeptObjects
from spectrum.control.http.resource import Resource
from spectrum.control.limits import LimitsActor
from spectrum.control.listeners import ListenerBank, ListenersActor
from spectrum.control.names.name_watch import NamesActor, NameWatch, OwnListeners
from spectrum.control.offload import NodeOffload, OffloadActor
from spectrum.control.paths import profiles_folder
from spectrum.control.pauses import PausesActor
from spectrum.control.processes.former_workers import FormerWorker
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.helper_actor import HelperActor
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.records.log import LineWriter
from spectrum.control.records.stream import RecordsActor, RecordStream
from spectrum.control.records.telling import StoryActor
from spectrum.control.records.totals import Totals, TotalsActor
from spectrum.control.sessions import SessionsActor
from spectrum.control.tcp_protection import TcpProtectionActor
from spectrum.control.tls.acme.actor import AcmeActor
from spectrum.control.tls.certificates import CertificatesActor
from spectrum.control.tls.tickets import TicketKeyRotation, TicketsActor
from spectrum.core.balancing.events import HealthEvent, as_text
from spectrum.core.balancing.pools import Standing
from spectrum.kernel import bindings, filter
from spectrum.kernel.filter.flow_programs import COSTS
from spectrum.link.messages import Challenge, OutcomesReport
from spectrum.link.takeover import Events, FoundSessions
from spectrum.plane.memory import ENDED_FLOWS, SharedMemory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureServices:
    """What features are built on.

    Attributes:
        served: What is served.
        planner: Makes plans.
        count: How many workers there are.
        bank: The listening sockets.
        totals: Totals of the workers' counters.
        helper: The privileged helper.
        memory: The memory that workers share.
        running: Returns the workers.
        all: Returns the workers, those of the previous daemon included.
        has_former_workers: Returns whether there are workers of the previous daemon.
        tell_kept: Tells workers which of their records are journaled.
        metrics: Serves the metrics.
        replan: Sends workers state that a feature has beside the configuration.
        state: The folder of state that is kept over restarts.
        ask: Waits until workers have answered, and so have processed earlier messages.
        control: The control socket.
        source: Where configurations come from.
        serve: Serves another configuration.
        refuses_changes: Returns why the API can change nothing now.
        resources: Returns the resources of the daemon.
    """

    served: Served
    planner: Planner
    count: int
    bank: ListenerBank
    totals: Totals
    helper: Helper
    memory: SharedMemory
    running: Callable[[], Iterable[WorkerProcess]]
    all: Callable[[], Iterable[WorkerProcess | FormerWorker]]
    has_former_workers: Callable[[], bool]
    tell_kept: Callable[[Mapping[str, int]], None]
    metrics: Actor
    replan: Replan
    state: Path
    ask: Callable[[], Awaitable[None]]
    control: Path
    source: Source
    serve: Serve
    refuses_changes: Callable[[], str]
    resources: Callable[[], Iterable[Resource]]


class Features:
    """All features.

    Args:
        ground: What they are built on.

    Attributes:
        actors: One for each feature, in the order in which they prepare and commit.
    """

    def __init__(self, ground: FeatureServices) -> None:
        config = ground.served.config
        own = OwnListeners(config)
        flows = ground.count * (config.max_flows + ENDED_FLOWS)
        self._running = ground.running
        self.records = RecordStream(config, LineWriter(FileIO(1, "wb", closefd=False)))
        self.health = HealthKeeper(self._tell_health, self._record_health, self._readdress)
        self.names = NameWatch(self._names_changed, own.refuse)
        self.tickets = TicketKeyRotation(self._tell_tickets, config.session_tickets.rotate_s)
        self.bound = BoundApps(ground.helper)
        self.filter = NodeFilter(ground.helper)
        self.offload = NodeOffload(ground.helper, flows, ground.count)
        self.sessions = SessionsActor(ground.served, ground.all)
        self.attacks = AttackBook(ground.state / "attacks", self.records.add_attacks)
        filtered = KernelCounts(ground.helper, filter.PROGRAM)
        analytics = AnalyticsActor(ground.served, self.records, self.filter.queue.take)
        self.actors: tuple[Actor, ...] = (
            HelperActor(ground.helper),
            ListenersActor(ground.bank, ground.count),
            ground.metrics,
            NamesActor(self.names, own),
            BindingsActor(self.bound, ground.bank, KernelCounts(ground.helper, bindings.PROGRAM)),
            FilterActor(self.filter, filtered),
            DdosActor(
                ground.state / "ddos-rules.json",
                ground.served,
                DetectionPlanes(
                    KernelDetection(ground.helper, self.filter),
                    filtered,
                    WorkerDetection(ground.count, ground.running),
                ),
                self.attacks,
            ),
            AttacksActor(self.attacks, lambda: ground.served.config.ddos is not None),
            ProfilesActor(lambda: profiles_folder(ground.served.config)),
            TcpProtectionActor(ground.helper, filtered),
            FlowProgramsActor(
                self.filter, filtered, KernelCounts(ground.helper, COSTS), KeptObjects(ground.state / "flow-programs")
            ),
            PausesActor(ground.state / "pauses.json", ground.served, ground.replan),
            LimitsActor(ground.served, ground.memory, lambda: sum(one.held_bytes for one in ground.all())),
            OriginsActor(ground.state / "origins.json", ground.served, self.health),
            OffloadActor(self.offload, ground.has_former_workers, lambda: sum(one.offloaded for one in ground.all())),
            self.sessions,
            StoryActor(ground.served),
            DoctorActor(ground.served),
            AcmeActor(ground.served, self._tell_challenges, ground.ask),
            analytics,
            ApiActor(
                ground.control,
                ground.source,
                ground.served,
                ground.serve,
                ground.refuses_changes,
                ground.resources,
                analytics,
                self.records.add_configuration,
            ),
            DnsActor(ground.state / "dns.json", ground.served),
            # No await between from here on: the status shows all of it, or none.
            ground.served,
            ground.planner,
            TicketsActor(self.tickets),
            CertificatesActor(ground.served),
            RecordsActor(self.records, ground.totals, ground.tell_kept),
            TotalsActor(ground.totals, ground.served, self.names.addresses, self.names.failures),
            # Nothing after it may fail: it forgets the state of origins that leave.
            HealthActor(self.health, self.names.addresses, ground.served, ground.memory),
        )

    def heard(self, message: Events | OutcomesReport | FoundSessions) -> None:
        """Take messages of a worker about sessions."""
        match message:
            case OutcomesReport(outcomes):
                self.health.count_outcomes(outcomes)
            case FoundSessions():
                self.sessions.found(message)
            case Events():
                self.records.add(message)

    def _names_changed(self, addresses: dict[str, tuple[str, ...]]) -> None:
        self.health.resolve(self.names.addresses)
        self._readdress(set(addresses))

    def _readdress(self, keys: set[str]) -> None:
        """Send workers the addresses of names that are not down."""
        known = {key: self.names.addresses[key] for key in keys if key in self.names.addresses}
        told = self.health.addresses_for_workers(known)
        for worker in self._running():
            worker.tell_names(told)

    def _tell_health(self, standings: dict[int, Standing], latencies: dict[str, float]) -> None:
        for worker in self._running():
            worker.tell_health(standings, latencies)

    def _tell_tickets(self, keys: list[bytes]) -> None:
        for worker in self._running():
            worker.tell_tickets(keys)

    def _tell_challenges(self, challenges: list[Challenge]) -> None:
        for worker in self._running():
            worker.tell_challenges(challenges)

    def _record_health(self, event: HealthEvent) -> None:
        log.log(logging.INFO if event.Healthy else logging.WARNING, "%s", as_text(event))
        self.records.add_health(event)
