"""What is around the daemon fails: its log, who scrapes it, the clock. Clients do not notice."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from spectrum.cli.client import DaemonError, ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually, listening, port_of, repeating

ROOT = Path(__file__).parents[2]


@contextmanager
def greeter():
    """An origin that says hi."""
    with listening(256) as sock:
        sock.settimeout(0.1)

        def greet():
            try:
                connection, _ = sock.accept()
            except TimeoutError:
                return
            with connection:
                connection.sendall(b"hi")

        with repeating(greet):
            yield port_of(sock)


def visit(port, timeout_s=5):
    with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
        assert sock.recv(2) == b"hi"


def metric(port, name):
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    return float(re.search(rf"^{re.escape(name)} (\S+)", page, re.MULTILINE)[1])


def serves(control):
    try:
        return ask(control, "GET", "/status")["generation"] == 1
    except DaemonError:  # not yet
        return False


@contextmanager
def full_disk():
    with Path("/dev/full").open("wb") as out:
        yield out, lambda: None


@contextmanager
def closed_pipe():
    read, write = os.pipe()
    with os.fdopen(write, "wb") as out:
        yield out, lambda: os.close(read)


@pytest.mark.parametrize("output", [full_disk, closed_pipe])
def test_a_log_that_cannot_be_written(tmp_path, free_port, output):
    port, metrics, path = free_port(), free_port(), tmp_path / "spectrum.yaml"
    with greeter() as origin, output() as (out, leave):
        path.write_text(
            f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}\n"
            f"metrics: {{listen: 127.0.0.1:{metrics}}}\ncontrol: {{socket: {tmp_path}/control.sock}}\n"
        )
        command = [sys.executable, "-m", "spectrum", "run", "-c", str(path), "--workers", "1"]
        daemon = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        try:
            eventually(lambda: serves(tmp_path / "control.sock"), 10)
            leave()
            for _ in range(20):
                visit(port)
            eventually(lambda: metric(metrics, "spectrum_log_lines_lost_total") == 20)
        finally:
            daemon.terminate()
            _, messages = daemon.communicate(timeout=10)
    assert daemon.returncode == 0
    assert messages.count("records of sessions cannot be written") == 1


def test_a_journal_on_a_full_disk(tmp_path, free_port):
    """The log goes on; when there is room again, the sink has all that the journal took, and what waited."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount")
    port, metrics = free_port(), free_port()
    text = f"metrics: {{listen: 127.0.0.1:{metrics}}}\nlog: {{sessions_per_second: 0}}\nrecords:\n"
    text += f"  journal: {{path: {disk}/journal}}\n  sinks: {{kept: {{path: {tmp_path}/kept}}}}\n"
    try:
        with greeter() as origin:
            text += f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
            with Daemon(tmp_path, text) as daemon:
                for _ in range(150):  # of 800 bytes
                    visit(port)
                daemon.wait_for_events(150)
                eventually(lambda: metric(metrics, "spectrum_journal_failing") == 1)
                assert daemon.status()["records"]["journal"]["failure"] == "no space left on device"
                subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
                eventually(lambda: metric(metrics, 'spectrum_sink_records_total{sink="kept"}') == 150)
                assert metric(metrics, "spectrum_journal_records_lost_total") == 0
                messages = daemon.messages()
        assert messages.count("nothing can be written: no space left on device") == 1
        assert messages.count("records are written again; 0 are lost so far") == 1
        assert (tmp_path / "kept").read_text().count("RecordId") == 150
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_scrapers_that_hang(tmp_path, free_port):
    """They ask and do not read, or connect and do not ask."""
    port, metrics = free_port(), free_port()
    with greeter() as origin, ExitStack() as stack:
        app = f"x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}"
        daemon = stack.enter_context(Daemon(tmp_path, f"apps: {{{app}}}\nmetrics: {{listen: 127.0.0.1:{metrics}}}"))
        for number in range(50):
            scraper = stack.enter_context(socket.socket())
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            scraper.connect(("127.0.0.1", metrics))
            if number % 2:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(20):
            visit(port)
        # Each within the 5 seconds that whoever asks waits at most.
        assert metric(metrics, "spectrum_workers_ready") == 1
        assert daemon.status()["apps"][0]["sessions_started"] == 20


def test_nothing_but_time_stamps_follows_the_wall_clock():
    """So a clock that is stepped ends no session, and starts no probe. Each place that reads it is known here."""
    reads = re.compile(r"time\.time\b|time\.time_ns\(|datetime\.now\(|CLOCK_REALTIME")
    found = {
        str(path.relative_to(ROOT / "spectrum")): len(reads.findall(path.read_text(encoding="utf-8")))
        for pattern in ("*.py", "*.pyx", "*.pxd")
        for path in (ROOT / "spectrum").rglob(pattern)
        if reads.search(path.read_text(encoding="utf-8"))
    }
    assert found == {
        "analytics/clickhouse.py": 2,  # what is old enough to be rolled up and dropped
        "analytics/embedded.py": 2,  # since when a volume is written to
        "analytics/volumes.py": 1,  # the same
        "api/analytics/intake.py": 2,  # which process takes records, and what is old
        "api/analytics/reporting.py": 1,  # the weeks that a report is of
        "api/analytics/weekly.py": 1,  # the same
        "api/graphql/answers.py": 3,  # the time that is asked for where none is said
        "api/routes/analytics.py": 4,  # the same
        "api/routes/stories.py": 1,  # the same
        "api/routes/reports.py": 1,  # the same
        "cli/analytics.py": 1,  # the same
        "cli/report.py": 1,  # the same
        "cli/top.py": 1,  # since when something is wrong, as it is shown
        "api/kinds/certificates.py": 1,  # whether a certificate is over
        "api/routes/certificate_packs.py": 2,  # the same, and what was ordered in a week
        "api/routes/live.py": 1,  # until when a token holds
        "api/routes/rulesets.py": 1,  # when a ruleset would have been changed
        "api/routes/objects.py": 1,  # when something was set by hand
        "api/routes/sessions.py": 1,  # when sessions were ended by hand
        "control/analytics/actor.py": 1,  # how old what is taken is
        "control/ddos/attacks.py": 3,  # when an attack ended, as detection was switched off; and how long ago that was
        "control/ddos/actor.py": 1,  # the same
        "control/ddos/profiles.py": 1,  # how old a profile is
        "detector/main.py": 4,  # which time of the week it is, of profiles, and of attacks
        "control/filter/sample_queue.py": 1,  # when a packet came, as it is stored
        "control/http/live.py": 2,  # of figures, and what is told of the last hour
        "control/processes/fleet.py": 1,  # when a worker ended, for who looks on
        "control/records/telling.py": 1,  # a time that is told without its day
        "control/records/totals.py": 1,  # of figures
        "api/authentication.py": 1,  # until when tokens hold
        "api/routes/tokens.py": 5,  # the same
        "api/catalogue.py": 2,  # when objects were made and changed, and what took how long, for traces
        "api/steps.py": 1,  # the latter
        "api/supervisor.py": 1,  # the same
        "api/traces.py": 2,  # the same
        "control/configuration/reload.py": 3,  # the same
        "control/configuration/rollout.py": 2,  # the same
        "api/routes/importing.py": 1,  # the same
        "api/routes/lists.py": 3,  # the same
        "api/refusals.py": 1,  # when an attempt was refused
        "api/main.py": 1,  # how much a token has asked for lately
        "cli/story.py": 1,  # a time that is told without its day
        "cli/token.py": 1,  # until when a token holds
        "control/tls/certificates.py": 2,  # which certificates end soon, for the log
        "control/balancing/health.py": 3,  # of events, and when a verdict changed, for status
        "control/balancing/report.py": 2,  # the same, and until a certificate expires
        "control/balancing/origins.py": 1,  # since when an operator has taken an origin out
        "control/pauses.py": 1,  # since when an app is paused
        "control/tls/acme/actor.py": 8,  # a certificate's life is told in wall-clock time (RFC 5280)
        "control/tls/acme/kept.py": 1,
        "control/tls/acme/order.py": 6,  # the same, and how far the clock is from the CA's
        "kernel/usage.py": 1,  # when a process started
        "control/records/journal.py": 1,  # when a record was journaled, for the lag of sinks
        "control/records/feed.py": 1,  # the same
        "control/records/stream.py": 2,  # in ids of records
        "plane/worker.py": 1,  # the same
        "engine/linux.pxd": 1,
        "engine/record_form.pyx": 2,  # of events
        "plane/end_records.py": 1,
    }


def test_sockets_that_systemd_opened(tmp_path, free_port, require):
    """By systemd's own tool: it starts the daemon when the first client comes, and that client is served."""
    require("systemd-socket-activate")
    port, path = free_port(), tmp_path / "spectrum.yaml"
    with greeter() as origin:
        path.write_text(
            f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}\n"
            f"control: {{socket: {tmp_path}/control.sock}}\n"
        )
        command = [sys.executable, "-m", "spectrum", "run", "-c", str(path), "--workers", "2"]
        activate = ["systemd-socket-activate", "-E", "PATH", "-l", f"127.0.0.1:{port}", *command]
        daemon = subprocess.Popen(activate, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            eventually(lambda: _listens(port))
            visit(port, 20)  # the daemon has to start for it
            for _ in range(20):
                visit(port)
            assert ask(tmp_path / "control.sock", "GET", "/status")["pid"] == daemon.pid
        finally:
            daemon.terminate()
            _, messages = daemon.communicate(timeout=10)
    assert daemon.returncode == 0, messages
    assert "Traceback" not in messages


def _listens(port):
    listening_on = f"0100007F:{port:04X} 00000000:0000 0A"  # proc(5): tcp, state LISTEN
    return listening_on in Path("/proc/net/tcp").read_text()
