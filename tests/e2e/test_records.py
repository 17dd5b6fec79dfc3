"""Records on their way out of a daemon."""

import json
import signal
import socket

from tests.e2e.daemon import Daemon
from tests.e2e.test_surroundings import greeter, visit
from tests.engine.harness import eventually


def test_each_sink_gets_them_in_its_form_and_files_are_opened_anew(tmp_path, free_port):
    port, kept, local = free_port(), tmp_path / "kept", tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog, greeter() as origin:
        syslog.bind(str(local))
        syslog.settimeout(10)
        text = (
            f"records:\n  journal: {{path: {tmp_path}/journal}}\n  sinks:\n"
            f"    kept: {{path: {kept}, omit_empty: true}}\n"
            f"    syslog: {{type: syslog, address: 'unix://{local}', format: logfmt, fields: [SessionId, EdgePort]}}\n"
            f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
        )
        with Daemon(tmp_path, text) as daemon:
            visit(port)
            (event,) = daemon.wait_for_events(1)
            eventually(lambda: kept.exists() and kept.read_text().count("\n") == 1)
            record = json.loads(kept.read_text())
            assert (record["SessionId"], record["EdgePort"]) == (event["SessionId"], port)
            assert "ClientTlsStatus" not in record
            wanted = f"SessionId={event['SessionId']} EdgePort={port}".encode()
            assert syslog.recv(1000).endswith(b": " + wanted)
            kept.rename(tmp_path / "rotated")
            daemon.signal(signal.SIGUSR1)
            eventually(lambda: "are opened anew" in daemon.messages())
            visit(port)
            eventually(lambda: kept.exists() and kept.read_text().count("\n") == 1)
            assert (tmp_path / "rotated").read_text().count("\n") == 1
