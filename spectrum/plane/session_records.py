"""The records of TCP sessions that the engine does not write."""

import time
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.records.events import SessionEvent, opened, under_way
from spectrum.core.records.reasons import Reason
from spectrum.engine.sessions import Outcome
from spectrum.plane.apps import RunningApp, address_text
from spectrum.plane.end_records import EndRecords
from spectrum.plane.forms import session_id
from spectrum.plane.session import Session

if TYPE_CHECKING:
    from spectrum.engine.sessions import Ended


class SessionRecords(EndRecords):
    """Makes the records of a batch; see `EndRecords`."""

    def gone(self, app: RunningApp, client: bytes, reason: Reason = Reason.CLIENT_RESET) -> SessionEvent:
        """Return the record of a client that was reset before accept, or refused immediately."""
        at = self.wall_time(time.monotonic())
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

    def told(self, app: RunningApp, item: "Ended", session: Session | None) -> SessionEvent:
        """Return a record of an open session: that it is connected, or its progress."""
        event = self.ended(app, Reason.CLIENT_CLOSED, item, session)
        return opened(event) if item[1] == Outcome.CONNECTED else under_way(event)

    def ended(self, app: RunningApp, reason: Reason, item: "Ended", session: Session | None) -> SessionEvent:
        """Return the record of a session that had a descriptor, and an object if it was not a plain one."""
        recorded = (session and session.recorded) or app.recorded_at(item[6])
        own = {
            "SessionId": session_id(item[13]),
            "ClientTcpRtt": item[11] * 1000,
            "OriginTcpRtt": item[12] * 1000,
            "OriginTlsMode": recorded.tls_mode,
        }
        event = self.event(app, recorded, reason, item, own)
        if session is None:
            return event
        why = self._firewall.fields_of(session.verdict, item[3])
        return msgspec.structs.replace(event, **session.fields(item[7] > 0), **why)
