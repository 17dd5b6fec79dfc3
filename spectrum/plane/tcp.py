"""TCP sessions of a worker: the decision on each new session, and the record of each ended one.

The engine calls `accepted` and `ended` in batches and moves all bytes itself. These two are the only Python that runs
per session, so they are optimized for few steps rather than few lines. If the decision is the same for each session of
a listener, the engine follows a plan instead, and writes the records of sessions without details.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from spectrum.core.difference import Difference
from spectrum.core.limits.rules import node_rules
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.measures import CONNECT_BOUNDS_S, DURATION_BOUNDS_S, AppMeasures, add_measures
from spectrum.core.records.reasons import Reason
from spectrum.core.records.refusals import RefusalKind
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.lookout import Lookout
from spectrum.engine.loop import Loop
from spectrum.engine.plan import SessionPlan
from spectrum.engine.relay import Relay
from spectrum.engine.sessions import Outcome
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.log import FaultLog
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.apps import RunningApp, RunningListener
from spectrum.plane.balancing.balancers import Balancers, Stopped
from spectrum.plane.balancing.drains import Drains
from spectrum.plane.forms import reason_of
from spectrum.plane.limits import Limiter
from spectrum.plane.listening import ListenerCheck
from spectrum.plane.loop_yield import paced
from spectrum.plane.records import Records
from spectrum.plane.registry import Registry
from spectrum.plane.session import NewSession
from spectrum.plane.session_decider import SessionDecider
from spectrum.plane.session_records import SessionRecords
from spectrum.plane.syn_filters import SynFilters
from spectrum.plane.tls import Tls

if TYPE_CHECKING:
    from spectrum.engine.sessions import Accepted, Ended, Gone, Summed

log = logging.getLogger(__name__)

# Keys of drains in place of a load balancer's name; no name can be equal.
REMOVED, HANDED_OVER = "", " "
# A peer that does not read has as long as a dead one, and this time.
PACE_GRACE_MS = 1500
# So many sessions are checked in a step for those that rules of detection block. To end one takes 20 µs here, and the
# origin has to end it, too.
BLOCKED_AT_ONCE, BLOCKED_STEP_S = 8, 0.002


class TcpPlane:
    """The engine's handler.

    Args:
        loop: The engine's loop.
        emit: Takes the encoded events of ended sessions: see `Records`.
        balancers: The worker's balancers.
        loads: Counts sessions for all workers.
        limiter: Refuses clients; a worker on its own has one.
        places: Countries and autonomous systems of clients.
        firewall: The access rules.
        tls: The contexts of apps.
        max_sessions: Accepting stops at this many.
        breathe: See `Registry`.
        lookout: Samples new sessions for attack detection, and applies its rules.
    """

    def __init__(
        self,
        loop: Loop,
        emit: Callable[[int, bytes, bool], None],
        balancers: Balancers,
        loads: Loads | None = None,
        limiter: Limiter | None = None,
        places: ClientPlaces | None = None,
        firewall: Firewall | None = None,
        tls: Tls | None = None,
        max_sessions: int = 0x7FFFFFFF,
        breathe: Callable[[], None] = lambda: None,
        lookout: Lookout | None = None,
    ) -> None:
        self._places = places or ClientPlaces()
        self._firewall = firewall or Firewall(self._places)
        self._tls = tls or Tls()
        self._limiter = limiter or Limiter(Census(), Rates())
        census, rates = self._limiter.census, self._limiter.rates
        bounds = CONNECT_BOUNDS_S, DURATION_BOUNDS_S
        self.relay = Relay(
            loop,
            self,
            max_sessions=max_sessions,
            loads=loads,
            census=census,
            rates=rates,
            lookout=lookout,
            bounds=bounds,
        )
        self.drains = Drains(self._end_drained)
        self._balancers = balancers
        self._records = Records(emit)
        self._registry = Registry(
            "tcp", balancers, self.relay.add_listener, self._unlisten, self._configured, self._equip, breathe
        )
        # The engine calls the methods of both.
        decider = SessionDecider(self.relay, self._registry, self._limiter, balancers)
        self.header, self.turn_came, self.exhausted = decider.header, decider.turn_came, decider.exhausted
        self.secured, self.origin_secured, self.insecure = decider.secured, decider.origin_secured, decider.insecure
        self.attempt_failed = decider.attempt_failed
        self.recorded = self._records.hand_on
        self._begin, self._sessions = decider.begin, decider.sessions
        self._queues, self._waiting, self._look_soon = decider.queues, decider.queues.waiting, decider.look_soon
        # Listeners for which it is known whether the engine can decide; the first session determines it.
        self._planned: set[int] = set()
        # The apps with preconnect.
        self._preconnecting: set[RunningApp] = set()
        self._is_applying = False
        # Where `end_blocked` is, among the places of sessions, and whether it starts again at the end.
        self._blocked_at: int | None = None
        self._ends_blocked_again = False
        self._breathe = breathe
        # The registry's own attributes, for the hot path.
        self._listeners = self._registry.listeners
        self._changed = self._registry.changed
        self.hearing = ListenerCheck(self.relay, self._listeners)
        self.syn_filters = SynFilters(self._listeners, lookout or Lookout())
        self._session_records = SessionRecords(self._places, self._limiter, self._firewall)
        self._faults = FaultLog("a session was refused because of an internal error")

    # --- callbacks of the engine ----------------------------------------------------------------------------------

    def accepted(self, batch: "list[Accepted]") -> None:
        """Decide on new sessions."""
        relay, begin = self.relay, self._begin
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
                begin(name, NewSession(listener, app.terms, client, client_port, edge, edge_port))
            elif app.trusted is None or client in app.trusted:
                relay.read_header(name, app.header_timeout_ms)
            else:
                relay.refuse(name, Reason.HEADER_UNTRUSTED)
        # After the batch: the engine's rotation of origins continues where this one ends.
        for number, listener in unplanned.items():
            self._plan(number, listener)

    def begun(self, number: int, count: int) -> None:
        """Count new sessions with a plan."""
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
            return  # It may change at any moment.
        self._planned.add(number)
        app, terms, orders = listener.app, listener.app.terms, listener.route.fixed_orders()
        if not orders or listener.intercepts or terms.tls is not None or app.origin_tls is not None:
            return
        rules = (*app.rules, *self._limiter.node)
        name, scopes = app.settings.name, app.settings.scopes
        prefixes = self._firewall.prefixes_of(name, scopes) if app.judge is not None else None
        timeouts = app.connect_timeout_ms, app.idle_timeout_ms
        self.relay.set_plan(
            number, SessionPlan(orders, app.settings.proxy_protocol, *timeouts, terms.form, app.judge, rules, prefixes)
        )

    def _drop_plans(self, listeners: Collection[int] | None = None) -> None:
        """Decide on new sessions here again, for all listeners or some, until a new plan is made."""
        self.relay.drop_plans(listeners)
        if listeners is None:
            self._planned.clear()
        else:
            self._planned.difference_update(listeners)

    def gone(self, batch: "list[Gone]") -> None:
        """Count clients that were reset before accept, or refused by a rule; their records are summed."""
        events: list[SessionEvent] = []
        self._session_records.read_clock()
        for number, client, count, is_refused in batch:
            app = self._listeners[number].app
            reason = Reason.ATTACK if is_refused else Reason.CLIENT_RESET
            app.measures.started += count
            app.measures.end(reason._value_, count)
            self._changed.add(app)
            if self._records.wanted:
                kind = RefusalKind(app.settings.name, reason._value_, "")
                make = partial(self._session_records.gone, app, client, reason)
                self._records.refused(kind, client, make, events, count)
        self._records.add(events)

    def told(self, batch: "list[Ended]") -> None:
        """Record open sessions: that they are connected, or their progress."""
        self._session_records.read_clock()
        record, listeners, sessions = self._session_records.told, self._listeners, self._sessions
        self._records.add([record(listeners[one[0]].app, one, sessions.get(one[13])) for one in batch])

    def ended(self, batch: "list[Ended]") -> None:
        """Count and record ended sessions."""
        events: list[SessionEvent] = []
        record = self._session_records.ended
        self._session_records.read_clock()
        for item in batch:
            listener = self._listeners[item[0]]
            app = listener.app
            reason = reason_of(item[1], item[2])
            app.measures.end(reason._value_)
            self._changed.add(app)
            session = self._sessions.pop(item[13], None) if self._sessions else None
            if self._waiting and (left := self._queues.leave(item[13])) is not None:  # Its client has left.
                app.measures.queue_wait_s += left
            target = item[5]
            if target is None or not item[7]:
                app.dialing -= 1
            else:
                app.measures.origin(target.name, target.number).end((item[7] - item[6]) / 1e9)
                if target.number:
                    self._balancers.ended(target.number, item[10] > 0, item[1] == Outcome.ERROR_ORIGIN)
                app.measures.observe((item[7] - item[6]) / 1e9, (item[8] - item[6]) / 1e9)
            never_led = target is None and reason is Reason.CLIENT_RESET
            if (reason.refused or never_led) and self._records.wanted:
                rule = session.verdict.rule if session is not None and session.verdict is not None else ""
                kind = RefusalKind(app.settings.name, reason._value_, rule)
                self._records.refused(kind, item[3], partial(record, app, reason, item, session), events)
            elif self._records.wanted:
                events.append(record(app, reason, item, session))
            self._registry.leave(listener)
        if self._waiting:
            self._look_soon()
        self._records.add(events)

    def summed(self, batch: "list[Summed]") -> None:
        """Count ended plain sessions, which the engine has summed."""
        for number, outcome, error, target, answered, ended, connects, connect_ns, durations, duration_ns in batch:
            listener = self._listeners[number]
            app, measures = listener.app, listener.app.measures
            measures.end(reason_of(outcome, error)._value_, ended)
            measures.origin(target.name, target.number).end(connect_ns / 1e9, ended)
            measures.connect.count(connects, connect_ns / 1e9)
            measures.duration.count(durations, duration_ns / 1e9)
            if target.number:
                self._balancers.ended(target.number, answered, outcome == Outcome.ERROR_ORIGIN, ended)
            self._changed.add(app)
            self._registry.leave(listener, ended)
        if self._waiting:
            self._look_soon()

    def flush_records(self) -> None:
        """Pass on the sums of refusals; to be called once a second, and at the end."""
        self.relay.tell_sums()
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
        """Serve the TCP apps of a snapshot; see `Registry.apply`.

        Sessions continue, including those of removed apps and origins, except for origins in `stopped` with a drain
        time.
        """
        self._is_applying = True
        try:
            for number in paced(list(self._planned), self._breathe):
                self._drop_plans((number,))
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
        self.relay.records_per_s = snapshot.records_per_s
        self.relay.tells_connects, self.relay.progress_ms = snapshot.tells_connects, snapshot.progress_ms
        self.relay.place_of = self._places.lookup if self._places.known else None
        self._limiter.node = node_rules(snapshot.tcp_limits, "tcp")
        self._drain_origins(stopped)
        left = self._registry.leaving()
        self._tls.take(snapshot, self._breathe)
        gone = self._registry.apply(snapshot, descriptors, names)
        if leaving := self._registry.leaving() - left:
            apps = {app.name for app in snapshot.apps}
            for listener in leaving:
                if listener.app.settings.name not in apps:
                    self._leave_app(listener, snapshot.drain_timeout_s)
        self.preconnect()
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
        """Serve a difference; see `Registry.change`. Sessions continue as in `apply`.

        Args:
            difference: The difference.
            rest: The rest of the snapshot.
            descriptors, names, stopped: As for `apply`.
            balancers: Load balancers whose origins changed.
        """
        self._drain_origins(stopped or {})
        running = self._registry.running(app.name for app in difference.former)
        serving = [listener for app in running for listener in app.listeners]
        self._drop_plans([listener.number for listener in serving])
        self._is_applying = True
        try:
            self._tls.change(difference, rest.tls)
            gone = self._registry.change(difference, descriptors, names)
            self._registry.aim_again(balancers, names)
        finally:
            self._is_applying = False
        removed = difference.removed()
        for listener in serving:
            if listener.removed and listener.app.settings.name in removed:
                self._leave_app(listener, rest.drain_timeout_s)
        self.preconnect()
        return gone

    def preconnect(self) -> None:
        """Keep connections open to the origins that clients may be sent to; to be called when these change."""
        if self._preconnecting:
            listeners = [listener for app in self._preconnecting for listener in app.listeners]
            self.relay.preconnect([wanted for listener in listeners for wanted in listener.preconnected()])
            over = {app for app in self._preconnecting if not app.listeners or not app.settings.bounds.preconnect}
            self._preconnecting -= over
            self._changed |= over  # Closed connections are not counted yet.

    def _configured(self, app: RunningApp) -> None:
        if app.settings.bounds.preconnect:
            self._preconnecting.add(app)
        # The kernel's own timeout comes first: it knows more about a peer that is gone.
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
            app.trusted is not None,
        )

    def _equip(self, app: RunningApp) -> None:
        app.judge = self._firewall.judge_for(app.settings)
        app.equip(*self._tls.contexts_of(app.settings))

    def _leave_app(self, listener: RunningListener, drain_timeout_s: float) -> None:
        """Keep, drain or end the sessions of a removed app, according to its `on_remove`."""
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

    def end_blocked(self) -> None:
        """End the sessions that rules of detection block, and whose clients have said nothing, a few at a time.

        They were admitted before there was the rule, and have descriptors that clients need.
        """
        if self._blocked_at is None:
            self._blocked_at = 0
            self._end_next_blocked()
        else:
            self._ends_blocked_again = True

    def _end_next_blocked(self) -> None:
        names, following = self.relay.blocked(self._blocked_at or 0, BLOCKED_AT_ONCE)
        for name in names:
            self.relay.close(name, Reason.ATTACK, reset=True)
        if following or self._ends_blocked_again:
            self._ends_blocked_again = self._ends_blocked_again and following > 0
            self._blocked_at = following
            asyncio.get_running_loop().call_later(BLOCKED_STEP_S, self._end_next_blocked)
        else:
            self._blocked_at = None

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
        """Apply new addresses of the names `changed`; sessions keep their origins."""
        self._registry.resolve(names, changed)
        self._drop_plans()
        self.preconnect()

    def app_name(self, listener: int) -> str:
        """Return the name of the app of a listener, by its number, while the listener is open or has sessions."""
        return self._listeners[listener].app.settings.name

    def open_sessions(self) -> dict[str, int]:
        """Return the number of sessions of each app with any."""
        self.relay.tell_sums()
        found: Counter[str] = Counter()
        for app in self._registry.apps():
            if app.open:
                found[app.settings.name] += app.open
        return found

    def stop_accepting(self) -> None:
        """Accept what waits in the kernel's queues, then nothing more."""
        self._registry.remove_all()
        self.preconnect()

    def take_connects(self) -> None:
        """Note the engine's connects to origins of load balancers."""
        self.relay.tell_sums()
        self._registry.take_connects()

    # --- measures -------------------------------------------------------------------------------------------------

    def take_measures(self) -> dict[str, AppMeasures]:
        """Return the counters since the last call, of the apps with any."""
        self.relay.tell_sums()
        for slot, from_clients, from_origins in self.relay.take_bytes():
            app = self._registry.in_slot(slot)
            app.measures.bytes_from_client += from_clients
            app.measures.bytes_from_origin += from_origins
            self._changed.add(app)
        for slot, count in self.relay.take_left_out():
            app = self._registry.in_slot(slot)
            app.measures.left_out += count
            self._changed.add(app)
        changed = self._changed | self._preconnecting
        self._changed.clear()
        taken: dict[str, AppMeasures] = {}
        for app in changed:
            add_measures(taken, app.settings.name, app.take_measures())
        # The engine reports connected origins only on request, so these are requested again.
        self._changed.update(app for app in changed if app.dialing)
        return taken
