import pytest

from spectrum.core.analytics.columns import EVENTS
from spectrum.core.analytics.event_rows import event_row, outcome_of

ENDED = {
    "RecordId": "edge1/0/aa/7",
    "Event": "disconnect",
    "Status": 200,
    "Reason": "client_closed",
    "Application": "web",
    "SessionId": "9.1",
    "Timestamp": "2026-11-26T14:00:05Z",
    "ConnectTimestamp": "2026-11-26T14:00:02Z",
    "DisconnectTimestamp": "2026-11-26T14:00:05Z",
    "ClientIP": "203.0.113.8",
    "ClientBytes": 100,
    "OriginBytes": 200,
    "OriginBytesSince": 50,
    "OriginIP": "2001:db8::1",
    "OriginPort": 22,
    "ConnectDuration": 2_100_000,
    "ClientTcpRtt": 24_000_000,
    "OriginTcpRtt": 0,
    "Attempts": [{"Origin": "192.0.2.1:22", "Reason": "connect_refused"}],
}


def test_the_end_of_a_session():
    row = event_row(ENDED)
    assert (row["time"], row["node"], row["outcome"]) == (1795701605.0, "edge1", "passed")
    assert (row["duration"], row["connect_duration"], row["client_rtt"], row["origin_rtt"]) == (3e6, 2100, 24000, None)
    assert (row["client_bytes"], row["origin_bytes"], row["attempts"]) == (100, 50, 1)
    assert row["origin"] == "[2001:db8::1]:22"
    assert event_row(ENDED | {"Pool": "p", "OriginName": "one"})["origin"] == "p/one"
    assert event_row(ENDED | {"Event": "connect", "DisconnectTimestamp": None})["origin_bytes"] == 0


def test_a_sum_of_refusals():
    row = event_row(ENDED | {"Event": "clientFiltered", "Reason": "client_blocked", "Sessions": 14, "Clients": 3})
    assert (row["outcome"], row["weight"], row["clients"], row["duration"]) == ("refused", 14, 3, None)


def test_a_record_that_stands_for_others():
    row = event_row(ENDED | {"Sessions": 3, "SampledOneIn": 4})
    assert (row["weight"], row["client_bytes"], row["origin_bytes"]) == (12, 400, 200)


def test_all_of_its_columns_are_those_of_the_table():
    assert event_row(ENDED).keys() <= {column.name for column in EVENTS.columns}


@pytest.mark.parametrize(
    ("event", "reason", "outcome"),
    [
        ("disconnect", "origin_closed", "passed"),
        ("disconnect", "idle_timeout", "passed"),
        ("disconnect", "origin_timeout", "failed"),
        ("disconnect", "worker_lost", "failed"),
        ("originError", "connect_refused", "failed"),
        ("resolveOrigin", "unresolved", "failed"),
        ("clientFiltered", "client_blocked", "refused"),
        ("tlsError", "client_tls_failed", "refused"),
        ("connect", "", "passed"),
    ],
)
def test_what_became_of_it(event, reason, outcome):
    assert outcome_of(event, reason) == outcome


def test_a_record_without_a_time():
    with pytest.raises(ValueError, match="without Timestamp"):
        event_row({"Event": "disconnect"})
