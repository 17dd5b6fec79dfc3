"""A change through the control API of a real daemon, as one trace."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from spectrum.cli.client import UnixConnection
from spectrum.control.paths import api_socket
from tests.api.collector import Collector
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def folder():
    """A folder that another user can reach."""
    path = Path(tempfile.mkdtemp(prefix="spectrum-traces-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_one_trace_names_what_took_how_long(folder):
    user = "user: nobody, " if os.geteuid() == 0 else ""
    store = folder / "store"
    with Collector() as collector:
        traces = f"traces: {{endpoint: '{collector.url}', sample: 0}}"
        text = f"api: {{{user}listen: 'unix:{folder}/tcp.sock', store: {store}, {traces}}}"
        with Daemon(folder, text) as daemon:
            path = api_socket(daemon.socket)
            eventually(path.exists, 20, daemon.messages)

            def made():
                connection = UnixConnection(path, 20)
                headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
                connection.request("POST", "/client/v4/zones", json.dumps({"name": "example.com"}), headers)
                answer = json.loads(connection.getresponse().read())
                connection.close()
                return answer

            assert made()["success"]
    (root,) = collector.named("POST /zones")
    assert root.trace_id.hex() == TRACE
    within = {span.name for span in collector.spans if span.parent_span_id == root.span_id}
    assert {"wait for the writer", "roll out", "commit to the store"} <= within
    assert within & {"check", "plan"} or any(name.startswith(("prepare", "commit")) for name in within)
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano for span in collector.spans)
