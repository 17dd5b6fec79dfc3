"""A TCP session that is not a plain one: its state, the settings it began with, and what its record tells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from spectrum.core.access.rules import Verdict
from spectrum.core.life.session import SessionState
from spectrum.core.records.events import Attempt
from spectrum.core.records.reasons import Reason
from spectrum.engine.target import Target
from spectrum.plane.apps import RunningListener, Terms
from spectrum.plane.forms import RecordedSettings
from spectrum.plane.front import Told
from spectrum.wire.client_hello import HelloReader

if TYPE_CHECKING:
    from spectrum.engine.tls import Facts, OriginFacts


Beginning = tuple[Told | None, HelloReader | None]
# A connection of which nothing was read yet: no header, no part of a ClientHello.
NOT_BEGUN: Beginning = (None, None)
# Told by a record. A name may have hundreds of addresses.
MAX_ATTEMPTS = 16


class Newcomer(NamedTuple):
    """A session without an origin yet: its listener, its settings and its client.

    Attributes:
        listener: The one whose app it is for.
        terms: Those of the app when the session was decided on; reloads do not change them.
        client, client_port: Who it is from.
        edge, edge_port: What the client wrote to.
        tlvs: What a proxy in front told, in wire form.
    """

    listener: RunningListener
    terms: Terms
    client: bytes
    client_port: int
    edge: bytes
    edge_port: int
    tlvs: bytes = b""


class Session:
    """The state of a session (`core/life/session.py`), and facts that the engine's struct does not have, until it ends.

    Most sessions have none: one that is accepted, connected to an origin and relayed in clear is known by the engine
    alone.

    Attributes:
        state: Where it is.
        recorded: The settings that its record tells of; None while they are the app's of the time it was accepted.
        beginning: What a proxy in front told, and how far the ClientHello came, while more of it is awaited.
        newcomer: What it goes on with, while it waits for its turn, for its handshake or for an origin.
        verdict: What an access rule said of its client.
        server_name: What its client asked for in the ClientHello by which its app was found.
        tried: The targets of a load balancer that could not be reached.
        attempts: Origins that could not be reached, in order; the first `MAX_ATTEMPTS` of them.
        shook_hands: Its client's TLS handshake was begun.
        client_tls, origin_tls: What is known of its TLS with either.
        tls_fault: Why there is none, in OpenSSL's words.
    """

    __slots__ = (
        "attempts",
        "beginning",
        "client_tls",
        "newcomer",
        "origin_tls",
        "recorded",
        "server_name",
        "shook_hands",
        "state",
        "tls_fault",
        "tried",
        "verdict",
    )

    def __init__(self, recorded: RecordedSettings | None = None) -> None:
        self.state = SessionState.ACCEPTED
        self.recorded = recorded
        self.beginning = NOT_BEGUN
        self.newcomer: Newcomer | None = None
        self.verdict: Verdict | None = None
        self.server_name = ""
        self.tried: Sequence[Target] = ()
        self.attempts: list[Attempt] = []
        self.shook_hands = False
        self.client_tls: Facts | None = None
        self.origin_tls: OriginFacts | None = None
        self.tls_fault = ""

    def read(self, told: Told, reader: HelloReader) -> None:
        """Wait for more of its first bytes, with what was read of them."""
        self.state = SessionState.READING
        self.beginning = told, reader

    def take_beginning(self) -> Beginning:
        """Return what was read of its first bytes, once."""
        beginning, self.beginning = self.beginning, NOT_BEGUN
        return beginning

    def hold(self, newcomer: Newcomer) -> None:
        """Wait for its turn."""
        self.state = SessionState.HELD
        self.newcomer = newcomer

    def queue(self, newcomer: Newcomer) -> None:
        """Wait for an origin."""
        self.state = SessionState.QUEUED
        self.newcomer = newcomer

    def secure(self, newcomer: Newcomer) -> None:
        """Wait for its client's handshake."""
        self.state = SessionState.SECURING
        self.newcomer = newcomer
        self.shook_hands = True

    def take_newcomer(self, awaited: SessionState) -> Newcomer:
        """Return what the session continues with after a wait, once."""
        newcomer, self.newcomer = self.newcomer, None
        assert newcomer is not None, "the engine tells once that the wait is over"
        assert self.state is awaited, f"it is {self.state.value}"
        return newcomer

    def lead(self) -> None:
        """Have an origin."""
        self.state = SessionState.LED

    def fail(self, target: Target, reason: Reason) -> None:
        """Note that an origin could not be reached."""
        self.lead()
        if len(self.attempts) < MAX_ATTEMPTS:
            named = f"{target.pool}/{target.origin}" if target.pool else target.origin
            self.attempts.append(Attempt(Origin=target.name, Reason=reason.label, Name=named))

    def exhaust(self, target: Target) -> None:
        """Have one origin less that could be reached."""
        self.state = SessionState.LED
        self.tried = (*self.tried, target)

    def fields(self, connected: bool) -> dict[str, Any]:
        """Return its fields of a record, by the names of `SessionEvent`.

        Args:
            connected: It had an origin.
        """
        fields: dict[str, Any] = {"TlsError": self.tls_fault, "ClientTlsClientHelloServerName": self.server_name}
        if self.attempts:
            fields["Attempts"] = self.attempts
        if self.verdict is not None:
            fields |= {"ClientMatchedIpFirewall": self.verdict.matched, "AccessRule": self.verdict.rule}
        if (facts := self.client_tls) is not None:
            fields |= {
                "ClientTlsStatus": "OK",
                "ClientTlsProtocol": facts[0].decode(),
                "ClientTlsCipher": facts[1].decode(),
                "ClientTlsClientHelloServerName": facts[3].decode("ascii", "replace"),
            }
        elif self.shook_hands:
            fields["ClientTlsStatus"] = "HANDSHAKE_FAILED"
        if (origin := self.origin_tls) is not None:
            fields |= {
                "OriginTlsStatus": "OK",
                "OriginTlsProtocol": origin[0].decode(),
                "OriginTlsCipher": origin[1].decode(),
            }
        elif self.client_tls is not None and self.tls_fault and not connected:
            fields["OriginTlsStatus"] = "HANDSHAKE_FAILED"
        return fields
