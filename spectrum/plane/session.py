"""A TCP session with an object: its state, its settings, and fields of its record."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from spectrum.core.access.rules import Verdict
from spectrum.core.life.session import SessionState
from spectrum.core.records.events import Attempt
from spectrum.core.records.reasons import Reason
from spectrum.engine.target import Target
from spectrum.plane.apps import RunningListener, Terms
from spectrum.plane.first_bytes import HeaderFields
from spectrum.plane.forms import RecordedSettings
from spectrum.wire.client_hello import HelloReader

if TYPE_CHECKING:
    from spectrum.engine.tls import Facts, OriginFacts


Beginning = tuple[HeaderFields | None, HelloReader | None]
# A connection without any bytes read: no header, no part of a ClientHello.
NOT_BEGUN: Beginning = (None, None)
# Maximum number of attempts in a record. A name may have hundreds of addresses.
MAX_ATTEMPTS = 16


class NewSession(NamedTuple):
    """A session without an origin yet: its listener, its settings and its client.

    Attributes:
        listener: The listener of its app.
        terms: The app's settings at the time of the decision; reloads do not change them.
        client, client_port: The client.
        edge, edge_port: The address and port that the client connected to.
        tlvs: TLVs of a PROXY header, in wire form.
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
    Most sessions have no such object: one that is accepted, connected to an origin and relayed in plain text is known
    to the engine alone.

    Attributes:
        state: Its state.
        recorded: The settings for its record; None while they are the app's at the time of accept.
        beginning: The PROXY header, and the incomplete ClientHello, while more is awaited.
        newcomer: The data with which it continues after a delay, its handshake or a queue.
        verdict: The verdict of an access rule on its client.
        server_name: The server name in the ClientHello that selected its app.
        tried: The targets of a load balancer that could not be reached.
        attempts: Origins that could not be reached, in order; the first `MAX_ATTEMPTS` of them.
        shook_hands: Whether the TLS handshake with its client was begun.
        client_tls, origin_tls: Facts about its TLS with either side.
        tls_fault: OpenSSL's reason for a failed handshake.
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
        self.newcomer: NewSession | None = None
        self.verdict: Verdict | None = None
        self.server_name = ""
        self.tried: Sequence[Target] = ()
        self.attempts: list[Attempt] = []
        self.shook_hands = False
        self.client_tls: Facts | None = None
        self.origin_tls: OriginFacts | None = None
        self.tls_fault = ""

    def read(self, told: HeaderFields, reader: HelloReader) -> None:
        """Wait for more first bytes, with those read so far."""
        self.state = SessionState.READING
        self.beginning = told, reader

    def take_beginning(self) -> Beginning:
        """Return the first bytes read so far, once."""
        beginning, self.beginning = self.beginning, NOT_BEGUN
        return beginning

    def hold(self, newcomer: NewSession) -> None:
        """Wait for a delay."""
        self.state = SessionState.HELD
        self.newcomer = newcomer

    def queue(self, newcomer: NewSession) -> None:
        """Wait for an origin."""
        self.state = SessionState.QUEUED
        self.newcomer = newcomer

    def secure(self, newcomer: NewSession) -> None:
        """Wait for its client's TLS handshake."""
        self.state = SessionState.SECURING
        self.newcomer = newcomer
        self.shook_hands = True

    def take_newcomer(self, awaited: SessionState) -> NewSession:
        """Return the data with which the session continues after a wait, once."""
        newcomer, self.newcomer = self.newcomer, None
        assert newcomer is not None, "the engine reports the end of a wait once"
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
        """Note that one target fewer can be reached."""
        self.state = SessionState.LED
        self.tried = (*self.tried, target)

    def fields(self, connected: bool) -> dict[str, Any]:
        """Return its fields of a record, by the names of `SessionEvent`.

        Args:
            connected: Whether it had an origin.
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
