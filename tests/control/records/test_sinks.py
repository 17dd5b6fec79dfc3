import socket

import pytest

from spectrum.control.records.file_sink import FileSink
from spectrum.control.records.sinks import make_sink
from spectrum.control.records.socket_sinks import DatagramSink, StreamSink
from spectrum.core.records.journal import Batch
from spectrum.core.records.objects import SinkSection

BATCH = Batch("n/0/a", 1, 1, 5, b'{"Event":"disconnect","Status":200,"ClientIP":"192.0.2.1","TlsError":""}\n')
SYSLOG = {"type": "syslog"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"path": "/x"}, FileSink),
        (SYSLOG | {"address": "udp://192.0.2.1"}, DatagramSink),
        (SYSLOG | {"address": "unix:///dev/log"}, DatagramSink),
        (SYSLOG | {"address": "tcp://192.0.2.1"}, StreamSink),
        (SYSLOG | {"address": "tls://192.0.2.1"}, StreamSink),
        ({"type": "journald"}, DatagramSink),
    ],
)
def test_each_type(body, kind):
    assert type(make_sink(SinkSection.model_validate(body), "n")) is kind


def test_files_of_other_forms(tmp_path):
    section = SinkSection.model_validate({"path": str(tmp_path / "x"), "format": "logfmt", "omit_empty": True})
    sink = make_sink(section, "n")
    sink.deliver([BATCH])
    sink.close()
    assert (tmp_path / "x").read_text() == "RecordId=n/0/a/1 Event=disconnect Status=200 ClientIP=192.0.2.1\n"


def test_the_journal_of_systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        body = {"type": "journald", "format": "logfmt", "fields": ["ClientIP"]}
        sink = make_sink(SinkSection.model_validate(body), "n", tmp_path / "socket")
        sink.deliver([BATCH])
        sink.close()
        assert journal.recv(1000) == (
            b"MESSAGE=ClientIP=192.0.2.1\nPRIORITY=6\nSYSLOG_IDENTIFIER=spectrum\nSPECTRUM_CLIENT_IP=192.0.2.1\n"
        )


def test_the_local_syslog(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        body = SYSLOG | {"address": f"unix://{tmp_path}/log", "fields": ["ClientIP"], "facility": "daemon"}
        sink = make_sink(SinkSection.model_validate(body), "n")
        sink.deliver([BATCH])
        sink.close()
        assert local.recv(1000).startswith(b"<30>spectrum[")
