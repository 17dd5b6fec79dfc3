import pytest

from spectrum.core.records.syslog import SyslogForm, counted, name_field, parse_syslog, severity_of


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("udp://192.0.2.1", ("udp", "192.0.2.1", 514)),
        ("tcp://192.0.2.1:1514", ("tcp", "192.0.2.1", 1514)),
        ("tls://logs.example.net", ("tls", "logs.example.net", 6514)),
        ("tcp://[2001:db8::1]:5", ("tcp", "2001:db8::1", 5)),
        ("tcp://[2001:db8::1]", ("tcp", "2001:db8::1", 601)),
        ("unix:///dev/log", ("unix", "/dev/log", 0)),
    ],
)
def test_servers(text, server):
    assert parse_syslog(text) == server


@pytest.mark.parametrize(
    "text",
    ["", "192.0.2.1", "http://x", "udp://", "udp://a b", "tcp://x:0", "tcp://x:99999", "unix://dev/log", "udp://[x"],
)
def test_invalid_servers(text):
    with pytest.raises(ValueError, match="is no syslog server"):
        parse_syslog(text)


def test_a_message():
    form = SyslogForm("local0", "edge 1", "spectrum", 7)
    fields = {"Event": "disconnect", "Status": 200, "Timestamp": "2026-01-02T03:04:05.000006Z"}
    assert form.message(fields, b"{}") == (b"<134>1 2026-01-02T03:04:05.000006Z edge_1 spectrum 7 disconnect - {}")
    assert form.local_message(fields, b"{}") == b"<134>spectrum[7]: {}"
    assert counted(b"abc") == b"3 abc"


def test_severities():
    assert [severity_of({"Status": status}) for status in (200, 403, 522)] == [6, 5, 4]
    assert [severity_of({"Healthy": healthy}) for healthy in (True, False)] == [6, 4]


def test_names():
    assert name_field("", 9) == "-"
    assert name_field("a b\u00fc", 3) == "a_b"
