"""Converts a record to a row of `events`, for views of the journal without a store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from spectrum.core.live_sessions import address_port
from spectrum.core.records.reasons import Reason

# Labels of reasons for refusals, and for failures because of the origin or of an internal error.
REFUSED = frozenset(reason.label for reason in Reason if reason.refused)
# Reasons of failures that nobody caused.
_CLEAN = frozenset({Reason.ORIGIN_CLOSED, Reason.ORIGIN_DRAINED})
_OURS = frozenset({Reason.INTERNAL_ERROR, Reason.WORKER_LOST})
FAILED = frozenset(
    reason.label
    for reason in Reason
    if reason.event in ("originError", "resolveOrigin")
    or reason in _OURS
    or (reason.label.startswith("origin_") and reason not in _CLEAN)
)
# Columns that copy a field: the column, the field, and the value if a record lacks it.
_AS_IT_IS: tuple[tuple[str, str, Any], ...] = (
    ("event", "Event", ""),
    ("app", "Application", ""),
    ("reason", "Reason", ""),
    ("status", "Status", 0),
    ("session", "SessionId", ""),
    ("client_ip", "ClientIP", ""),
    ("client_port", "ClientPort", 0),
    ("country", "ClientCountry", ""),
    ("asn", "ClientAsn", 0),
    ("edge_ip", "EdgeIP", ""),
    ("edge_port", "EdgePort", 0),
    ("protocol", "ClientProto", ""),
    ("origin_ip", "OriginIP", ""),
    ("origin_port", "OriginPort", 0),
    ("pool", "Pool", ""),
    ("load_balancer", "LoadBalancer", ""),
    ("tls_version", "ClientTlsProtocol", "none"),
    ("tls_error", "TlsError", ""),
    ("sni", "ClientTlsClientHelloServerName", ""),
    ("access_rule", "AccessRule", ""),
    ("access_prefix", "AccessPrefix", ""),
    ("access_list", "AccessList", ""),
    ("limit_hit", "Limit", ""),
    ("clients", "Clients", 0),
)
_MOVED = (
    ("client_bytes", "ClientBytes"),
    ("origin_bytes", "OriginBytes"),
    ("client_packets", "ClientDatagrams"),
    ("origin_packets", "OriginDatagrams"),
)


def outcome_of(event: str, reason: str) -> str:
    """Return the outcome of a session: `passed`, `refused`, or `failed` (by the origin or an internal error)."""
    if event == "clientFiltered" or reason in REFUSED:
        return "refused"
    return "failed" if event in ("originError", "resolveOrigin") or reason in FAILED else "passed"


def event_row(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a row: times in seconds since 1970, durations and round-trip times in microseconds.

    Raises:
        ValueError: If it has no time.
    """
    row = {column: fields.get(field) or otherwise for column, field, otherwise in _AS_IT_IS}
    began, ended = fields.get("ConnectTimestamp"), fields.get("DisconnectTimestamp")
    has_ended = bool(ended) and not fields.get("Sessions")
    name = fields.get("OriginName")
    stands_for = fields.get("SampledOneIn") or 1
    row |= {
        "weight": (fields.get("Sessions") or 1) * stands_for,
        "time": _time(fields.get("Timestamp")),
        "node": str(fields.get("RecordId", "")).partition("/")[0],
        "outcome": outcome_of(row["event"], row["reason"]),
        "origin": f"{row['pool']}/{name}"
        if row["pool"] and name
        else address_port(str(row["origin_ip"]), row["origin_port"]),
        "attempts": len(fields.get("Attempts") or ()),
        "duration": round((_time(ended) - _time(began)) * 1e6) if has_ended and began else None,
        "connect_duration": int(fields.get("ConnectDuration") or 0) // 1000 if has_ended and began else None,
        "client_rtt": _microseconds(fields, "ClientTcpRtt") if has_ended else None,
        "origin_rtt": _microseconds(fields, "OriginTcpRtt") if has_ended else None,
    }
    is_begin = row["event"] == "connect"
    for column, field in _MOVED:
        row[column] = 0 if is_begin else (fields.get(f"{field}Since", fields.get(field)) or 0) * stands_for
    return row


def _time(text: Any) -> float:
    if not text:
        raise ValueError("a record without Timestamp")
    return datetime.fromisoformat(str(text)).timestamp()


def _microseconds(fields: Mapping[str, Any], name: str) -> int | None:
    return int(fields.get(name) or 0) // 1000 or None
