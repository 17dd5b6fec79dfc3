"""`spectrum app pause`: new sessions and flows are refused, open ones go on; kept by file, worker and daemon."""

import os
import signal
import socket
import ssl

from spectrum.cli.client import ask
from tests.certificates import Authority
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.engine.harness import eventually


def echoed(sock):
    sock.send(b"hello")
    try:
        return sock.recv(100) == b"hello"
    except (ConnectionResetError, TimeoutError):
        return False


def client(port, kind=socket.SOCK_STREAM, timeout_s=5):
    sock = socket.socket(socket.AF_INET, kind)
    sock.settimeout(timeout_s)
    try:
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def serves(port):
    try:
        with client(port) as sock:
            return echoed(sock)
    except ConnectionResetError:
        return False


def change(daemon, what, name):
    return ask(daemon.socket, "POST", f"/apps/{what}?app={name}", 60)


def paused(daemon):
    return [(one["app"], one["in_file"]) for one in daemon.status()["paused"]]


def test_a_pause_outlasts_all_but_a_resume(tmp_path, free_port):
    tcp, udp, metrics = free_port(), free_port(), free_port()
    app = "{{protocol: {}/{}, edge_ips: [127.0.0.1], origin_direct: ['{}://127.0.0.1:{}']}}"
    other = f"y: {app.format('udp', udp, 'udp', echoing(socket.SOCK_DGRAM))}"
    apps = f"x: {app.format('tcp', tcp, 'tcp', echoing(socket.SOCK_STREAM))}, {other}"
    text = f"apps: {{{apps}}}\nmetrics: {{listen: 127.0.0.1:{metrics}}}"
    env = {"STATE_DIRECTORY": str(tmp_path / "state")}
    with Daemon(tmp_path, text, env=env) as daemon:
        with client(tcp) as session, client(udp, socket.SOCK_DGRAM) as flow:
            assert echoed(session) and echoed(flow) and echoed(flow)
            for name in "xy":
                assert change(daemon, "pause", name)["changed"]
            assert "paused already" in change(daemon, "pause", "x")["message"]
            assert 'no app "xx"' in change(daemon, "pause", "xx")["errors"][0]
            assert echoed(session) and echoed(flow)
            assert not serves(tcp)
            with client(udp, socket.SOCK_DGRAM, 0.3) as late:
                assert not echoed(late)
            eventually(lambda: daemon.app("x")["ended"].get("app_paused") == 1)
            eventually(lambda: daemon.app("y")["ended"].get("app_paused") == 1)
            assert [one["paused"] for one in daemon.status()["apps"]] == [True, True]
            with socket.create_connection(("127.0.0.1", metrics)) as scrape:
                scrape.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                page = b"".join(iter(lambda: scrape.recv(65536), b"")).decode()
            assert 'spectrum_app_paused{app="x"} 1.0' in page
            assert daemon.reload() == []
            assert not serves(tcp)
            assert echoed(session) and echoed(flow)
            # Another worker: its flows go on.
            (worker,) = daemon.worker_pids()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: daemon.worker_pids() not in ([], [worker]), 20)
            assert echoed(flow)
            assert not serves(tcp)
        # An upgrade.
        answer = ask(daemon.socket, "POST", "/upgrade", 100)
        assert answer["errors"] == []
        daemon.process.wait(20)
        eventually(lambda: daemon.worker_pids() != [], 20)
        assert paused(daemon) == [("x", True), ("y", True)]
        assert not serves(tcp)
        # One that leaves the file keeps its pause, for when it comes back.
        daemon.write(f"apps: {{{other}}}")
        assert daemon.reload() == []
        assert paused(daemon) == [("x", False), ("y", True)]
        daemon.write(text)
        assert daemon.reload() == []
        assert not serves(tcp)
        assert change(daemon, "resume", "y")["changed"]
        with client(udp, socket.SOCK_DGRAM) as flow:
            assert echoed(flow)
        os.kill(answer["pid"], signal.SIGTERM)
        eventually(lambda: not daemon.socket.exists(), 20)
    # A restart.
    with Daemon(tmp_path, text, env=env) as daemon:
        assert "app x is paused since" in daemon.messages()
        assert paused(daemon) == [("x", True)]
        assert not serves(tcp)
        assert change(daemon, "resume", "x")["message"] == "app x is resumed"
        assert serves(tcp)
        assert paused(daemon) == []
        assert change(daemon, "resume", "x")["message"] == "app x is not paused"


def test_one_of_two_apps_on_a_port(tmp_path, free_port):
    port, authority = free_port(), Authority()
    texts = []
    for name in ("a", "b"):
        chain, key = authority.issue(f"{name}.example").write(tmp_path, name)
        texts.append(f"  {name}: {{certificate: {chain}, key: {key}}}")
    origin = echoing(socket.SOCK_STREAM)
    body = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{origin}'], tls: flexible"
    apps = "\n".join(f"  {name}: {{{body}, sni: [{name}.example]}}" for name in "ab")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def shakes_hands(name):
        try:
            with client(port) as sock, context.wrap_socket(sock, server_hostname=f"{name}.example") as tls:
                return echoed(tls)
        except (ConnectionResetError, ssl.SSLError):
            return False

    certificates = "\n".join(texts)
    with Daemon(tmp_path, f"certificates:\n{certificates}\napps:\n{apps}") as daemon:
        assert shakes_hands("a") and shakes_hands("b")
        assert change(daemon, "pause", "a")["changed"]
        assert not shakes_hands("a")
        assert shakes_hands("b")
        eventually(lambda: daemon.app("a")["ended"].get("app_paused") == 1)
        assert change(daemon, "resume", "a")["changed"]
        assert shakes_hands("a")
