from datetime import datetime

import msgspec
import pytest

from spectrum.core.records.events import SessionEvent
from spectrum.core.records.reasons import Reason
from spectrum.engine.record_form import Mark
from spectrum.engine.sessions import Outcome
from spectrum.plane.forms import RecordedSettings, _template, reason_of

RECORDED = RecordedSettings("v1", True, "off")
VALUES = {
    Mark.ENDED_AT: b'"2026-01-02T03:04:05.000006Z"',
    Mark.CONNECTED_AT: b'"2026-01-02T03:04:04.000006Z"',
    Mark.CLIENT_ADDRESS: b'"192.0.2.7"',
    Mark.ORIGIN_ADDRESS: b'"192.0.2.9"',
    Mark.CLIENT_COUNTRY: b'"DE"',
}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_reason(outcome):
    assert isinstance(reason_of(outcome, 0), Reason)


@pytest.mark.parametrize("app", ["x", 'a"b\\c'])
def test_a_template_is_a_record_without_its_values(app):
    line = _template(app, RECORDED, Outcome.EOF_CLIENT, 0)
    assert line.count(bytes([Mark.ENDED_AT])) == 2
    for mark in Mark:
        assert bytes([mark]) in line
        line = line.replace(bytes([mark]), VALUES.get(mark, b"%d" % (1000 + mark)))
    event = msgspec.json.decode(line, type=SessionEvent)
    assert (event.Application, event.Reason, event.Status) == (app, "client_closed", 200)
    assert (event.ProxyProtocol, event.IpFirewall, event.OriginTlsMode) == RECORDED
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
