"""The records of TCP sessions that the engine does not write itself."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.limits.rules import limits_hit
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.reasons import Reason
from spectrum.plane.access.firewall import Places
from spectrum.plane.apps import RunningApp, address_text
from spectrum.plane.forms import session_id
from spectrum.plane.limits import Limiter
from spectrum.plane.session import Session

if TYPE_CHECKING:
    from spectrum.engine.sessions import Ended


class SessionRecords:
    """Makes the records of a batch.

    Args:
        places: Where clients are.
        limiter: Has the limits of the node.
    """

    def __init__(self, places: Places, limiter: Limiter) -> None:
        self._limiter = limiter
        self._places = places
        self._wall_offset_s = 0.0

    def read_clock(self) -> None:
        """Read by how much the wall clock is ahead of the monotonic one, for the records of a batch."""
        self._wall_offset_s = time.time() - time.monotonic()

    def gone(self, app: RunningApp, client: bytes) -> SessionEvent:
        """Return the record of a client that was reset before it was accepted."""
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

    def ended(self, app: RunningApp, reason: Reason, item: "Ended", session: Session | None) -> SessionEvent:
        """Return the record of a session that had a descriptor, and an object if it was not a plain one."""
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
            name,
            edge,
            edge_port,
        ) = item
        recorded = (session and session.recorded) or app.recorded_at(accepted)
        offset = self._wall_offset_s
        now = datetime.fromtimestamp(ended / 1e9 + offset, UTC)
        event = SessionEvent(
            Event=reason.event,
            Status=reason.status,
            Reason=reason.label,
            Application=app.settings.name,
            SessionId=session_id(name),
            EdgeIP=address_text(edge),
            EdgePort=edge_port,
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
            Limit=limits_hit(reason, app.rules, self._limiter.node) or msgspec.UNSET,
            **recorded.way(target),
        )
        return event if session is None else msgspec.structs.replace(event, **session.fields(connected > 0))
