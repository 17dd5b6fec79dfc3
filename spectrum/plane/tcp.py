"""TCP sessions of a worker: the decision on each new session, and the record of each ended one.

The engine calls `accepted` and `ended` in batches and moves all bytes itself. The two are the only Python that runs per
session, so they are written for few steps rather than few lines. Where the decision is the same for each session of a
listener, the engine follows a plan instead, and writes the records of sessions that have no details.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.difference import Difference
from spectrum.core.limits.rules import node_rules
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.measures import CONNECT_BOUNDS_S, DURATION_BOUNDS_S, AppMeasures, add_measures
from spectrum.core.records.reasons import Reason
from spectrum.core.records.refusals import RefusalKind
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.loop import Loop
from spectrum.engine.plan import SessionPlan
from spectrum.engine.relay import Relay
from spectrum.engine.sessions import Outcome
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.plane.access.firewall import Firewall, Places
from spectrum.plane.apps import RunningApp, RunningListener, address_text
from spectrum.plane.balancing.balancers import Balancers, Stopped
from spectrum.plane.balancing.drains import Drains
from spectrum.plane.details import NOT_BEGUN, Newcomer, SessionDetails
from spectrum.plane.forms import reason_of
from spectrum.plane.front import Told, header_needs, read_header, read_hello
from spectrum.plane.limits import Limiter
from spectrum.plane.listening import ListenerCheck
from spectrum.plane.log import FaultLog
from spectrum.plane.records import Records
from spectrum.plane.registry import Registry
from spectrum.plane.tls import Tls, told_of
from spectrum.wire import ProxyHeaderError, Tlv, TlvType
from spectrum.wire.client_hello import ClientHello, ClientHelloTooLong, HelloReader
from spectrum.wire.proxy_protocol import pack_tlvs

if TYPE_CHECKING:
    from spectrum.engine.sessions import Accepted, Ended, Gone, Summed
    from spectrum.engine.tls import Facts, OriginFacts

log = logging.getLogger(__name__)

# Keys of drains in place of the name of a load balancer; no name can be the same.
REMOVED, HANDED_OVER = "", " "
# A stuck peer has as long as a dead one, and this time.
PACE_GRACE_MS = 1500


class TcpPlane:
    """The engine's handler.

    Args:
        loop: The engine's loop.
        emit: Takes the encoded events of ended sessions: see `Records`.
        balancers: Those of the worker.
        loads: Counts sessions for all workers.
        limiter: Turns clients away; a worker on its own has one.
        places: Where clients are.
        firewall: The access rules.
        tls: The contexts of apps.
        max_sessions: Accepting stops at this many.
        breathe: See `Registry`.
    """

    def __init__(
        self,
        loop: Loop,
        emit: Callable[[int, bytes, bool], None],
        balancers: Balancers,
        loads: Loads | None = None,
        limiter: Limiter | None = None,
        places: Places | None = None,
        firewall: Firewall | None = None,
        tls: Tls | None = None,
        max_sessions: int = 0x7FFFFFFF,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self._places = places or Places()
        self._firewall = firewall or Firewall(self._places)
        self._tls = tls or Tls()
        self._limiter = limiter or Limiter(Census(), Rates())
        census, rates = self._limiter.census, self._limiter.rates
        bounds = CONNECT_BOUNDS_S, DURATION_BOUNDS_S
        self.relay = Relay(
            loop, self, max_sessions=max_sessions, loads=loads, census=census, rates=rates, bounds=bounds
        )
        self.drains = Drains(self._end_drained)
        self._balancers = balancers
        self._records = Records(emit)
        self._registry = Registry(
            "tcp", balancers, self.relay.add_listener, self._unlisten, self._configured, self._equip, breathe
        )
        # Details of sessions that are not plain ones, by their name.
        self._details: dict[int, SessionDetails] = {}
        # The listeners of which it is known whether the engine can decide; it is found out by the first session.
        self._planned: set[int] = set()
        self._is_applying = False
        # The registry's own, for the hot path.
        self._listeners = self._registry.listeners
        self._changed = self._registry.changed
        self.hearing = ListenerCheck(self.relay, self._listeners)
        self._wall_offset_s = 0.0
        self._faults = FaultLog("a session was refused by a fault of ours")

    # --- the engine's handler -------------------------------------------------------------------------------------

    def accepted(self, batch: "list[Accepted]") -> None:
        """Decide on new sessions."""
        relay = self.relay
        unplanned: dict[int, RunningListener] = {}
        for name, number, client, client_port, edge, edge_port in batch:
            listener = self._listeners[number]
            app = listener.app
            app.measures.started += 1
            app.dialing += 1
            app.open += 1
            listener.open += 1
            self._changed.add(app)
            if listener.intercepts and not app.is_sent_to(edge, edge_port):
                relay.refuse(name, Reason.NOT_INTERCEPTED)
            elif app.trusted is None and listener.names is None:
                if number not in self._planned:
                    unplanned[number] = listener
                self._connect(name, Newcomer(listener, app.terms, client, client_port, edge, edge_port))
            elif app.trusted is None or client in app.trusted:
                relay.read_header(name, app.header_timeout_ms)
            else:
                relay.refuse(name, Reason.HEADER_UNTRUSTED)
        # After the batch: the engine's turn among the origins begins where the one here ends.
        for number, listener in unplanned.items():
            self._plan(number, listener)

    def begun(self, number: int, count: int) -> None:
        """Count new sessions whose plan the engine follows."""
        listener = self._listeners[number]
        app = listener.app
        app.measures.started += count
        app.dialing += count
        app.open += count
        listener.open += count
        self._changed.add(app)

    def _plan(self, number: int, listener: RunningListener) -> None:
        """Let the engine decide on later sessions of a listener, if the decision is the same each time."""
        if self._is_applying:
            return  # it may change at any moment
        self._planned.add(number)
        app, terms, orders = listener.app, listener.app.terms, listener.route.fixed_orders()
        if not orders or listener.intercepts or terms.tls is not None or app.origin_tls is not None:
            return
        rules = (*app.rules, *self._limiter.node)
        prefixes = self._firewall.prefixes_of(app.settings.name) if app.judge is not None else None
        timeouts = app.connect_timeout_ms, app.idle_timeout_ms
        self.relay.set_plan(
            number, SessionPlan(orders, app.settings.proxy_protocol, *timeouts, terms.form, app.judge, rules, prefixes)
        )

    def _drop_plans(self, listeners: Collection[int] | None = None) -> None:
        """Decide on new sessions, of all listeners or of some, here again, until what they have in common is known."""
        self.relay.drop_plans(listeners)
        if listeners is None:
            self._planned.clear()
        else:
            self._planned.difference_update(listeners)

    def gone(self, batch: "list[Gone]") -> None:
        """Count clients that were reset before they were accepted; their records are summed."""
        events: list[SessionEvent] = []
        self._read_clock()
        for number, client, count in batch:
            app = self._listeners[number].app
            app.measures.started += count
            app.measures.end(Reason.CLIENT_RESET._value_, count)
            self._changed.add(app)
            if self._records.wanted:
                kind = RefusalKind(app.settings.name, Reason.CLIENT_RESET._value_, "")
                self._records.refused(kind, client, partial(self._gone_event, app, client), events, count)
        self._records.add(events)

    def _gone_event(self, app: RunningApp, client: bytes) -> SessionEvent:
        reason, at = Reason.CLIENT_RESET, datetime.fromtimestamp(time.monotonic() + self._wall_offset_s, UTC)
        return SessionEvent(
            Event=reason.event,
            Status=reason.status,
            Reason=reason.label,
            Application=app.settings.name,
            Timestamp=at,
            DisconnectTimestamp=at,
            ClientIP=address_text(client),
            ProxyProtocol=app.settings.proxy_protocol,
            IpFirewall=app.settings.ip_firewall,
            ClientCountry=self._places.country_of(client),
            ClientAsn=self._places.number_of(client),
        )

    def _note(self, name: int, newcomer: Newcomer | None = None) -> SessionDetails:
        """Return the details of a session, which is no plain one from the first call on."""
        details = self._details.get(name)
        if details is None:
            details = self._details[name] = SessionDetails()
            self.relay.report_singly(name)
        if newcomer is not None and details.recorded is None:
            details.recorded = newcomer.terms.recorded
        return details

    def _connect(self, name: int, newcomer: Newcomer) -> None:
        app, client = newcomer.listener.app, newcomer.client
        if app.judge is not None and (verdict := app.judge(client)) is not None:
            app.measures.meet(verdict.rule)
            self._note(name, newcomer).verdict = verdict
            if verdict.blocks:
                self.relay.refuse(name, Reason.CLIENT_BLOCKED)
                return
        if app.rules or self._limiter.node:
            reason, wait_ms = self._limiter.admit(app.rules, client)
            if reason is not None:
                self.relay.refuse(name, reason)
                return
            if wait_ms:
                self._note(name, newcomer).newcomer = newcomer
                self.relay.hold(name, wait_ms)
                return
        self._secure(name, newcomer)

    def turn_came(self, name: int) -> None:
        """Continue a delayed session, unless a limit of open sessions was reached meanwhile."""
        newcomer = self._details[name].take_newcomer()
        reason = self._limiter.excess(newcomer.listener.app.rules, newcomer.client)
        if reason is not None:
            self.relay.refuse(name, reason)
            return
        self._secure(name, newcomer)

    def _secure(self, name: int, newcomer: Newcomer) -> None:
        """Begin TLS with an admitted client, if its app terminates TLS."""
        terms = newcomer.terms
        if terms.tls is None:
            self._lead(name, newcomer)
            return
        details = self._note(name, newcomer)
        details.newcomer = newcomer
        details.shook_hands = True
        self.relay.secure(name, terms.tls, terms.handshake_timeout_ms)

    def secured(self, name: int, facts: "Facts") -> None:
        """Continue a session after the TLS handshake of its client."""
        details = self._details[name]
        details.client_tls = facts
        newcomer = details.take_newcomer()
        app = newcomer.listener.app
        app.measures.handshakes += 1
        app.measures.resumed += facts[4]
        if newcomer.terms.recorded.proxy_protocol == "v2":
            newcomer = newcomer._replace(tlvs=told_of(facts, newcomer.tlvs))
        self._lead(name, newcomer)

    def origin_secured(self, name: int, facts: "OriginFacts") -> None:
        """Note the TLS facts of an origin; one before it may have failed."""
        details = self._note(name)
        details.origin_tls = facts
        details.tls_fault = ""

    def insecure(self, name: int, side: int, reason: str) -> None:
        """Note why there is no TLS with a session's client (side 0), or with its origin."""
        details = self._note(name)
        details.tls_fault = reason
        if side == 0 and (asked := self.relay.server_name(name)):
            details.server_name = asked.decode("ascii", "replace")

    def _lead(self, name: int, newcomer: Newcomer) -> None:
        """Connect an admitted session to an origin."""
        listener, terms, client, client_port, edge, edge_port, tlvs = newcomer
        app = listener.app
        way = listener.route.choose(client, client_port, edge_port)
        if isinstance(way, Reason):
            self.relay.refuse(name, way)
            return
        header = terms.encode(client, client_port, edge, edge_port, tlvs)
        form = None if name in self._details else terms.form
        self.relay.connect(name, way[0], header, app.connect_timeout_ms, app.idle_timeout_ms, way[1], form)

    def header(
        self,
        name: int,
        listener: int,
        data: bytes,
        client: bytes,
        client_port: int,
        edge: bytes,
        edge_port: int,
        last: bool = False,
    ) -> int:
        """Read a client's first bytes: the PROXY header of a trusted proxy, a ClientHello, or both.

        Nothing is taken from the connection before all of it is there. With `last`, no more will come in time: a client
        that is silent, or has not said what it asks for, asks for nothing.

        Returns:
            How many bytes must be there before another look makes sense; 0 once it is decided.
        """
        running = self._listeners[listener]
        told, reader = self._details[name].take_beginning() if name in self._details else NOT_BEGUN
        if told is None:
            try:
                told = (client, client_port, edge, edge_port, 0, b"")
                if running.app.trusted is not None:
                    told = read_header(data, client, client_port, edge, edge_port)
            except ProxyHeaderError as exc:
                log.debug("header from %s refused: %s", address_text(client), exc)
                self.relay.refuse(name, Reason.HEADER_INVALID)
                return 0
            if told is None:
                return header_needs(data)
        client, client_port, edge, edge_port, size, tlvs = told
        if running.names is not None:
            reader = reader or HelloReader()
            try:
                hello = read_hello(reader, data[size:])
            except ClientHelloTooLong as exc:
                log.debug("%s from %s refused", exc, address_text(client))
                self._refuse_told(name, told, Reason.HELLO_TOO_LONG)
                return 0
            if hello is None and not last:
                self._note(name).beginning = told, reader
                return size + reader.needs
            asked = hello or ClientHello()
            chosen = running.names.find(asked)
            if hello is None and chosen is None:
                return 0  # the engine says that it did not come
            if asked.server_name:
                self._note(name).server_name = asked.server_name
            if chosen is None or not self._registry.takes(chosen):
                self._refuse_told(name, told, Reason.SNI_UNKNOWN)
                return 0
            self._give(name, running, chosen)
            running = chosen
            if asked.server_name and chosen.app.tls is None:
                # The content of the proxy's header is kept.
                tlvs = tlvs or pack_tlvs([Tlv(TlvType.AUTHORITY, asked.server_name.encode("ascii"))])
        if size:
            self.relay.consume(name, size)
            self.relay.set_client(name, client, client_port)
        newcomer = Newcomer(running, running.app.terms, client, client_port, edge, edge_port, tlvs)
        # A reload may have changed its app since it was accepted.
        if running.app.recorded_at(0) is not running.app.recorded:
            self._note(name, newcomer)
        self._connect(name, newcomer)
        return 0

    def _refuse_told(self, name: int, told: Told, reason: Reason) -> None:
        """Refuse a client, which a proxy in front may have named."""
        if told[4]:
            self.relay.set_client(name, told[0], told[1])
        self.relay.refuse(name, reason)

    def _give(self, name: int, one: RunningListener, other: RunningListener) -> None:
        """Assign a session to another listener on the same address and port."""
        if other is one:
            return
        self.relay.assign(name, other.number)
        self._registry.enter(other)
        self._registry.leave(one)
        for listener, amount in ((one, -1), (other, 1)):
            listener.app.dialing += amount
            listener.app.measures.started += amount
            self._changed.add(listener.app)

    def attempt_failed(self, listener: int, target: Target, error: int) -> None:
        """Count an origin that could not be reached; the engine tries the next one."""
        self._registry.count_failure(listener, target, error)

    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...]:
        """Choose another origin for a client."""
        details = self._note(name)
        details.tried = (*details.tried, target)
        running = self._listeners[listener]
        targets = running.route.after(details.tried, client, client_port)
        running.app.measures.failovers += bool(targets)
        return targets

    def ended(self, batch: "list[Ended]") -> None:
        """Count and record ended sessions."""
        events: list[SessionEvent] = []
        self._read_clock()
        for item in batch:
            listener = self._listeners[item[0]]
            app = listener.app
            reason = reason_of(item[1], item[2])
            app.measures.end(reason._value_)
            self._changed.add(app)
            details = self._details.pop(item[13], None) if self._details else None
            target = item[5]
            if target is None or not item[7]:
                app.dialing -= 1
            else:
                app.measures.origin(target.name).ended += 1
                if target.number:
                    self._balancers.ended(target.number, item[10] > 0, item[1] == Outcome.ERROR_ORIGIN)
                app.measures.observe((item[7] - item[6]) / 1e9, (item[8] - item[6]) / 1e9)
            never_led = target is None and reason is Reason.CLIENT_RESET
            if (reason.refused or never_led) and self._records.wanted:
                rule = details.verdict.rule if details is not None and details.verdict is not None else ""
                kind = RefusalKind(app.settings.name, reason._value_, rule)
                self._records.refused(kind, item[3], partial(self._event, app, reason, item, details), events)
            elif self._records.wanted:
                events.append(self._event(app, reason, item, details))
            self._registry.leave(listener)
        self._records.add(events)

    def summed(self, batch: "list[Summed]", count: int, records: bytes) -> None:
        """Count ended plain sessions, which the engine has summed, and hand on their records."""
        for number, outcome, error, target, answered, ended, connects, connect_ns, durations, duration_ns in batch:
            listener = self._listeners[number]
            app, measures = listener.app, listener.app.measures
            measures.end(reason_of(outcome, error)._value_, ended)
            measures.origin(target.name).ended += ended
            measures.connect.count(connects, connect_ns / 1e9)
            measures.duration.count(durations, duration_ns / 1e9)
            if target.number:
                self._balancers.ended(target.number, answered, outcome == Outcome.ERROR_ORIGIN, ended)
            self._changed.add(app)
            self._registry.leave(listener, ended)
        if count:
            self._records.hand_on(count, records)

    def _read_clock(self) -> None:
        """Read by how much the wall clock is ahead of the monotonic one, for the records of a batch."""
        self._wall_offset_s = time.time() - time.monotonic()

    def flush_records(self) -> None:
        """Hand on the records of refusals, which are summed; to be called once a second, and at the end."""
        self._records.flush()

    def _event(self, app: RunningApp, reason: Reason, item: "Ended", details: SessionDetails | None) -> SessionEvent:
        (
            _,
            _,
            _,
            client,
            client_port,
            target,
            accepted,
            connected,
            ended,
            sent,
            received,
            client_rtt,
            origin_rtt,
            _,
        ) = item
        recorded = (details and details.recorded) or app.recorded_at(accepted)
        offset = self._wall_offset_s
        now = datetime.fromtimestamp(ended / 1e9 + offset, UTC)
        event = SessionEvent(
            Event=reason.event,
            Status=reason.status,
            Reason=reason.label,
            Application=app.settings.name,
            Timestamp=now,
            ConnectTimestamp=datetime.fromtimestamp(connected / 1e9 + offset, UTC) if connected else None,
            DisconnectTimestamp=now,
            ClientIP=address_text(client),
            ClientPort=client_port,
            ClientBytes=sent,
            ClientTcpRtt=client_rtt * 1000,
            OriginIP=target.host if target else "",
            OriginPort=target.port if target else 0,
            OriginBytes=received,
            OriginTcpRtt=origin_rtt * 1000,
            ProxyProtocol=recorded.proxy_protocol,
            ConnectDuration=connected - accepted if connected else 0,
            IpFirewall=recorded.ip_firewall,
            OriginTlsMode=recorded.tls_mode,
            ClientCountry=self._places.country_of(client),
            ClientAsn=self._places.number_of(client),
        )
        return event if details is None else msgspec.structs.replace(event, **details.fields(connected > 0))

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
        """Serve the TCP apps of a snapshot; see `Registry.apply`.

        Sessions go on, those of removed apps and origins too, but for origins `stopped` with a time to drain.
        """
        self._drop_plans()
        self._is_applying = True
        try:
            return self._apply(snapshot, descriptors, names, stopped or {})
        finally:
            self._is_applying = False

    def _apply(
        self,
        snapshot: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        stopped: Stopped,
    ) -> list[ListenerKey]:
        self._records.wanted = self.relay.recorded = snapshot.log_sessions
        self.relay.place_of = self._places.of if self._places.known else None
        self._limiter.node = node_rules(snapshot.tcp_limits, "tcp")
        self._drain_origins(stopped)
        serving = [listener for listener in self._listeners.values() if not listener.removed]
        self._tls.take(snapshot)
        gone = self._registry.apply(snapshot, descriptors, names)
        apps = {app.name for app in snapshot.apps}
        for listener in serving:
            if listener.removed and listener.app.settings.name not in apps:
                self._leave_app(listener, snapshot.drain_timeout_s)
        return gone

    def change(
        self,
        difference: Difference,
        rest: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
    ) -> list[ListenerKey]:
        """Serve what differs from what is served; see `Registry.change`. Sessions go on as in `apply`.

        Args:
            difference: What differs.
            rest: What is served beside apps.
            descriptors, names: As for `apply`.
        """
        if not difference.involves(lambda app: app.transport == "tcp"):
            return []
        running = self._registry.running(app.name for app in difference.former)
        serving = [listener for app in running for listener in app.listeners]
        self._drop_plans([listener.number for listener in serving])
        self._is_applying = True
        try:
            self._tls.change(difference, rest.tls)
            gone = self._registry.change(difference, descriptors, names)
        finally:
            self._is_applying = False
        removed = difference.removed()
        for listener in serving:
            if listener.removed and listener.app.settings.name in removed:
                self._leave_app(listener, rest.drain_timeout_s)
        return gone

    def _configured(self, app: RunningApp) -> None:
        # The kernel's own patience comes first: of a peer that is gone it knows more.
        patience_ms = app.settings.user_timeout_ms + PACE_GRACE_MS
        paces = app.settings.paces
        self.relay.set_app(
            app.slot,
            app.group,
            app.settings.drain_pace,
            patience_ms,
            paces.bytes_per_second,
            paces.client_bytes_per_second,
            paces.prefix_bytes_per_second,
        )

    def _equip(self, app: RunningApp) -> None:
        app.judge = self._firewall.judge_for(app.settings)
        app.equip(*self._tls.of(app.settings))

    def _leave_app(self, listener: RunningListener, drain_timeout_s: float) -> None:
        """Keep, drain or end the sessions of a removed app, as its `on_remove` says."""
        find = partial(self.relay.sessions, listener=listener.number)
        match listener.app.settings.on_remove:
            case "drain":
                now = time.monotonic()
                self.drains.begin((REMOVED, listener.number), find, drain_timeout_s, now, drain_timeout_s)
            case "close":
                for name in find():
                    self.relay.close(name, Reason.LISTENER_REMOVED)

    def end_by(self, timeout_s: float) -> None:
        """End all sessions by `timeout_s` from now, the first of them ten seconds before."""
        self.drains.begin((HANDED_OVER, 0), self.relay.sessions, timeout_s, time.monotonic())

    def _end_drained(self, key: tuple[str, int], name: int) -> None:
        reasons = {REMOVED: Reason.LISTENER_REMOVED, HANDED_OVER: Reason.DRAINED}
        self.relay.close(name, reasons.get(key[0], Reason.ORIGIN_DRAINED))

    def _drain_origins(self, stopped: Stopped) -> None:
        now = time.monotonic()
        self.drains.cancel(self._balancers.is_stopped)
        for (balancer, number), drain_s in stopped.items():
            if drain_s is not None:
                holder = self._registry.holder(balancer, number)
                self.drains.begin((balancer, number), partial(self._sessions_at, holder), drain_s, now)

    def _sessions_at(self, holder: Callable[[], set[Target]]) -> list[int]:
        return self.relay.sessions(targets=holder())

    def _unlisten(self, listener: RunningListener, drain: bool) -> None:
        self.relay.remove_listener(listener.number, drain)

    def resolve(self, names: Mapping[str, tuple[str, ...]], changed: Iterable[str]) -> None:
        """Take new addresses of the names `changed`; sessions keep their origins."""
        self._registry.resolve(names, changed)
        self._drop_plans()

    def open_sessions(self) -> dict[str, int]:
        """Return the number of sessions of each app with any."""
        found: Counter[str] = Counter()
        for app in self._registry.apps():
            if app.open:
                found[app.settings.name] += app.open
        return found

    def stop_accepting(self) -> None:
        """Accept what waits in the kernel's queues, then nothing more."""
        self._registry.remove_all()

    def take_connects(self) -> None:
        """Note what the engine connected to origins of load balancers."""
        self._registry.take_connects()

    # --- measures -------------------------------------------------------------------------------------------------

    def take_measures(self) -> dict[str, AppMeasures]:
        """Return the counts since the last call, of the apps with any."""
        for slot, from_clients, from_origins in self.relay.take_bytes():
            app = self._registry.in_slot(slot)
            app.measures.bytes_from_client += from_clients
            app.measures.bytes_from_origin += from_origins
            self._changed.add(app)
        changed = self._changed.copy()
        self._changed.clear()
        taken: dict[str, AppMeasures] = {}
        for app in changed:
            add_measures(taken, app.settings.name, app.take_measures())
        # The engine reports connected origins only when asked, so these are asked again.
        self._changed.update(app for app in changed if app.dialing)
        return taken
