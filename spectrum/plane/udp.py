"""The UDP flows of a worker: callbacks of the engine, in batches, and effects of configurations; the engine forwards
all datagrams.

The parts are in `plane/flows/`.
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.access.rules import Verdict
from spectrum.core.difference import Difference
from spectrum.core.limits.rules import node_rules
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.measures import DROPS, AppMeasures, add_measures
from spectrum.core.records.reasons import Reason
from spectrum.core.records.refusals import RefusalKind
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.datagrams import Datagrams
from spectrum.engine.flow_keeper import Mode
from spectrum.engine.lookout import Lookout
from spectrum.engine.loop import Loop
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.log import FaultLog, RareWarning
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.apps import RunningApp, RunningListener, address_text
from spectrum.plane.balancing.balancers import Balancers, Stopped
from spectrum.plane.balancing.drains import Drains
from spectrum.plane.flows.adaptation import Adaptation
from spectrum.plane.flows.admission import Admission
from spectrum.plane.flows.forgeries import WARNING_S, Forgeries
from spectrum.plane.flows.moves import FlowMoves
from spectrum.plane.flows.records import FlowRecords, flow_reason
from spectrum.plane.limits import Limiter
from spectrum.plane.listening import ListenerCheck
from spectrum.plane.loop_yield import paced
from spectrum.plane.records import Records
from spectrum.plane.registry import Registry

if TYPE_CHECKING:
    from spectrum.engine.flow_keeper import EndedFlow

log = logging.getLogger(__name__)

_OVERLOAD = DROPS.index("overload")

# Client address and port, edge address and port, how many bytes the client may send.
TooBig = Callable[[bytes, int, bytes, int, int], None]


class UdpPlane:
    """The UDP engine's handler.

    Args:
        loop: The engine's loop.
        emit: Takes the encoded events of ended flows: see `Records`.
        memory: The memory file for the flows; `recover` continues those of the former worker.
        max_flows: Maximum number of flows; beyond it the flow that was idle longest is ended.
        tell_too_big: Called for datagrams that did not fit the path to an origin.
        balancers: The worker's balancers.
        loads: Counts flows for all workers.
        limiter: Refuses clients; a worker on its own has one.
        places: Countries and autonomous systems of clients.
        firewall: The access rules.
        breathe: See `Registry`.
        worker: The worker's number, for ids of flows.
        lookout: Samples datagrams for attack detection, and applies its rules.
    """

    def __init__(
        self,
        loop: Loop,
        emit: Callable[[int, bytes, bool], None],
        memory: int,
        max_flows: int,
        tell_too_big: TooBig,
        balancers: Balancers,
        loads: Loads | None = None,
        limiter: Limiter | None = None,
        places: ClientPlaces | None = None,
        firewall: Firewall | None = None,
        breathe: Callable[[], None] = lambda: None,
        worker: int = 0,
        lookout: Lookout | None = None,
    ) -> None:
        places = places or ClientPlaces()
        self._firewall = firewall or Firewall(places)
        self._limiter = limiter or Limiter(Census(), Rates())
        census, rates = self._limiter.census, self._limiter.rates
        self.engine = Datagrams(
            loop, self, memory, max_flows=max_flows, loads=loads, census=census, rates=rates, lookout=lookout
        )
        self._balancers = balancers
        self._registry = registry = Registry(
            "udp", balancers, self.engine.add_listener, self._unlisten, self._configured, self._equip, breathe
        )
        self._listeners, self._changed = registry.listeners, registry.changed
        # The access rules' verdict on a flow's client, by the name of the flow.
        self._verdicts: dict[int, Verdict] = {}
        self._forgeries = Forgeries(registry)
        self._moves = moves = FlowMoves(self.engine, registry)
        self._adaptation = Adaptation(self.engine, registry, moves, self._verdicts)
        admission = Admission(self.engine, registry, self._forgeries, self._limiter, self._verdicts)
        # The engine calls the methods of both.
        self.accepted, self.trusts = admission.accepted, admission.trusts
        self.attempt_failed, self.exhausted = moves.attempt_failed, moves.exhausted
        self.origin_failed, self.channel_failed = moves.origin_failed, moves.channel_failed
        self.leave_origins = moves.leave_origins
        self.drains = Drains(lambda key, name: moves.repin(name))
        self.hearing = ListenerCheck(self.engine, self._listeners)
        self._records = Records(emit)
        self._flow_records = FlowRecords(places, self._limiter, self._firewall, worker)
        self._tell_too_big = tell_too_big
        self._breathe = breathe
        self._overloads = RareWarning(log, WARNING_S)
        self._faults = FaultLog("a flow was refused because of an internal error")

    # --- callbacks of the engine ----------------------------------------------------------------------------------

    def too_big(
        self, listener: int, client: bytes, client_port: int, edge: bytes, edge_port: int, payload_bytes: int
    ) -> None:
        """Notify the client of the maximum length of its datagrams."""
        self._tell_too_big(client, client_port, edge, edge_port, payload_bytes)

    def told(self, batch: "list[EndedFlow]") -> None:
        """Record open flows: that their origin has replied, or their progress."""
        if not self._records.wanted:
            return
        self._flow_records.read_clock()
        record, listeners, verdicts = self._flow_records.told, self._listeners, self._verdicts
        self._records.add([record(listeners[one[0]].app, one, verdicts.get(one[13])) for one in batch])

    def ended(self, batch: "list[EndedFlow]") -> None:
        """Count and record ended flows."""
        events: list[SessionEvent] = []
        self._flow_records.read_clock()
        for item in batch:
            listener = self._listeners[item[0]]
            app = listener.app
            reason = flow_reason(item[1], item[2])
            app.measures.end(reason._value_)
            self._changed.add(app)
            if (target := item[5]) is not None:
                self._measure(app, target, item)
            verdict = self._verdicts.pop(item[13], None) if self._verdicts else None
            if self._records.wanted:
                self._record(app, reason, item, verdict, events)
            self._registry.leave(listener)
        self._records.add(events)

    def _measure(self, app: RunningApp, target: Target, item: "EndedFlow") -> None:
        """Count the end of a flow that had an origin."""
        measures, created, replied = app.measures, item[6], item[7]
        duration_s = (item[8] - created) / 1e9
        if not replied:
            measures.origin(target.name, target.number).end(None)
            measures.observe_duration(duration_s)
            return
        connect_s = (replied - created) / 1e9
        measures.origin(target.name, target.number).end(connect_s)
        measures.observe(connect_s, duration_s)
        if target.number:
            # Over UDP a connected socket says nothing about the origin; a reply to any client does.
            self._balancers.outcomes_of(target.number).connect_succeeded(1)

    def _record(
        self, app: RunningApp, reason: Reason, item: "EndedFlow", verdict: Verdict | None, events: list[SessionEvent]
    ) -> None:
        """Add the record of a flow to `events`; those of refused flows are summed."""
        if not reason.refused:
            events.append(self._flow_records.ended(app, reason, item, verdict))
            return
        kind = RefusalKind(app.settings.name, reason._value_, verdict.rule if verdict else "")
        make = partial(self._flow_records.ended, app, reason, item, verdict)
        self._records.refused(kind, item[3], make, events)

    def flush_records(self) -> None:
        """Pass on the sums of refusals; to be called once a second, and at the end."""
        self._records.flush()

    def broken(self, error: Exception) -> None:
        """Report an internal error inside a callback of the engine."""
        self._faults.report(error)

    # --- configuration --------------------------------------------------------------------------------------------

    def apply(
        self,
        snapshot: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        stopped: Stopped | None = None,
    ) -> list[ListenerKey]:
        """Serve the UDP apps of a snapshot; see `Registry.apply`.

        Flows keep their origin, except those whose origin is gone: they get another one at once. Otherwise they are
        treated as new ones: a flow has no end of its own to wait for. Flows of removed listeners end, because their
        replies have no socket. Flows of origins in `stopped` get another origin after the drain.
        """
        self._records.wanted = snapshot.log_sessions
        self.engine.tells_connects, self.engine.progress_ms = snapshot.tells_connects, snapshot.progress_ms
        self._limiter.node = node_rules(snapshot.udp_limits, "udp")
        left, draining = self._drain_origins(stopped or {})
        self._forgeries.replace(snapshot.apps)
        gone = self._registry.apply(
            snapshot, descriptors, names, lambda _, targets: left.update(frozenset(targets) - draining)
        )
        self._follow(self._registry.apps(), left)
        return gone

    def change(
        self,
        difference: Difference,
        rest: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        stopped: Stopped | None = None,
        balancers: Collection[str] = (),
    ) -> list[ListenerKey]:
        """Serve a difference; see `Registry.change`. Flows continue as in `apply`.

        Args:
            difference: The difference.
            rest: The rest of the snapshot.
            descriptors, names, stopped: As for `apply`.
            balancers: Load balancers whose origins changed.
        """
        left, draining = self._drain_origins(stopped or {})
        # The ports of removed apps stay until the next snapshot: they are checked before the listeners are.
        self._forgeries.add(difference.apps)

        def leave(_: RunningListener, targets: list[Target]) -> None:
            left.update(frozenset(targets) - draining)

        gone = self._registry.change(difference, descriptors, names, leave)
        apps = self._registry.aim_again(balancers, names, leave)
        self._follow({*self._registry.running(app.name for app in difference.apps), *apps}, left)
        return gone

    def _follow(self, apps: Iterable[RunningApp], left: set[Target]) -> None:
        """Apply the settings of these apps to their flows, and move them from the targets `left`."""
        self._measure_paths(apps)
        self._adaptation.follow(paced(apps, self._breathe))
        if left:
            self._moves.leave(left)

    def _measure_paths(self, apps: Iterable[RunningApp]) -> None:
        """Determine the path MTU to origins before datagrams are sent; one port of a host stands for all."""
        for app in apps:
            self._breathe()
            header = app.encode(bytes(4), 0, bytes(4), 0, b"") if app.mode >= Mode.EACH else b""
            targets = {target.host: target for listener in app.listeners for target in listener.route.targets()}
            for target in targets.values():
                self.engine.measure(app.slot, target, len(header))

    def _drain_origins(self, stopped: Stopped) -> tuple[set[Target], set[Target]]:
        """Begin the drains; return the targets of origins without drain time, and of those with one."""
        now = time.monotonic()
        at_once: set[Target] = set()
        draining: set[Target] = set()
        self.drains.cancel(self._balancers.is_stopped)
        for (balancer, number), drain_s in stopped.items():
            holder = self._registry.holder(balancer, number)
            if drain_s is None:
                at_once.update(holder())
                continue
            draining.update(holder())
            self.drains.begin((balancer, number), partial(self._flows_at, holder), drain_s, now)
        return at_once, draining

    def _flows_at(self, holder: Callable[[], set[Target]]) -> list[int]:
        return self.engine.flows(targets=holder())

    def _configured(self, app: RunningApp) -> None:
        settings = app.settings
        paces, fragments = msgspec.structs.astuple(settings.paces), settings.fragments == "forward"
        self.engine.set_app(app.slot, app.group, app.trusted is not None, paces, fragments)

    def _equip(self, app: RunningApp) -> None:
        app.judge = self._firewall.judge_for(app.settings)

    def _unlisten(self, listener: RunningListener, drain: bool) -> None:
        self.engine.remove_listener(listener.number, Reason.LISTENER_REMOVED)

    def resolve(self, names: Mapping[str, tuple[str, ...]], changed: Iterable[str]) -> None:
        """Apply new addresses of the names `changed`; flows whose address is gone get another one."""
        self._registry.resolve(names, changed, lambda _, targets: self._moves.leave(frozenset(targets)))
        self._measure_paths(self._registry.apps())

    def app_name(self, listener: int) -> str:
        """Return the name of the app of a listener, by its number, while the listener is open or has sessions."""
        return self._listeners[listener].app.settings.name

    # --- the former worker, and the next one ----------------------------------------------------------------------

    def release(self) -> list[tuple[int, int]]:
        """Leave all flows to the next worker; return their descriptors, by index."""
        return self.engine.release()

    def recover(self, sockets: dict[int, int] | None = None) -> int:
        """Continue the flows of the former worker; return their number.

        Args:
            sockets: Sockets of flows that it handed over, by index; the others get new ones.
        """
        count, inherited = 0, dict(sockets or {})
        self.engine.inherit(inherited)
        for name, edge, edge_port, origin, origin_port in self.engine.recovered():
            listener = self._registry.find(address_text(edge), edge_port)
            target = listener.route.find(address_text(origin), origin_port, edge_port) if listener else None
            if listener is None or target is None:
                self.engine.discard(name)
                continue
            listener.app.measures.started += 1
            self._registry.enter(listener)
            self._changed.add(listener.app)
            self.engine.adopt(name, listener.number, target)
            # The snapshot may differ from the one that it began with.
            self._adaptation.adapt(name, listener.app, target)
            count += 1
        for descriptor in inherited.values():  # Of flows that have no listener or origin any more.
            os.close(descriptor)
        inherited.clear()
        return count

    def drain(self) -> None:
        """Refuse new flows."""
        self.engine.drain()

    def take_connects(self) -> None:
        """Ignore connects: over UDP they say nothing about an origin."""

    # --- measures -------------------------------------------------------------------------------------------------

    def take_measures(self) -> dict[str, AppMeasures]:
        """Return the counters since the last call, of the apps with any."""
        for slot, *counts in self.engine.take_counts():
            app = self._registry.in_slot(slot)
            self._count_datagrams(app, counts)
            self._changed.add(app)
        taken: dict[str, AppMeasures] = {}
        for app in self._changed:
            add_measures(taken, app.settings.name, app.take_measures())
        self._changed.clear()
        return taken

    def _count_datagrams(self, app: RunningApp, counts: list[int]) -> None:
        measures = app.measures
        measures.bytes_from_client += counts[0]
        measures.bytes_from_origin += counts[1]
        measures.datagrams_from_client += counts[2]
        measures.datagrams_from_origin += counts[3]
        for place in range(len(DROPS)):
            if counts[4 + place]:
                measures.dropped[place] = measures.dropped.get(place, 0) + counts[4 + place]
        if counts[4 + _OVERLOAD]:
            self._overloads.say(
                "app %s: datagrams arrive faster than flows can be created; %d of new clients were dropped, "
                "as existing flows have priority",
                app.settings.name,
                counts[4 + _OVERLOAD],
            )
