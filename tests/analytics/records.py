"""Records as workers make them, and batches of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from spectrum.core.records.events import SessionEvent
from spectrum.core.records.journal import Batch, Cursor

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
CURSOR = Cursor(0, 100, 1)
SOURCE = "edge1/0/66121c7704295"


def record(at_s: float = 0.0, **own: Any) -> SessionEvent:
    """Return the record of a session that ended so long after noon."""
    at = NOON + timedelta(seconds=at_s)
    values = {
        "Event": "disconnect",
        "Status": 200,
        "Reason": "client_closed",
        "Application": "ssh",
        "SessionId": "1234.1",
        "Timestamp": at,
        "ConnectTimestamp": at - timedelta(seconds=2),
        "DisconnectTimestamp": at,
        "ClientIP": "203.0.113.7",
        "ClientPort": 50000,
        "ClientBytes": 100,
        "OriginBytes": 1000,
        "OriginIP": "10.0.0.5",
        "OriginPort": 22,
        "ProxyProtocol": "v2",
        "ConnectDuration": 3_000_000,
        "ClientTcpRtt": 20_000_000,
        "OriginTcpRtt": 0,
    }
    return SessionEvent(**(values | own))


def batch(records: Sequence[Any], sequence: int = 1, source: str = SOURCE) -> Batch:
    """Return a batch of records."""
    return Batch(source, sequence, len(records), 0, msgspec.json.Encoder().encode_lines(records))
