"""Code that the records of TCP sessions and of UDP flows share."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from spectrum.core.limits.rules import limits_hit
from spectrum.core.records.events import SINCE_FIELDS, SessionEvent
from spectrum.core.records.reasons import Reason
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.apps import RunningApp, address_text
from spectrum.plane.forms import RecordedSettings
from spectrum.plane.limits import Limiter

if TYPE_CHECKING:
    from spectrum.engine.flow_keeper import EndedFlow
    from spectrum.engine.sessions import Ended


class EndRecords:
    """Makes the records of a batch.

    Args:
        places: Countries and autonomous systems of clients.
        limiter: Has the limits of the node.
        firewall: Has the access rules.
    """

    def __init__(self, places: ClientPlaces, limiter: Limiter, firewall: Firewall) -> None:
        self._places = places
        self._firewall = firewall
        self._limiter = limiter
        self._wall_offset_s = 0.0

    def read_clock(self) -> None:
        """Read the offset of the wall clock to the monotonic one, for the records of a batch."""
        self._wall_offset_s = time.time() - time.monotonic()

    def wall_time(self, monotonic_s: float) -> datetime:
        """Return the wall-clock time of a moment, by the offset that was read."""
        return datetime.fromtimestamp(monotonic_s + self._wall_offset_s, UTC)

    def event(
        self,
        app: RunningApp,
        recorded: RecordedSettings,
        reason: Reason,
        item: "Ended | EndedFlow",
        own: dict[str, Any],
    ) -> SessionEvent:
        """Return the record of an ended session or flow from the engine's tuple.

        Args:
            app: Its app.
            recorded: Its settings for the record.
            reason: Why it ended.
            item: The engine's tuple; two of its fields are round-trip times or counts of datagrams, which are in `own`.
            own: The other fields, by name; those about the origin's names are added to it.
        """
        _, _, _, client, client_port, target, began, connected, ended, sent, received, *_ = item
        edge, edge_port, since = item[14:]
        offset = self._wall_offset_s
        if way := recorded.way(target):
            own |= way
        if since is not None:
            own |= zip(SINCE_FIELDS, since, strict=False)
        now = datetime.fromtimestamp(ended / 1e9 + offset, UTC)
        return SessionEvent(
            Event=reason.event,
            Status=reason.status,
            Reason=reason.label,
            Application=app.settings.name,
            EdgeIP=address_text(edge),
            EdgePort=edge_port,
            Timestamp=now,
            ConnectTimestamp=datetime.fromtimestamp(connected / 1e9 + offset, UTC) if connected else None,
            DisconnectTimestamp=now,
            ClientIP=address_text(client),
            ClientPort=client_port,
            ClientBytes=sent,
            OriginIP=target.host if target else "",
            OriginPort=target.port if target else 0,
            OriginBytes=received,
            ProxyProtocol=recorded.proxy_protocol,
            ConnectDuration=connected - began if connected else 0,
            IpFirewall=recorded.ip_firewall,
            ClientCountry=self._places.country_of(client),
            ClientAsn=self._places.number_of(client),
            Limit=limits_hit(reason, app.rules, self._limiter.node) or msgspec.UNSET,
            **own,
        )
