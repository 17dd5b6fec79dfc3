import json
from datetime import UTC, datetime

import msgspec
import pytest

from spectrum.core.balancing.events import HealthEvent
from spectrum.core.configuration.events import ConfigurationEvent
from spectrum.core.records.events import Attempt, SessionEvent
from spectrum.core.records.formats import RecordFormat
from spectrum.core.records.journal import Batch, identified

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SESSION = SessionEvent(
    Event="connect",
    Status=522,
    Reason="connect_timeout",
    Application="ssh",
    Timestamp=AT,
    DisconnectTimestamp=AT,
    ClientIP="192.0.2.1",
    ClientPort=5,
    ProxyProtocol="off",
    TlsError='a "b" = c|d\\',
    Attempts=[Attempt(Origin="192.0.2.9:22", Reason="connect_timeout")],
)
RELOAD = ConfigurationEvent("configurationReloaded", AT, 7, Text="added app a")
HEALTH = HealthEvent(Event="poolHealth", Timestamp=AT, Healthy=False, Reason="timeout", Pool="p")


def batch(*events):
    return Batch("n/0/a", 7, len(events), 5, b"".join(msgspec.json.encode(event) + b"\n" for event in events))


def test_whole_records_are_as_the_journal_has_them():
    made = batch(SESSION, HEALTH)
    assert RecordFormat("json").lines(made) == identified(made)
    assert [one.text for one in RecordFormat("json").each(made)] == identified(made).splitlines()


def test_some_fields_in_their_order():
    form = RecordFormat("json", ("ClientIP", "RecordId", "Pool"))
    assert form.lines(batch(SESSION, HEALTH)).splitlines() == [
        b'{"ClientIP":"192.0.2.1","RecordId":"n/0/a/7"}',
        b'{"RecordId":"n/0/a/8","Pool":"p"}',
    ]


@pytest.mark.parametrize("fields", [(), ("TlsError", "Attempts", "ClientIP", "Healthy", "ClientIP")])
def test_records_are_formed_together_as_one_by_one(fields):
    form = RecordFormat("json", fields)
    lines = batch(SESSION, HEALTH, RELOAD).lines
    assert form.joined(lines) == b"".join(form.line(line) + b"\n" for line in lines.splitlines())


@pytest.mark.parametrize("form", [RecordFormat("text"), RecordFormat("json", ("ClientIP",), omits_empty=True)])
def test_records_that_are_formed_one_by_one(form):
    assert form.joined is None


def test_what_says_nothing_is_left_out():
    record = json.loads(RecordFormat("json", omits_empty=True).lines(batch(SESSION)))
    assert record.keys() == {
        "RecordId", "Event", "Status", "Reason", "Application", "Timestamp", "DisconnectTimestamp", "ClientIP",
        "ClientPort", "ClientBytes", "OriginBytes", "ProxyProtocol", "ClientProto", "OriginProto", "IpFirewall",
        "TlsError", "Attempts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "begin"),
    [
        (SESSION, b"connect 522 connect_timeout app=ssh"),
        (HEALTH, b"poolHealth"),
        (RELOAD, b"configurationReloaded revision 7: added app a"),
    ],
)
def test_text(event, begin):
    assert RecordFormat("text").lines(batch(event)).startswith(b"2026-01-02T03:04:05.000006Z " + begin)


def test_logfmt():
    form = RecordFormat("logfmt", ("Event", "ClientPort", "IpFirewall", "ConnectTimestamp", "TlsError", "Attempts"))
    assert form.lines(batch(SESSION)) == (
        b'Event=connect ClientPort=5 IpFirewall=false ConnectTimestamp="" TlsError="a \\"b\\" = c|d\\\\" '
        b'Attempts="[{\\"Origin\\":\\"192.0.2.9:22\\",\\"Reason\\":\\"connect_timeout\\"}]"\n'
    )


def test_cef():
    fields = ("Event", "Status", "Reason", "Timestamp", "ClientIP", "ClientPort", "TlsError")
    line = RecordFormat("cef", fields, version="1.0").lines(batch(SESSION)).decode()
    assert line == (
        "CEF:0|Spectrum|Spectrum|1.0|connect_timeout|connect|7|SpectrumEvent=connect SpectrumStatus=522 "
        'reason=connect_timeout rt=1767323045000 src=192.0.2.1 spt=5 SpectrumTlsError=a "b" \\= c|d\\\\\n'
    )
    few = RecordFormat("cef", ("ClientIP",), version="1|0").lines(batch(SESSION)).decode()
    assert few == "CEF:0|Spectrum|Spectrum|1\\|0|connect_timeout|connect|7|src=192.0.2.1\n"
