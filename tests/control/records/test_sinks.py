import json
import os
import socket
import subprocess
import sys

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


IN_A_RUN_FOLDER_OF_ITS_OWN = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald & journald=$!
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
"$0" -c "$1" && journalctl --sync >/dev/null 2>&1
until journalctl -D /run/log/journal -o json SPECTRUM_CLIENT_IP=192.0.2.1 | grep .; do sleep 0.05; done
kill $journald; wait $journald
"""
DELIVER = """
from tests.control.records.test_sinks import BATCH, make_sink, SinkSection
make_sink(SinkSection(type="journald", format="logfmt", fields=["ClientIP"]), "n").deliver([BATCH])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="no right to mount")
def test_journald_takes_entries():
    command = ["unshare", "-m", "--propagation", "private", "bash", "-c", IN_A_RUN_FOLDER_OF_ITS_OWN]
    done = subprocess.run([*command, sys.executable, DELIVER], capture_output=True, timeout=30, check=True)
    found = json.loads(done.stdout)
    assert (found["MESSAGE"], found["PRIORITY"]) == ("ClientIP=192.0.2.1", "6")
    assert (found["SPECTRUM_CLIENT_IP"], found["SYSLOG_IDENTIFIER"]) == ("192.0.2.1", "spectrum")


def test_the_local_syslog(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        body = SYSLOG | {"address": f"unix://{tmp_path}/log", "fields": ["ClientIP"], "facility": "daemon"}
        sink = make_sink(SinkSection.model_validate(body), "n")
        sink.deliver([BATCH])
        sink.close()
        assert local.recv(1000).startswith(b"<30>spectrum[")
