"""The steps of a TCP session from accept to its origin, by the table in `core/life/session.py`: first bytes, access
rules, limits, the client's TLS, the choice of an origin, and of another one when it fails. The engine calls these
methods for each session without a plan, so they are optimized for few steps.
"""

import logging
import time
from typing import TYPE_CHECKING

from spectrum.core.life.session import SessionState
from spectrum.core.records.reasons import Reason, connect_failure
from spectrum.core.server_names import ACME_TLS
from spectrum.engine.record_form import RecordForm
from spectrum.engine.relay import Relay
from spectrum.engine.target import Target
from spectrum.plane.apps import RunningListener, address_text
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.balancing.queues import LOOK_MS, OriginQueues, Waiter
from spectrum.plane.balancing.routes import TargetOrder
from spectrum.plane.first_bytes import HeaderFields, header_needs, read_header, read_hello
from spectrum.plane.limits import Limiter
from spectrum.plane.registry import Registry
from spectrum.plane.session import NOT_BEGUN, NewSession, Session
from spectrum.plane.tls import told_of
from spectrum.wire import ProxyHeaderError, Tlv, TlvType
from spectrum.wire.client_hello import ClientHello, ClientHelloTooLong, HelloReader
from spectrum.wire.proxy_protocol import pack_tlvs

if TYPE_CHECKING:
    from spectrum.engine.tls import Facts, OriginFacts

log = logging.getLogger(__name__)

# The side of a session in the engine's TLS events; the client's is 0.
ORIGIN = 1
# Used by certificate authorities alone, for validation (RFC 8737 section 3).
ACME_PROTOCOL = ACME_TLS.encode("ascii")


class SessionDecider:
    """Decides on the sessions of one engine.

    Args:
        relay: The engine.
        registry: The listeners.
        limiter: Refuses clients.
        balancers: The load balancers, with the settings of queues.

    Attributes:
        sessions: Sessions with an object, by the engine's name.
        queues: Those of them that wait for a full origin.
    """

    def __init__(self, relay: Relay, registry: Registry, limiter: Limiter, balancers: Balancers) -> None:
        self._relay = relay
        self._registry = registry
        self._limiter = limiter
        self._balancers = balancers
        self.queues = OriginQueues()
        self.sessions: dict[int, Session] = {}

    def _note(self, name: int, newcomer: NewSession | None = None) -> Session:
        """Return the object of a session, which is created on the first call."""
        session = self.sessions.get(name)
        if session is None:
            session = self.sessions[name] = Session()
            self._relay.report_singly(name)
        if newcomer is not None and session.recorded is None:
            session.recorded = newcomer.terms.recorded
        return session

    def begin(self, name: int, newcomer: NewSession) -> None:
        """Decide on a session whose app is known."""
        app, client = newcomer.listener.app, newcomer.client
        if app.judge is not None and (verdict := app.judge(client)) is not None:
            app.measures.meet(verdict.rule)
            self._note(name, newcomer).verdict = verdict
            if verdict.blocks:
                self._relay.refuse(name, Reason.CLIENT_BLOCKED)
                return
        if app.rules or self._limiter.node:
            reason, wait_ms = self._limiter.admit(app.rules, client)
            if reason is not None:
                self._relay.refuse(name, reason)
                return
            if wait_ms:
                self._note(name, newcomer).hold(newcomer)
                self._relay.hold(name, wait_ms)
                return
        self._secure(name, newcomer)

    def turn_came(self, name: int) -> None:
        """Continue a delayed session, unless a limit of open sessions was reached meanwhile; or a queued one."""
        if self.sessions[name].state is SessionState.QUEUED:
            self._advance(name)
            return
        newcomer = self.sessions[name].take_newcomer(SessionState.HELD)
        reason = self._limiter.excess(newcomer.listener.app.rules, newcomer.client)
        if reason is not None:
            self._relay.refuse(name, reason)
            return
        self._secure(name, newcomer)

    def _secure(self, name: int, newcomer: NewSession) -> None:
        """Begin the TLS handshake with an admitted client, if its app terminates TLS."""
        terms = newcomer.terms
        if terms.tls is None:
            self._lead(name, newcomer)
            return
        self._note(name, newcomer).secure(newcomer)
        self._relay.secure(name, terms.tls, terms.handshake_timeout_ms)

    def secured(self, name: int, facts: "Facts") -> None:
        """Continue a session after the TLS handshake of its client."""
        session = self.sessions[name]
        session.client_tls = facts
        newcomer = session.take_newcomer(SessionState.SECURING)
        if facts[2] == ACME_PROTOCOL:
            self._relay.refuse(name, Reason.ACME_CHALLENGE, reset=False)
            return
        app = newcomer.listener.app
        app.measures.handshakes += 1
        app.measures.resumed += facts[4]
        if newcomer.terms.recorded.proxy_protocol == "v2":
            newcomer = newcomer._replace(tlvs=told_of(facts, newcomer.tlvs))
        self._lead(name, newcomer)

    def origin_secured(self, name: int, facts: "OriginFacts") -> None:
        """Note the TLS facts of an origin; an earlier one may have failed."""
        session = self._note(name)
        session.lead()
        session.origin_tls = facts
        session.tls_fault = ""

    def insecure(self, name: int, side: int, reason: str) -> None:
        """Note why TLS with a session's client (side 0), or with its origin, failed."""
        session = self._note(name)
        session.tls_fault = reason
        if side == ORIGIN:
            session.lead()
        elif asked := self._relay.server_name(name):
            session.server_name = asked.decode("ascii", "replace")

    def attempt_failed(self, name: int, listener: int, target: Target, error: int) -> None:
        """Count an origin that could not be reached, and note it for the record; the engine tries the next one."""
        self._registry.count_failure(listener, target, error)
        self._note(name).fail(target, connect_failure(error))

    def _lead(self, name: int, newcomer: NewSession) -> None:
        """Connect an admitted session to an origin."""
        listener, _, client, client_port, _, edge_port, _ = newcomer
        if self.queues.waiting and self.queues.length(listener.app.queue):
            self._queue(name, newcomer)  # No session passes those that wait.
            return
        way = listener.route.choose(client, client_port, edge_port)
        if way is Reason.ORIGIN_FULL:
            self._queue(name, newcomer)
        elif isinstance(way, Reason):
            self._relay.refuse(name, way)
        else:
            self._connect(name, newcomer, way)

    def _connect(self, name: int, newcomer: NewSession, way: TargetOrder) -> None:
        """Connect a session to the first of its targets that can be reached."""
        listener, terms, client, client_port, edge, edge_port, tlvs = newcomer
        app = listener.app
        header = terms.encode(client, client_port, edge, edge_port, tlvs)
        form: RecordForm | None = terms.form
        if (session := self.sessions.get(name)) is not None:
            session.lead()
            form = None
        self._relay.connect(name, way[0], header, app.connect_timeout_ms, app.idle_timeout_ms, way[1], form)

    # --- origins with limits --------------------------------------------------------------------------------------

    def _queue(self, name: int, newcomer: NewSession) -> None:
        """Queue a session for a full origin, if its load balancer or app has a queue."""
        app = newcomer.listener.app
        balancer = app.settings.load_balancer
        settings = self._balancers[balancer].core.settings if balancer else app.settings.bounds
        length = self.queues.length(app.queue)
        if length >= settings.queue_size:
            self._relay.refuse(name, Reason.ORIGIN_FULL)
            return
        now = time.monotonic()
        self.queues.join(app.queue, name, Waiter(now, now + settings.queue_timeout_s))
        self._note(name, newcomer).queue(newcomer)
        app.measures.queued += 1
        # Only the first one looks for an origin repeatedly; the others are checked when their time is over.
        wait_ms = round(settings.queue_timeout_s * 1000)
        self._relay.hold(name, wait_ms if length else min(LOOK_MS, wait_ms))

    def _advance(self, name: int) -> None:
        """Let sessions at the front of a queue continue, as long as origins have room."""
        queue = self.queues.waiting[name]
        while (first := self.queues.first(queue)) is not None:
            name, waiting = first
            newcomer, now = self.sessions[name].newcomer, time.monotonic()
            assert newcomer is not None, "it waits"
            way: TargetOrder | Reason = Reason.QUEUE_TIMEOUT
            if now < waiting.until:
                way = self._look(newcomer)
            if way is Reason.ORIGIN_FULL:
                self._relay.hold(name, min(LOOK_MS, max(1, round((waiting.until - now) * 1000))))
                return
            newcomer.listener.app.measures.queue_wait_s += self.queues.leave(name) or 0.0
            self._registry.changed.add(newcomer.listener.app)
            if isinstance(way, Reason):
                self._relay.refuse(name, way)
            else:
                self._connect(name, self.sessions[name].take_newcomer(SessionState.QUEUED), way)

    def _look(self, newcomer: NewSession) -> TargetOrder | Reason:
        """Return the targets for a session that has waited."""
        listener = newcomer.listener
        balancer = listener.app.settings.load_balancer
        if balancer and balancer not in self._balancers:
            return Reason.NO_ORIGIN  # A reload has removed it.
        return listener.route.choose(newcomer.client, newcomer.client_port, newcomer.edge_port)

    def look_soon(self) -> None:
        """Let the first session of each queue look for an origin: a session has ended."""
        for name in self.queues.firsts():
            self._relay.hold(name, 0)

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
        """Read a client's first bytes: the PROXY header of a trusted proxy, a ClientHello, or both. Nothing is consumed
        before they are complete. With `last`, the deadline has passed: an incomplete ClientHello counts as one without
        a server name.

        Returns:
            The minimum number of bytes for the next call; 0 once it is decided.
        """
        running = self._registry.listeners[listener]
        told, reader = self.sessions[name].take_beginning() if name in self.sessions else NOT_BEGUN
        if told is None:
            try:
                told = (client, client_port, edge, edge_port, 0, b"")
                if running.app.trusted is not None:
                    told = read_header(data, client, client_port, edge, edge_port)
            except ProxyHeaderError as exc:
                log.debug("header from %s refused: %s", address_text(client), exc)
                self._relay.refuse(name, Reason.HEADER_INVALID)
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
                self._note(name).read(told, reader)
                return size + reader.needs
            asked = hello or ClientHello()
            chosen = running.names.find(asked)
            if hello is None and chosen is None:
                return 0  # The engine reports that it did not come in time.
            if asked.server_name:
                self._note(name).server_name = asked.server_name
            if chosen is None or not self._registry.takes(chosen):
                self._refuse_told(name, told, Reason.SNI_UNKNOWN)
                return 0
            self._give(name, running, chosen)
            running = chosen
            if asked.server_name and chosen.app.tls is None:
                # The content of the PROXY header is kept.
                tlvs = tlvs or pack_tlvs([Tlv(TlvType.AUTHORITY, asked.server_name.encode("ascii"))])
        if size:
            self._relay.consume(name, size)
            self._relay.set_client(name, client, client_port)
        newcomer = NewSession(running, running.app.terms, client, client_port, edge, edge_port, tlvs)
        # A reload may have changed its app since it was accepted.
        if running.app.recorded_at(0) is not running.app.recorded:
            self._note(name, newcomer)
        self.begin(name, newcomer)
        return 0

    def _refuse_told(self, name: int, told: HeaderFields, reason: Reason) -> None:
        """Refuse a client, whose address may come from a PROXY header."""
        if told[4]:
            self._relay.set_client(name, told[0], told[1])
        self._relay.refuse(name, reason)

    def _give(self, name: int, one: RunningListener, other: RunningListener) -> None:
        """Assign a session to another listener on the same address and port."""
        if other is one:
            return
        self._relay.assign(name, other.number)
        self._registry.enter(other)
        self._registry.leave(one)
        for listener, amount in ((one, -1), (other, 1)):
            listener.app.dialing += amount
            listener.app.measures.started += amount
            self._registry.changed.add(listener.app)

    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...] | None:
        """Choose another origin for a client: none, or None if there is one that the retry budget does not allow."""
        session = self._note(name)
        session.exhaust(target)
        running = self._registry.listeners[listener]
        targets = running.route.after(session.tried, client, client_port)
        now_ms, over = time.monotonic_ns() // 1_000_000, False
        while targets and not targets[0].may_retry(now_ms):  # Another pool has a budget of its own.
            over = True
            session.exhaust(targets[0])
            targets = running.route.after(session.tried, client, client_port)
        running.app.measures.failovers += bool(targets)
        return targets if targets or not over else None
