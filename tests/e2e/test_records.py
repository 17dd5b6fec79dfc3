"""Records on their way out of a daemon."""

import json
import os
import signal
import socket
from contextlib import ExitStack, suppress

from spectrum.cli.client import ask
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.e2e.test_live import Operator, connected, echoed
from tests.e2e.test_surroundings import greeter, visit
from tests.engine.harness import eventually


def test_each_sink_gets_records_in_its_format_and_files_are_reopened(tmp_path, free_port):
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
            eventually(lambda: "are reopened" in daemon.messages())
            visit(port)
            eventually(lambda: kept.exists() and kept.read_text().count("\n") == 1)
            assert (tmp_path / "rotated").read_text().count("\n") == 1


def test_open_sessions_keep_their_ids_over_an_upgrade_and_have_a_story(tmp_path, free_port):
    tcp, udp = free_port(), free_port()
    stream, datagrams = echoing(socket.SOCK_STREAM), echoing(socket.SOCK_DGRAM)
    drop = tmp_path / "drop.txt"
    drop.write_text("# spam\n127.0.0.8/29\n")
    text = f"""
records: {{journal: {{path: {tmp_path}/journal}}, events: [connect, progress], progress_interval: 1s}}
access_rules: {{drop: {{target: ip_range, file: {drop}, action: block}}}}
apps:
  web: {{protocol: tcp/{tcp}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{stream}'], ip_firewall: true}}
  dns: {{protocol: udp/{udp}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:{datagrams}']}}
"""
    with Daemon(tmp_path, text) as daemon, ExitStack() as stack:
        operator = Operator(daemon)
        session = stack.enter_context(connected(tcp, socket.SOCK_STREAM, "127.0.0.3"))
        flow = stack.enter_context(connected(udp, socket.SOCK_DGRAM, "127.0.0.4"))
        assert echoed(flow)
        blocked = stack.enter_context(socket.socket())
        blocked.bind(("127.0.0.9", 0))
        with suppress(ConnectionError):
            blocked.connect(("127.0.0.1", tcp))
            blocked.recv(1)

        def of(app):
            return [event for event in daemon.events() if event["Application"] == app]

        def progressed(app):
            return of(app) and of(app)[-1]["Event"] == "progress" and len(of(app))

        eventually(lambda: any(event["Event"] == "clientFiltered" for event in of("web")))
        eventually(lambda: progressed("dns") and any(event["Event"] == "progress" for event in of("web")))
        answer = ask(daemon.socket, "POST", "/upgrade", 100)
        assert answer["errors"] == []
        daemon.process.wait(20)
        before = {app: len(of(app)) for app in ("web", "dns")}
        assert echoed(session) and echoed(flow)
        eventually(lambda: all(len(of(app)) > count for app, count in before.items()), 20)
        session.close()
        eventually(lambda: of("web")[-1]["Event"] == "disconnect")
        refused, *told = sorted(of("web"), key=lambda event: event["Event"] != "clientFiltered")
        assert [told[0]["Event"], told[-1]["Event"]] == ["connect", "disconnect"]
        assert (refused["AccessPrefix"], refused["AccessList"]) == ("127.0.0.8/29", f"{drop}:2")
        (name,) = {event["SessionId"] for event in told}
        assert sum(event.get("ClientBytesSince", 0) for event in told) == told[-1]["ClientBytes"] == 10
        assert len({event["SessionId"] for event in of("dns")}) == 1
        assert [event["Event"] for event in of("dns")].count("connect") == 1

        story = (str(tmp_path / "spectrum.yaml"), "--since", "5m")
        eventually(lambda: "client_closed (200)" in operator.run("story", name, "-c", *story)[1])
        shown = operator.run("story", name, "-c", *story)[1]
        assert f"from 127.0.0.3:{session_port(told)} to 127.0.0.1:{tcp}, app web" in shown
        assert "10 B from the client, 10 B from the origin: client_closed (200)" in shown
        shown = operator.run("story", "127.0.0.9", "-c", *story)[1]
        assert f"client_blocked (403), access rule drop (127.0.0.8/29, {drop}:2)" in shown
        assert f"access rule drop blocks it (BLOCK_IP: 127.0.0.8/29 in {drop}:2)" in shown
        os.kill(answer["pid"], signal.SIGTERM)
        eventually(lambda: not daemon.socket.exists(), 20)


def session_port(told):
    (port,) = {event["ClientPort"] for event in told}
    return port
