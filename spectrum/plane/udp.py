"""UDP flows of a worker: the decision on each new flow, failover of flows whose origin fails, and records.

The engine calls `accepted` and `ended` in batches and moves all datagrams itself.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.access.rules import Verdict
from spectrum.core.difference import Difference
from spectrum.core.limits.rules import limits_hit, node_rules
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.measures import DROPS, AppMeasures, add_measures
from spectrum.core.records.reasons import Reason, connect_failure, flow_failure
from spectrum.core.records.refusals import RefusalKind
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.datagrams import Datagrams
from spectrum.engine.flow_keeper import FlowOutcome, Mode
from spectrum.engine.loop import Loop
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.kernel.sockets import local_addresses
from spectrum.plane.access.firewall import Firewall, Places
from spectrum.plane.apps import RunningApp, RunningListener, address_text
from spectrum.plane.balancing.balancers import Balancers, Stopped
from spectrum.plane.balancing.drains import Drains
from spectrum.plane.forms import flow_id
from spectrum.plane.limits import Limiter
from spectrum.plane.listening import ListenerCheck
from spectrum.plane.log import FaultLog, RareWarning
from spectrum.plane.records import Records
from spectrum.plane.registry import Registry

if TYPE_CHECKING:
    from spectrum.engine.flow_keeper import EndedFlow, NewFlow

log = logging.getLogger(__name__)

_OVERLOAD = DROPS.index("overload")
# The least time between two warnings that any datagram may cause.
WARNING_S = 60.0
# The machine's own addresses are read again this often, while datagrams come from ports that are listened on.
LOCAL_ADDRESSES_S = 10.0

# client address and port, edge address and port, how many bytes the client may send
TooBig = Callable[[bytes, int, bytes, int, int], None]


def reason_of(outcome: int, error: int) -> Reason:
    """Return the reason for an engine outcome and its errno (or the reason that the plane itself gave)."""
    match outcome:
        case FlowOutcome.FLOW_IDLE:
            return Reason.IDLE_TIMEOUT
        case FlowOutcome.FLOW_EVICTED:
            return Reason.EVICTED
        case FlowOutcome.FLOW_CONNECT_FAILED:
            return connect_failure(error) if error else Reason.NO_ORIGIN
        case FlowOutcome.FLOW_REFUSED | FlowOutcome.FLOW_CLOSED:
            return Reason(error) if error else Reason.INTERNAL_ERROR
        case _:
            return Reason.INTERNAL_ERROR


def _ports_of(apps: Iterable[AppSettings]) -> set[int]:
    """Return the ports that UDP apps take datagrams on."""
    taking = [app for app in apps if app.transport == "udp"]
    bound = {port for app in taking for _, port in app.bindings}
    if 0 in bound:
        return set(range(65536))
    return bound.union(*(range(app.first_port, app.last_port + 1) for app in taking))


class UdpPlane:
    """The UDP engine's handler.

    Args:
        loop: The engine's loop.
        emit: Takes the encoded events of ended flows: see `Records`.
        memory: The memory file for the flows; what a worker before this one left there is taken up by `recover`.
        max_flows: As many flows are kept; beyond it the longest idle one makes room.
        tell_too_big: Told of datagrams that did not fit the path to an origin.
        balancers: Those of the worker.
        loads: Counts flows for all workers.
        limiter: Turns clients away; a worker on its own has one.
        places: Where clients are.
        firewall: The access rules.
        breathe: See `Registry`.
        worker: The place of the worker, for ids of flows.
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
        places: Places | None = None,
        firewall: Firewall | None = None,
        breathe: Callable[[], None] = lambda: None,
        worker: int = 0,
    ) -> None:
        self._worker = worker
        self._places = places or Places()
        self._firewall = firewall or Firewall(self._places)
        # The verdict of the access rules on a flow's client, by the name of the flow.
        self._verdicts: dict[int, Verdict] = {}
        self._limiter = limiter or Limiter(Census(), Rates())
        census, rates = self._limiter.census, self._limiter.rates
        self.engine = Datagrams(loop, self, memory, max_flows=max_flows, loads=loads, census=census, rates=rates)
        self.drains = Drains(lambda key, name: self._repin(name))
        self._balancers = balancers
        self._held: set[Target] = set()
        # The settings that the flows of each app have.
        self._manners: dict[RunningApp, tuple[object, ...]] = {}
        self._records = Records(emit)
        self._tell_too_big = tell_too_big
        self._breathe = breathe
        self._registry = Registry(
            "udp", balancers, self.engine.add_listener, self._unlisten, self._configured, self._equip, breathe
        )
        self._listeners = self._registry.listeners
        self._changed = self._registry.changed
        self.hearing = ListenerCheck(self.engine, self._listeners)
        self._overloads, self._forgeries = RareWarning(log, WARNING_S), RareWarning(log, WARNING_S)
        # Ports that are listened on, and the addresses of this machine, for clients that are our own listeners.
        self._own_ports: set[int] = set()
        self._local: frozenset[IPv4Address | IPv6Address] = frozenset()
        self._local_read_at = -LOCAL_ADDRESSES_S
        self._faults = FaultLog("a flow was refused by a fault of ours")

    # --- the engine's handler -------------------------------------------------------------------------------------

    def accepted(self, batch: "list[NewFlow]") -> None:
        """Decide on new flows."""
        for name, number, client, client_port, edge, edge_port, peer in batch:
            listener = self._listeners[number]
            app = listener.app
            app.measures.started += 1
            self._enter(listener)
            if listener.intercepts and not app.is_sent_to(edge, edge_port):
                self.engine.refuse(name, Reason.NOT_INTERCEPTED)
                continue
            if (client_port in self._own_ports and self._is_own(app, client, client_port)) or (
                peer is not None and self._is_own(app, peer, self.engine.peer_port(name))
            ):
                self.engine.refuse(name, Reason.OWN_LISTENER)
                continue
            if app.trusted is not None and (peer is None or peer not in app.trusted):
                self.engine.refuse(name, Reason.HEADER_UNTRUSTED)
                continue
            if app.judge is not None and (verdict := app.judge(client)) is not None:
                app.measures.meet(verdict.rule)
                self._verdicts[name] = verdict
                if verdict.blocks:
                    self.engine.refuse(name, Reason.CLIENT_BLOCKED)
                    continue
            if (app.rules or self._limiter.node) and (reason := self._limiter.refusal(app.rules, client)):
                self.engine.refuse(name, reason)
                continue
            way = listener.route.choose(client, client_port, edge_port)
            if isinstance(way, Reason):
                self.engine.refuse(name, way)
                continue
            header = app.encode(client, client_port, edge, edge_port, b"")
            self.engine.open(name, way[0], app.mode, header, app.idle_timeout_ms, app.shared, way[1])

    def _is_own(self, app: RunningApp, address: bytes, port: int) -> bool:
        """Return whether a client is one of our own listeners: the datagrams would loop for ever (CVE-2024-2169)."""
        if port not in self._own_ports or not self._registry.is_own(address, port, self._local_addresses):
            return False
        self._forgeries.say(
            "app %s: a datagram came from %s port %d, a listener of this daemon: its source is forged, it is dropped",
            app.settings.name,
            address_text(address),
            port,
        )
        return True

    def _local_addresses(self) -> frozenset[IPv4Address | IPv6Address]:
        now = time.monotonic()
        if now - self._local_read_at >= LOCAL_ADDRESSES_S:
            self._local, self._local_read_at = local_addresses(), now
        return self._local

    def trusts(self, listener: int, peer: bytes) -> bool:
        """Return whether headers of a proxy are trusted."""
        trusted = self._listeners[listener].app.trusted
        return trusted is not None and peer in trusted

    def _enter(self, listener: RunningListener) -> None:
        listener.app.open += 1
        listener.open += 1
        self._changed.add(listener.app)

    def attempt_failed(self, listener: int, target: Target, error: int) -> None:
        """Count an origin for which no socket could be opened; the engine tries the next one."""
        self._registry.count_failure(listener, target, error)

    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...]:
        """Pin a flow to another origin, because no socket to this one can be opened."""
        return self._listeners[listener].route.after([target], client, client_port)

    def origin_failed(self, name: int, listener: int, target: Target, error: int, replied: bool) -> None:
        """Pin a flow whose origin's host refused it to another origin; end it if there is none."""
        running = self._listeners[listener]
        self._registry.count_failure(listener, target, error)
        others = running.route.after([target], *self.engine.client_of(name))
        if others:
            running.app.measures.failovers += 1
            self._move(name, running.app, target, others)
        else:
            self.engine.close(name, flow_failure(error, replied))

    def channel_failed(self, listener: int, target: Target, error: int) -> None:
        """Pin all flows of a shared socket whose origin's host refused it to another origin, if there is one."""
        running = self._listeners[listener]
        self._registry.count_failure(listener, target, error)
        for name in self.engine.flows(targets=(target,)):
            others = running.route.after([target], *self.engine.client_of(name))
            if others:
                running.app.measures.failovers += 1
                self._move(name, running.app, target, others)

    def _move(self, name: int, app: RunningApp, target: Target, others: tuple[Target, ...]) -> None:
        app.measures.origin(target.name, target.number).end(None)
        self._changed.add(app)
        self.engine.move(name, others)

    def too_big(
        self, listener: int, client: bytes, client_port: int, edge: bytes, edge_port: int, payload_bytes: int
    ) -> None:
        """Tell the client how long its datagrams may be."""
        self._tell_too_big(client, client_port, edge, edge_port, payload_bytes)

    def ended(self, batch: "list[EndedFlow]") -> None:
        """Count and record ended flows."""
        events: list[SessionEvent] = []
        offset_s = time.time() - time.monotonic()
        for item in batch:
            listener = self._listeners[item[0]]
            app = listener.app
            reason = reason_of(item[1], item[2])
            app.measures.end(reason._value_)
            self._changed.add(app)
            target, created, replied, ended = item[5], item[6], item[7], item[8]
            if target is not None:
                connect_s = (replied - created) / 1e9 if replied else None
                app.measures.origin(target.name, target.number).end(connect_s)
                if target.number and replied:
                    # Over UDP a connected socket proves nothing of its origin; a reply to any client does.
                    self._balancers.signs_of(target.number).connect_succeeded(1)
                if replied:
                    app.measures.observe((replied - created) / 1e9, (ended - created) / 1e9)
                else:
                    app.measures.observe_duration((ended - created) / 1e9)
            if reason.refused and self._records.wanted:
                make = partial(self._event, app, reason, item, offset_s)
                verdict = self._verdicts.get(item[13])
                kind = RefusalKind(app.settings.name, reason._value_, verdict.rule if verdict else "")
                self._records.refused(kind, item[3], make, events)
            elif self._records.wanted:
                events.append(self._event(app, reason, item, offset_s))
            if self._verdicts:
                self._verdicts.pop(item[13], None)
            self._registry.leave(listener)
        self._records.add(events)

    def flush_records(self) -> None:
        """Hand on the records of refusals, which are summed; to be called once a second, and at the end."""
        self._records.flush()

    def _event(self, app: RunningApp, reason: Reason, item: "EndedFlow", offset_s: float) -> SessionEvent:
        settings = app.settings
        (
            _,
            _,
            _,
            client,
            client_port,
            target,
            created,
            replied,
            ended,
            sent,
            received,
            from_client,
            from_origin,
            name,
            edge,
            edge_port,
        ) = item
        verdict = self._verdicts.get(name) if self._verdicts else None
        now = datetime.fromtimestamp(ended / 1e9 + offset_s, UTC)
        return SessionEvent(
            Event=reason.event,
            Status=reason.status,
            Reason=reason.label,
            Application=settings.name,
            SessionId=flow_id(self._worker, name),
            EdgeIP=address_text(edge),
            EdgePort=edge_port,
            Timestamp=now,
            ConnectTimestamp=datetime.fromtimestamp(replied / 1e9 + offset_s, UTC) if replied else None,
            DisconnectTimestamp=now,
            ClientIP=address_text(client),
            ClientPort=client_port,
            ClientBytes=sent,
            OriginIP=target.host if target else "",
            OriginPort=target.port if target else 0,
            OriginBytes=received,
            ProxyProtocol=settings.proxy_protocol,
            ConnectDuration=replied - created if replied else 0,
            ClientProto="udp",
            OriginProto="udp",
            IpFirewall=settings.ip_firewall,
            ClientMatchedIpFirewall=verdict.matched if verdict else "UNKNOWN",
            AccessRule=verdict.rule if verdict else "",
            ClientCountry=self._places.country_of(client),
            ClientAsn=self._places.number_of(client),
            ClientDatagrams=from_client,
            OriginDatagrams=from_origin,
            Limit=limits_hit(reason, app.rules, self._limiter.node) or msgspec.UNSET,
            **app.recorded.way(target),
        )

    def broken(self, error: Exception) -> None:
        """Report a fault of ours inside a callback of the engine."""
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

        Flows keep their origin, but for those whose origin is gone: they get another one at once. In all else they are
        served as new ones are: a flow has no end of its own to wait for. Flows of removed listeners end, because their
        replies have no socket to leave from. Flows of origins `stopped` get another one, after the time that these have
        to drain.
        """
        self._records.wanted = snapshot.log_sessions
        self._limiter.node = node_rules(snapshot.udp_limits, "udp")
        at_once = self._drain_origins(stopped or {})
        unused: set[Target] = set()
        self._own_ports = _ports_of(snapshot.apps)
        gone = self._registry.apply(
            snapshot, descriptors, names, lambda _, targets: unused.update(frozenset(targets) - self._held)
        )
        apps = self._registry.apps()
        self._measure_paths(apps)
        self._end_blocked(apps)
        self._manners = {app: manner for app, manner in self._manners.items() if app in apps}
        self._adapt_flows(apps)
        for name in self.engine.flows(targets=unused | at_once):
            self._repin(name)
        self._held = set()
        return gone

    def change(
        self,
        difference: Difference,
        rest: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
    ) -> list[ListenerKey]:
        """Serve what differs from what is served; see `Registry.change`. Flows go on as in `apply`.

        Args:
            difference: What differs.
            rest: What is served beside apps.
            descriptors, names: As for `apply`.
        """
        if not difference.involves(lambda app: app.transport == "udp"):
            return []
        unused: set[Target] = set()
        # Those of removed apps stay in it until the next snapshot: it is asked before the listeners are.
        self._own_ports.update(_ports_of(difference.apps))
        former = self._registry.running(app.name for app in difference.former)
        gone = self._registry.change(
            difference, descriptors, names, lambda _, targets: unused.update(frozenset(targets) - self._held)
        )
        apps = self._registry.running(app.name for app in difference.apps)
        self._measure_paths(apps)
        self._end_blocked(apps)
        self._adapt_flows(apps)
        for app in former:
            if not app.listeners:
                self._manners.pop(app, None)
        for name in self.engine.flows(targets=unused) if unused else ():
            self._repin(name)
        return gone

    def _measure_paths(self, apps: Iterable[RunningApp]) -> None:
        """Look at the paths to origins before datagrams go there; one port of a host stands for all."""
        for app in apps:
            self._breathe()
            header = app.encode(bytes(4), 0, bytes(4), 0, b"") if app.mode >= Mode.EACH else b""
            targets = {target.host: target for listener in app.listeners for target in listener.route.targets()}
            for target in targets.values():
                self.engine.measure(app.slot, target, len(header))

    def _adapt_flows(self, apps: Iterable[RunningApp]) -> None:
        """Serve the flows of apps with other settings as new ones are, before any of them is led elsewhere."""
        stale = {app for app in apps if app.manner != self._manners.get(app, app.manner)}
        self._manners.update((app, app.manner) for app in apps)
        for name in self.engine.flows() if stale else ():
            if (found := self.engine.flow(name)) and (app := self._listeners[found[0]].app) in stale:
                self._adapt(name, app, found[1])

    def _adapt(self, name: int, app: RunningApp, target: Target) -> None:
        """Give a flow the settings of a new one, or end it if a new one would be refused."""
        ends = self.engine.ends_of(name)
        if ends is None:
            return
        client, client_port, edge, edge_port, peer = ends
        if peer is None and app.trusted is not None:
            self.engine.close(name, Reason.HEADER_MISSING)
            return
        if peer is not None and (app.trusted is None or peer not in app.trusted):
            self.engine.close(name, Reason.HEADER_UNTRUSTED)
            return
        header = app.encode(client, client_port, edge, edge_port, b"")
        if self.engine.adapt(name, app.mode, header, app.idle_timeout_ms, app.shared):
            self._move(name, app, target, (target,))
            app.take_connected((target,))  # the listener may not lead to it any more

    def _end_blocked(self, apps: Iterable[RunningApp]) -> None:
        """End the flows of clients that are blocked by now: a flow has no end of its own."""
        guarded = {app for app in apps if app.judge is not None}
        for name in self.engine.flows() if guarded else ():
            found = self.engine.flow(name)
            app = self._listeners[found[0]].app if found else None
            if app is None or app.judge is None or app not in guarded:
                continue
            verdict = app.judge(self.engine.client_of(name)[0])
            if verdict is not None and verdict.blocks:
                app.measures.meet(verdict.rule)
                self._verdicts[name] = verdict
                self.engine.close(name, Reason.CLIENT_BLOCKED)

    def _drain_origins(self, stopped: Stopped) -> set[Target]:
        """Begin the drains; return the targets of those that have no time for one."""
        now = time.monotonic()
        at_once: set[Target] = set()
        self.drains.cancel(self._balancers.is_stopped)
        for (balancer, number), drain_s in stopped.items():
            holder = self._registry.holder(balancer, number)
            if drain_s is None:
                at_once.update(holder())
                continue
            self._held.update(holder())
            self.drains.begin((balancer, number), partial(self._flows_at, holder), drain_s, now)
        return at_once

    def _flows_at(self, holder: Callable[[], set[Target]]) -> list[int]:
        return self.engine.flows(targets=holder())

    def leave_origins(self, numbers: Iterable[int]) -> None:
        """Pin the flows of origins that are no longer usable to others."""
        left = set(numbers)
        for name in self.engine.flows(targets=self._registry.targets_to(left)) if left else ():
            self._repin(name)

    def _configured(self, app: RunningApp) -> None:
        settings = app.settings
        paces, fragments = msgspec.structs.astuple(settings.paces), settings.fragments == "forward"
        self.engine.set_app(app.slot, app.group, app.trusted is not None, paces, fragments)

    def _equip(self, app: RunningApp) -> None:
        app.judge = self._firewall.judge_for(app.settings)

    def _unlisten(self, listener: RunningListener, drain: bool) -> None:
        self.engine.remove_listener(listener.number, Reason.LISTENER_REMOVED)

    def _unused(self, listener: RunningListener, targets: list[Target]) -> None:
        for name in self.engine.flows(targets=frozenset(targets) - self._held):
            self._repin(name)

    def _repin(self, name: int) -> None:
        """Choose another origin for a flow; end it if there is none."""
        found = self.engine.flow(name)
        if found is None:
            return
        listener = self._listeners[found[0]]
        way = listener.route.choose(*self.engine.client_of(name), found[2])
        if isinstance(way, Reason):
            self.engine.close(name, way)
        elif found[1] not in way[0]:
            self._move(name, listener.app, found[1], way[0])

    def resolve(self, names: Mapping[str, tuple[str, ...]], changed: Iterable[str]) -> None:
        """Take new addresses of the names `changed`; flows whose address is gone get another one."""
        self._registry.resolve(names, changed, self._unused)
        self._measure_paths(self._registry.apps())

    def app_name(self, listener: int) -> str:
        """Return the name of the app of a listener, by its number, while it is open or has sessions."""
        return self._listeners[listener].app.settings.name

    def release(self) -> list[tuple[int, int]]:
        """Leave all flows to another worker; return the descriptors for it, by index."""
        return self.engine.release()

    def recover(self, sockets: dict[int, int] | None = None) -> int:
        """Continue the flows of the former worker; return their number.

        Args:
            sockets: Of flows that it handed over, by index; the others get new ones.
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
            self._enter(listener)
            self.engine.adopt(name, listener.number, target)
            self._adapt(name, listener.app, target)  # the snapshot may be another one than it began with
            count += 1
        for descriptor in inherited.values():  # of flows that have no listener or origin any more
            os.close(descriptor)
        inherited.clear()
        return count

    def drain(self) -> None:
        """Refuse new flows."""
        self.engine.drain()

    def take_connects(self) -> None:
        """Ignore that sockets were connected: over UDP that proves nothing of an origin."""

    # --- measures -------------------------------------------------------------------------------------------------

    def take_measures(self) -> dict[str, AppMeasures]:
        """Return the counts since the last call, of the apps with any."""
        for slot, *counts in self.engine.take_counts():
            app = self._registry.in_slot(slot)
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
                    "app %s: datagrams come faster than flows can be begun for them; %d of new clients were dropped; "
                    "the flows that there are come first",
                    app.settings.name,
                    counts[4 + _OVERLOAD],
                )
            self._changed.add(app)
        taken: dict[str, AppMeasures] = {}
        for app in self._changed:
            add_measures(taken, app.settings.name, app.take_measures())
        self._changed.clear()
        return taken
