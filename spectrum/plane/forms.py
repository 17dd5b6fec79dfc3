"""What the engine needs to write the records of an app's sessions: everything except numbers and addresses."""

import os
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from spectrum.core.records.events import SessionEvent, opened, under_way
from spectrum.core.records.reasons import Reason, connect_failure, relay_failure
from spectrum.engine.record_form import Mark, RecordForm
from spectrum.engine.sessions import Outcome
from spectrum.engine.target import Target

# Keyed by plain numbers: an enum's hash and comparison are Python code.
_FIXED_REASONS = {
    int(Outcome.EOF_CLIENT): Reason.CLIENT_CLOSED,
    int(Outcome.EOF_ORIGIN): Reason.ORIGIN_CLOSED,
    int(Outcome.IDLE): Reason.IDLE_TIMEOUT,
    int(Outcome.HEADER_TIMEOUT): Reason.HEADER_TIMEOUT,
    int(Outcome.STUCK_CLIENT): Reason.CLIENT_STUCK,
    int(Outcome.STUCK_ORIGIN): Reason.ORIGIN_STUCK,
    int(Outcome.NO_MEMORY): Reason.MEMORY_LIMIT,
    int(Outcome.NO_WATCH): Reason.NO_WATCH,
    int(Outcome.OVER_BUDGET): Reason.RETRY_BUDGET,
    int(Outcome.HANDSHAKE_FAILED): Reason.CLIENT_TLS_FAILED,
    int(Outcome.HANDSHAKE_TIMEOUT): Reason.CLIENT_TLS_TIMEOUT,
    int(Outcome.TLS_ERROR_CLIENT): Reason.CLIENT_TLS_ERROR,
    int(Outcome.TLS_ERROR_ORIGIN): Reason.ORIGIN_TLS_ERROR,
}


def reason_of(outcome: int, error: int) -> Reason:
    """Return the reason for an engine outcome and its errno (or the reason that the plane itself gave)."""
    fixed = _FIXED_REASONS.get(outcome)
    if fixed is not None:
        return fixed
    match outcome:
        case Outcome.ERROR_CLIENT | Outcome.ERROR_ORIGIN:
            return relay_failure(error, outcome == Outcome.ERROR_ORIGIN)
        case Outcome.CONNECT_FAILED:
            return connect_failure(error)
        case Outcome.CLIENT_LEFT:
            return Reason.HEADER_MISSING
        case _:
            return Reason(error) if error else Reason.INTERNAL_ERROR


class RecordedSettings(NamedTuple):
    """The settings of an app that are part of a session's record.

    Attributes:
        proxy_protocol, ip_firewall: The app's settings.
        tls_mode: "off" without TLS.
        load_balancer: Its name; "" without one.
        origin_name: The name that the origin's addresses are looked up by; "" without one.
    """

    proxy_protocol: str
    ip_firewall: bool
    tls_mode: str
    load_balancer: str = ""
    origin_name: str = ""

    def way(self, target: Target | None) -> dict[str, Any]:
        """Return the fields of a record with the names of load balancer, pool and origin; none without names."""
        if self.load_balancer:
            pool, origin = (target.pool, target.origin) if target is not None else ("", "")
            return {"LoadBalancer": self.load_balancer, "Pool": pool, "OriginName": origin}
        return {"OriginName": self.origin_name} if self.origin_name else {}


def session_id(name: int) -> str:
    """Return the id of a TCP session of this process, by the engine's name of it."""
    return f"{os.getpid()}.{name:x}"


def flow_id(worker: int, name: int) -> str:
    """Return the id of a UDP flow: its table belongs to a worker's number, and outlives the process."""
    return f"u{worker}.{name:x}"


_MARKS = {
    "Timestamp": Mark.ENDED_AT,
    "ConnectTimestamp": Mark.CONNECTED_AT,
    "DisconnectTimestamp": Mark.ENDED_AT,
    "ClientIP": Mark.CLIENT_ADDRESS,
    "ClientPort": Mark.CLIENT_PORT,
    "ClientBytes": Mark.CLIENT_BYTES,
    "ClientTcpRtt": Mark.CLIENT_RTT,
    "OriginIP": Mark.ORIGIN_ADDRESS,
    "OriginPort": Mark.ORIGIN_PORT,
    "OriginBytes": Mark.ORIGIN_BYTES,
    "OriginTcpRtt": Mark.ORIGIN_RTT,
    "ConnectDuration": Mark.CONNECT_DURATION,
    "ClientCountry": Mark.CLIENT_COUNTRY,
    "ClientAsn": Mark.CLIENT_NUMBER,
    "EdgeIP": Mark.EDGE_ADDRESS,
    "EdgePort": Mark.EDGE_PORT,
    "Pool": Mark.POOL,
}
_OPEN = frozenset({int(Outcome.CONNECTED), int(Outcome.PROGRESS)})
_NO_TIME = datetime.fromtimestamp(0, UTC)


def _template(app: str, recorded: RecordedSettings, outcome: int, error: int, has_since: bool) -> bytes:
    """Return a record of a session without TLS that had an origin, with placeholders for what the engine fills in."""
    reason = reason_of(outcome, error) if outcome not in _OPEN else Reason.CLIENT_CLOSED
    marks = _MARKS | ({"OriginName": Mark.ORIGIN_NAME} if recorded.load_balancer else {})
    event = SessionEvent(
        Event=reason.event,
        Status=reason.status,
        Reason=reason.label,
        Application=app,
        Timestamp=_NO_TIME,
        DisconnectTimestamp=_NO_TIME,
        ProxyProtocol=recorded.proxy_protocol,
        IpFirewall=recorded.ip_firewall,
        OriginTlsMode=recorded.tls_mode,
        SessionId=session_id(0),
        **recorded.way(None),
    )
    if outcome == Outcome.CONNECTED:
        event = opened(msgspec.structs.replace(event, ConnectTimestamp=_NO_TIME))
        marks |= {"Timestamp": Mark.CONNECTED_AT}
    elif outcome == Outcome.PROGRESS:
        event = under_way(event)
    if has_since:
        event = msgspec.structs.replace(event, ClientBytesSince=0, OriginBytesSince=0)
        marks |= {"ClientBytesSince": Mark.CLIENT_SINCE, "OriginBytesSince": Mark.ORIGIN_SINCE}
    if outcome in _OPEN:
        del marks["DisconnectTimestamp"]
    encode = msgspec.json.encode
    fields = {
        name: bytes([marks[name]]) if name in marks else encode(value)
        for name, value in msgspec.to_builtins(event).items()
    }
    fields["SessionId"] = fields["SessionId"].replace(b'0"', b'%c"' % Mark.SESSION_NAME)
    return b"{" + b",".join(encode(name) + b":" + value for name, value in fields.items()) + b"}"


def record_form(app: str, recorded: RecordedSettings) -> RecordForm:
    """Return the form of the records of an app's sessions."""
    return RecordForm(partial(_template, app, recorded))
