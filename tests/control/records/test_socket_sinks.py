"""Sinks that send messages, to rsyslog where it has the transport, else to sockets."""

import json
import socket
import ssl
import subprocess
from contextlib import contextmanager

import pytest

from spectrum.control.records import socket_sinks
from spectrum.control.records.sinks import make_sink
from spectrum.core.records.journal import Batch
from spectrum.core.records.objects import SinkSection
from tests.certificates import Authority
from tests.control.records.waiting import soon

LINE = b'{"Event":"disconnect","Status":403,"Timestamp":"2026-01-02T03:04:05.000006Z","ClientIP":"192.0.2.%d"}\n'
TEMPLATE = "%pri% %timereported:::date-rfc3339% %hostname% %app-name% %msgid% %msg%\\n"
TLS_GLOBALS = """global(DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{ca}"
    DefaultNetstreamDriverCertFile="{cert}" DefaultNetstreamDriverKeyFile="{key}")
"""
TLS_MODE = 'StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="{who}"'


def batch(first, records=1):
    return Batch("n/0/a", first, records, 5, b"".join(LINE % number for number in range(first, first + records)))


def sink_of(address, **more):
    return make_sink(SinkSection.model_validate({"type": "syslog", "address": address, **more}), "edge1")


@contextmanager
def rsyslog(folder, port, module, options="", globals_=""):
    """rsyslog of Debian; yields a function that returns the lines that it wrote."""
    config, written = folder / "rsyslog.conf", folder / "messages"
    config.write_text(
        f'{globals_}global(workDirectory="{folder}" maxMessageSize="64k")\n'
        f'module(load="{module}" {options})\n'
        f'template(name="t" type="string" string="{TEMPLATE}")\n'
        f'input(type="{module}" port="{port}" address="127.0.0.1")\n'
        f'action(type="omfile" file="{written}" template="t" flushOnTXEnd="on")\n'
    )
    process = subprocess.Popen(["rsyslogd", "-n", "-f", config, "-i", folder / "pid"])
    try:
        yield lambda: written.read_text().splitlines() if written.exists() else []
    finally:
        process.terminate()
        process.wait()


def listens(port, kind):
    """Whether rsyslog has bound the port."""
    with socket.socket(socket.AF_INET, kind) as sock:
        if kind == socket.SOCK_STREAM:
            return sock.connect_ex(("127.0.0.1", port)) == 0
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def assert_whole(lines, count):
    assert len(lines) == count
    for number, line in enumerate(lines, 1):
        priority, at, host, app, kind, message = line.split(" ", 5)
        assert (priority, at, host, app) == ("133", "2026-01-02T03:04:05.000006Z", "edge1", "spectrum")
        assert kind == "disconnect"
        record = json.loads(message)
        assert (record["RecordId"], record["ClientIP"]) == (f"n/0/a/{number}", f"192.0.2.{number}")


def test_udp(tmp_path, free_port):
    port = free_port()
    with rsyslog(tmp_path, port, "imudp") as written:
        soon(lambda: listens(port, socket.SOCK_DGRAM))
        sink = sink_of(f"udp://127.0.0.1:{port}")
        sink.deliver([batch(1), batch(2, 2)])
        sink.flush()
        sink.close()
        soon(lambda: len(written()) == 3)
    assert_whole(written(), 3)


def test_tcp(tmp_path, free_port):
    port = free_port()
    sink = sink_of(f"tcp://127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        sink.deliver([batch(1)])
    with rsyslog(tmp_path, port, "imtcp") as written:
        soon(lambda: listens(port, socket.SOCK_STREAM))
        sink.deliver([batch(1), batch(2, 200)])
        sink.flush()
        soon(lambda: len(written()) == 201)
    # rsyslog has ended: the sink notices before it sends anything.
    with pytest.raises(ConnectionRefusedError):
        sink.deliver([batch(202)])
    with rsyslog(tmp_path, port, "imtcp") as written:
        soon(lambda: listens(port, socket.SOCK_STREAM))
        sink.deliver([batch(202)])
        soon(lambda: len(written()) == 202)
    sink.close()
    assert_whole(written(), 202)


def test_tls(tmp_path, free_port):
    port, authority = free_port(), Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    cert, key = authority.issue("localhost").write(tmp_path, "server")
    ours, our_key = authority.issue("edge1").write(tmp_path, "client")
    files = TLS_GLOBALS.format(ca=tmp_path / "ca.pem", cert=cert, key=key)
    with rsyslog(tmp_path, port, "imtcp", TLS_MODE.format(who="x509/certvalid"), files) as written:
        soon(lambda: listens(port, socket.SOCK_STREAM))
        address = f"tls://localhost:{port}"
        stranger = sink_of(address)
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.deliver([batch(1)])
        sink = sink_of(address, ca=str(tmp_path / "ca.pem"), cert=str(ours), key=str(our_key))
        sink.deliver([batch(1)])
        sink.deliver([batch(2, 3)])
        soon(lambda: len(written()) == 4)
        sink.close()
    assert_whole(written(), 4)


def test_a_receiver_that_does_not_read(monkeypatch):
    monkeypatch.setattr(socket_sinks, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink = sink_of(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        much = [batch(1, 200)] * 1000
        with pytest.raises(TimeoutError):
            sink.deliver(much)
        sink.close()


def test_a_receiver_that_resets():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = sink_of(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        sink.deliver([batch(1)])
        connection, _ = server.accept()
        assert connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        sink.deliver([batch(2)])  # over another connection
        connection, _ = server.accept()
        with connection:
            assert b"192.0.2.2" in connection.recv(1000)
        sink.close()


def test_a_socket_that_is_not_there(tmp_path):
    sink = sink_of(f"unix://{tmp_path}/log")
    with pytest.raises(FileNotFoundError):
        sink.deliver([batch(1)])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        sink.deliver([batch(1)])
    with pytest.raises(ConnectionRefusedError):
        sink.deliver([batch(2)])
    sink.close()
