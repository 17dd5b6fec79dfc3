from datetime import datetime

import msgspec
import pytest

from spectrum.core.records.events import SessionEvent
from spectrum.core.records.reasons import Reason
from spectrum.engine.record_form import Mark
from spectrum.engine.sessions import Outcome
from spectrum.plane.forms import RecordedSettings, _template, flow_id, reason_of, session_id

RECORDED = RecordedSettings("v1", True, "off", "both")
VALUES = {
    Mark.ENDED_AT: b'"2026-01-02T03:04:05.000006Z"',
    Mark.CONNECTED_AT: b'"2026-01-02T03:04:04.000006Z"',
    Mark.CLIENT_ADDRESS: b'"192.0.2.7"',
    Mark.ORIGIN_ADDRESS: b'"192.0.2.9"',
    Mark.CLIENT_COUNTRY: b'"DE"',
    Mark.EDGE_ADDRESS: b'"192.0.2.1"',
    Mark.POOL: b'"near"',
    Mark.ORIGIN_NAME: b'"one"',
    Mark.SESSION_NAME: b"1f",
}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_reason(outcome):
    assert isinstance(reason_of(outcome, 0), Reason)


@pytest.mark.parametrize("app", ["x", 'a"b\\c'])
def test_a_template_is_a_record_without_its_values(app):
    line = _template(app, RECORDED, Outcome.EOF_CLIENT, 0, False)
    assert line.count(bytes([Mark.ENDED_AT])) == 2
    for mark in set(Mark) - {Mark.CLIENT_SINCE, Mark.ORIGIN_SINCE}:
        assert bytes([mark]) in line
        line = line.replace(bytes([mark]), VALUES.get(mark, b"%d" % (1000 + mark)))
    event = msgspec.json.decode(line, type=SessionEvent)
    assert (event.Application, event.Reason, event.Status) == (app, "client_closed", 200)
    assert (event.ProxyProtocol, event.IpFirewall, event.OriginTlsMode) == RECORDED[:3]
    assert (event.LoadBalancer, event.Pool, event.OriginName) == ("both", "near", "one")
    assert (event.SessionId, event.EdgeIP, event.EdgePort) == (session_id(0x1F), "192.0.2.1", 1015)
    assert (event.ClientIP, event.ClientPort, event.OriginIP, event.OriginPort) == (
        "192.0.2.7",
        1004,
        "192.0.2.9",
        1008,
    )
    assert (event.ClientBytes, event.OriginBytes, event.ConnectDuration) == (1005, 1009, 1011)
    assert (event.ClientTcpRtt, event.OriginTcpRtt, event.ClientCountry, event.ClientAsn) == (1006, 1010, "DE", 1013)
    assert event.Timestamp == event.DisconnectTimestamp == datetime.fromisoformat("2026-01-02T03:04:05.000006Z")
    assert msgspec.json.encode(event) == line  # in the order and the form of all others


def filled(line):
    for mark in Mark:
        line = line.replace(bytes([mark]), VALUES.get(mark, b"%d" % (1000 + mark)))
    event = msgspec.json.decode(line, type=SessionEvent)
    assert msgspec.json.encode(event) == line
    return event


def test_templates_of_an_open_session():
    event = filled(_template("x", RECORDED, Outcome.CONNECTED, 0, False))
    assert (event.Event, event.Status, event.Reason, event.DisconnectTimestamp) == ("connect", 0, "", None)
    assert event.Timestamp == event.ConnectTimestamp == datetime.fromisoformat("2026-01-02T03:04:04.000006Z")
    assert event.ClientBytesSince is msgspec.UNSET
    event = filled(_template("x", RECORDED, Outcome.PROGRESS, 0, True))
    assert (event.Event, event.SessionId, event.OriginName) == ("progress", session_id(0x1F), "one")
    assert (event.ClientBytes, event.ClientBytesSince, event.OriginBytesSince) == (1005, 1019, 1020)
    assert event.Timestamp == datetime.fromisoformat("2026-01-02T03:04:05.000006Z")
    assert event.DisconnectTimestamp is None


def test_the_end_of_a_session_that_had_a_progress():
    event = filled(_template("x", RECORDED, Outcome.EOF_CLIENT, 0, True))
    assert (event.Event, event.ClientBytes, event.ClientBytesSince, event.OriginBytesSince) == (
        "disconnect",
        1005,
        1019,
        1020,
    )


def test_an_app_without_a_load_balancer_has_no_names_but_that_of_its_origin():
    plain = _template("x", RecordedSettings("off", False, "off"), Outcome.EOF_CLIENT, 0, False)
    assert b"OriginName" not in plain
    assert b"LoadBalancer" not in plain
    named = _template(
        "x", RecordedSettings("off", False, "off", origin_name="db.example"), Outcome.EOF_CLIENT, 0, False
    )
    assert b'"OriginName":"db.example"' in named
    assert b'"Pool"' not in named


def test_the_id_of_a_flow():
    assert flow_id(3, 0x1F) == "u3.1f"
