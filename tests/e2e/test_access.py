"""Access rules on a running daemon: real connections and datagrams from many loopback addresses."""

import os
import socket
import threading
import urllib.request
from contextlib import ExitStack

import pytest

from spectrum.cli.client import ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually, listening, port_of

RULES = """
access_rules:
  loopback: {target: ip_range, value: 127.0.0.0/8, action: allow}
  bad: {target: ip_range, values: [127.0.1.0/24, 127.1.0.0/16], action: block}
  good: {target: ip, value: 127.0.1.7, action: allow}
  ssh_only: {target: ip_range, value: 127.0.2.0/24, action: block, apps: [y]}
  listed: {target: ip_range, file: %s, action: block}
"""


@pytest.fixture
def origin():
    """An origin that says hello; accepted in a thread."""
    with listening(256) as sock:
        sock.settimeout(None)

        def serve():
            while True:
                try:
                    connection, _ = sock.accept()
                except OSError:
                    return
                connection.sendall(b"hello")
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def visit(source, port):
    """Whether a client from `source` meets the origin."""
    with socket.socket() as sock:
        sock.settimeout(5)
        sock.bind((source, 0))
        try:
            sock.connect(("127.0.0.1", port))
            return sock.recv(10) == b"hello"
        except ConnectionError:
            return False


def test_tcp(tmp_path, free_port, origin):
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("127.9.0.0/16\n")
    ports, metrics_port = [free_port() for _ in range(3)], free_port()
    text = "apps:\n" + "".join(
        f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{port_of(origin)}']"
        f"{', ip_firewall: true' if name != 'z' else ''}}}\n"
        for name, port in zip("xyz", ports, strict=True)
    )
    text += f"metrics: {{listen: 127.0.0.1:{metrics_port}}}\n"
    x, y, z = ports
    with Daemon(tmp_path, text + RULES % blocked, workers=2) as daemon:
        for source, met in {
            "127.0.0.1": "loopback",
            "127.0.1.1": "bad",
            "127.0.1.7": "good",
            "127.1.2.3": "bad",
            "127.0.2.1": "loopback",
            "127.9.9.9": "listed",
        }.items():
            passes = met not in ("bad", "listed")
            assert visit(source, x) == passes, source
            assert visit(source, z), source  # does not ask
            steps = ask(daemon.socket, "GET", f"/explain?app=x&client={source}")["steps"]
            assert any(f"access rule {met} {'lets it in' if passes else 'blocks it'}" in step for step in steps), steps
        assert visit("127.0.2.1", x)
        assert not visit("127.0.2.1", y)
        eventually(lambda: len(daemon.events()) == 14)
        event = next(e for e in daemon.events() if e["ClientIP"] == "127.1.2.3" and e["Application"] == "x")
        assert (event["Status"], event["Event"], event["Reason"]) == (403, "clientFiltered", "client_blocked")
        assert (event["ClientMatchedIpFirewall"], event["AccessRule"], event["IpFirewall"]) == ("BLOCK_IP", "bad", True)
        event = next(e for e in daemon.events() if e["ClientIP"] == "127.0.1.7" and e["Application"] == "x")
        assert (event["ClientMatchedIpFirewall"], event["AccessRule"]) == ("WHITELIST_IP", "good")
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics").read().decode()
        assert 'spectrum_access_rule_hits_total{app="x",rule="bad"} 2.0' in metrics
        assert 'spectrum_access_rule_hits_total{app="y",rule="ssh_only"} 1.0' in metrics
        assert 'spectrum_sessions_refused_total{app="x",reason="client_blocked"} 3.0' in metrics
        # A list that changes by itself is read again; one with faults changes nothing.
        blocked.write_text("127.8.0.0/16\n")
        eventually(lambda: not visit("127.8.0.1", x) and visit("127.9.9.9", x), 10)
        blocked.write_text("127.7.0.0/16\nnonsense\n")
        eventually(lambda: f"{blocked}:2: 'nonsense' is not a prefix" in daemon.messages(), 10)
        assert not visit("127.8.0.1", x)
        assert visit("127.7.0.1", x)


def test_udp_flows_of_clients_that_are_blocked_meanwhile_end(tmp_path, free_port):
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        where = f"edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:{port_of(server)}']"
        rules = "access_rules: {r: {target: ip_range, value: 127.0.5.0/24, action: block}}"
        text = f"apps: {{x: {{protocol: udp/{port}, {where}, ip_firewall: true}}}}\n{rules}"
        with Daemon(tmp_path, text, workers=2) as daemon:

            def client(source):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.bind((source, 0))
                sock.connect(("127.0.0.1", port))
                return sock

            here, there, blocked = client("127.0.0.1"), client("127.0.6.1"), client("127.0.5.1")
            blocked.send(b"blocked")
            for sock, word in ((here, b"here"), (there, b"there")):
                sock.send(word)
                data, peer = server.recvfrom(100)
                assert data == word
                server.sendto(word, peer)
                sock.settimeout(5)
                assert sock.recv(100) == word
            daemon.write(text.replace("127.0.5.0", "127.0.6.0"))
            assert daemon.reload() == []
            there.send(b"there again")
            here.send(b"here again")
            assert server.recv(100) == b"here again"
            eventually(lambda: len(daemon.events()) >= 3)
            ends = {(e["ClientIP"], e["Reason"], e["AccessRule"]) for e in daemon.events()}
            assert ends == {("127.0.5.1", "client_blocked", "r"), ("127.0.6.1", "client_blocked", "r")}


def test_a_list_of_a_million_prefixes(tmp_path, free_port, origin):
    port, blocked = free_port(), tmp_path / "many.txt"
    with blocked.open("w") as file:
        for n in range(500_000):
            file.write(f"{n >> 11 & 255}.{n >> 3 & 255}.{(n & 7) << 5}.0/27\n2001:{n >> 8:x}:{n & 255:x}::/48\n")
        file.write("127.0.7.0/24\n")
    where = f"edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{port_of(origin)}']"
    app = f"{{protocol: tcp/{port}, {where}, ip_firewall: true}}"
    rules = f"access_rules: {{many: {{target: ip_range, file: {blocked}, action: block}}}}"
    with Daemon(tmp_path, f"apps: {{x: {app}}}\n{rules}", workers=2) as daemon:
        assert (visit("127.0.7.1", port), visit("127.0.8.1", port)) == (False, True)
        pages = {pid: _resident_bytes(pid) for pid in (daemon.process.pid, *daemon.worker_pids())}
        assert all(count < 200e6 for count in pages.values()), pages


def _resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_rules_of_a_zone_and_lists(tmp_path, free_port, origin):
    ports = [free_port() for _ in range(2)]
    text = (
        "zones: {a.example: {}, b.example: {}}\n"
        "lists: {bad: {kind: ip, items: [127.0.3.0/24, {ip: 127.0.4.4, comment: seen}]}}\n"
        "access_rules:\n"
        "  zone: {target: ip_range, list: bad, action: block, zone: a.example}\n"
        "  all: {target: ip, value: 127.0.5.5, action: block}\n"
        "apps:\n"
    )
    for name, port in zip("ab", ports, strict=True):
        origins = f"origin_direct: ['tcp://127.0.0.1:{port_of(origin)}'], ip_firewall: true"
        text += (
            f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], dns: {{name: x.{name}.example}}, {origins}}}\n"
        )
    with Daemon(tmp_path, text) as daemon:

        def met(source):
            return [visit(source, port) for port in ports]

        assert met("127.0.3.9") == met("127.0.4.4") == [False, True]
        assert met("127.0.5.5") == [False, False]
        assert met("127.0.6.6") == [True, True]
        daemon.write(text.replace("zone: a.example", "zone: b.example"))
        assert daemon.reload() == []
        assert met("127.0.3.9") == [True, False]
