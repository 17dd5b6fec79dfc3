from datetime import UTC, datetime

import msgspec

from spectrum.core.records.events import Attempt, SessionEvent, as_text

EVENT = SessionEvent(
    Event="disconnect",
    Status=200,
    Reason="client_closed",
    Application="ssh",
    Timestamp=datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC),
    ConnectTimestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    DisconnectTimestamp=datetime(2026, 1, 2, 3, 4, 7, tzinfo=UTC),
    ClientIP="192.0.2.1",
    ClientPort=5,
    ClientBytes=10,
    ClientTcpRtt=1000,
    OriginIP="198.51.100.1",
    OriginPort=22,
    OriginBytes=20,
    OriginTcpRtt=2000,
    ProxyProtocol="v1",
    ConnectDuration=300,
)


def test_json_round_trip_with_cloudflares_names():
    line = msgspec.json.encode(EVENT)
    assert msgspec.json.decode(line, type=SessionEvent) == EVENT
    assert b'"ConnectTimestamp":"2026-01-02T03:04:05Z"' in line


def test_text():
    assert as_text(EVENT) == (
        "2026-01-02T03:04:07.000000Z disconnect 200 client_closed app=ssh client=192.0.2.1:5 "
        "origin=198.51.100.1:22 duration=2.000s bytes=10/20"
    )
    other = msgspec.structs.replace(EVENT, ClientIP="2001:db8::1", TlsError='the "name" is wrong')
    assert "client=[2001:db8::1]:5 " in as_text(other)
    assert as_text(other).endswith(' tls_error="the \\"name\\" is wrong"')
    refused = msgspec.structs.replace(EVENT, OriginIP="", ConnectTimestamp=None)
    assert "origin=none duration=0.000s" in as_text(refused)


def test_text_of_what_not_every_session_has():
    event = msgspec.structs.replace(
        EVENT,
        SessionId="12.1f",
        EdgeIP="192.0.2.9",
        EdgePort=22,
        LoadBalancer="both",
        Pool="near",
        OriginName="one",
        Attempts=[Attempt(Origin="192.0.2.5:22", Reason="connect_refused")],
        Limit="app: client_sessions 3",
        Sessions=2,
        SampledOneIn=4,
    )
    assert event.weight == 8 and EVENT.weight == 1
    line = as_text(event)
    assert " client=192.0.2.1:5 edge=192.0.2.9:22 origin=198.51.100.1:22 name=both/near/one duration=" in line
    assert line.endswith(
        ' limit="app: client_sessions 3" attempts=192.0.2.5:22:connect_refused id=12.1f sessions=2 sampled_one_in=4'
    )
