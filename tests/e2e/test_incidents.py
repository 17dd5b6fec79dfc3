"""Incidents of docs/incidents.md, found with what its pages look at: status, explain, records, story."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from spectrum.cli.client import ask
from tests.certificates import Authority
from tests.cli.harness import spectrum
from tests.e2e import hosts as machines
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually


def answer(listener):
    """Say PONG to whoever comes, until the listener is closed."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.sendall(b"PONG\r\n")


@pytest.fixture
def edge(tmp_path, free_port):
    """A daemon with an origin that accepts and says nothing, beside one that answers; and an app that has one name."""
    cache, shop = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as good:
        threading.Thread(target=answer, args=(good,), daemon=True).start()
        dead, port = silent.getsockname()[1], good.getsockname()[1]
        text = f"""
monitors: {{cache: {{type: tcp, interval: 0.2s, timeout: 0.2s, retries: 0}}}}
pools:
  cache:
    monitor: cache
    origins:
      - {{name: a, address: 127.0.0.1, port: {port}}}
      - {{name: b, address: 127.0.0.1, port: {dead}, weight: 0.25}}
load_balancers: {{cache: {{default_pools: [cache]}}}}
apps:
  cache:
    {{protocol: tcp/{cache}, edge_ips: [127.0.0.1], load_balancer: cache, limits: {{client: {{new_per_second: 1}}}}}}
  shop: {{protocol: tcp/{shop}, edge_ips: [127.0.0.1], sni: [shop.example], origin_direct: ["tcp://127.0.0.1:{port}"]}}
"""
        with Daemon(tmp_path, text) as daemon:
            yield daemon, text, cache, shop


def test_incidents(edge):
    daemon, text, cache, shop = edge

    def origins():
        (pool,) = daemon.status()["pools"]
        return {origin["name"]: origin for origin in pool["origins"]}

    def explained():
        return "\n".join(ask(daemon.socket, "GET", "/explain?app=cache&client=127.0.0.1&port=0")["steps"])

    def record(reason):
        return next((event for event in daemon.events() if event.get("Reason") == reason), None)

    # A wrong weight: shares are told.
    eventually(lambda: "a 80%, b 20%" in explained(), explain=explained)

    # A wrong name: it is in the record.
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", shop)) as sock, pytest.raises(OSError):
        context.wrap_socket(sock, server_hostname="shpo.example")
    eventually(lambda: record("sni_unknown"))
    assert record("sni_unknown")["ClientTlsClientHelloServerName"] == "shpo.example"

    # A rate limit: the record has it, with its value.
    kept = []
    eventually(lambda: kept.append(socket.create_connection(("127.0.0.1", cache))) or record("client_rate"))
    assert record("client_rate")["Limit"] == "app: client_new_per_second 1"
    for client in kept:
        client.close()

    # An origin is half dead: a monitor without a question does not see it, one with a question does.
    assert [origin["health"] for origin in origins().values()] == ["healthy", "healthy"]
    daemon.write(text.replace("type: tcp,", 'type: tcp, send: "PING\\r\\n", expect: PONG,'))
    assert daemon.reload() == []
    eventually(lambda: "b: no answer within 0.2 s" in explained(), explain=explained)
    assert {name: origin["health"] for name, origin in origins().items()} == {"a": "healthy", "b": "down"}


# --- on hosts of its own: what needs a network, a disk and a resolver that one may break --------------------------

# The edge, in a mount namespace with a small disk and a resolver of its own.
BEGIN = """
mount -t tmpfs -o size=24m tmpfs "$1/disk" && mount --bind "$1/resolv.conf" /etc/resolv.conf &&
exec "$2" -m spectrum run -c "$1/edge.yaml" --workers 1
"""
ORIGIN = """
import socket, threading
threading.excepthook = lambda fault: print(fault.exc_value)
def serve(port, talk):
    listener = socket.create_server(("10.231.2.2", port), backlog=100)
    while True:
        threading.Thread(target=talk, args=listener.accept()[:1], daemon=True).start()
def echo(sock):
    while data := sock.recv(1000):
        sock.sendall(data)
def flow(sock):
    sock.sendall(bytes(80_000_000))
threading.Thread(target=serve, args=(8080, echo), daemon=True).start()
serve(8081, flow)
"""
NAMES = """
import socketserver, dns.message, dns.rrset
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        query = dns.message.from_wire(data)
        made = dns.message.make_response(query)
        if query.question[0].rdtype == 1:
            made.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "A", "10.231.2.2"))
        sock.sendto(made.to_wire(), self.client_address)
socketserver.UDPServer(("10.231.2.2", 53), Answer).serve_forever()
"""
# Connects so many times, holds what is open, and says how many are served.
HOLD = """
import socket, sys
port, count = map(int, sys.argv[1:])
kept, served = [], 0
for _ in range(count):
    try:
        sock = socket.create_connection(("10.231.1.1", port), 5)
        sock.sendall(b"x")
        served += sock.recv(1) == b"x"
        kept.append(sock)
    except ConnectionError:
        pass
print(served)
"""
STUCK = """
import socket, sys
with socket.create_connection(("10.231.1.1", 8081), 5) as sock:
    print("there", flush=True)
    sys.stdin.read()
"""
HANDSHAKE = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
try:
    with socket.create_connection(("10.231.1.1", 8443), 5) as sock:
        context.wrap_socket(sock, server_hostname="shop.example").close()
    print("served")
except ssl.SSLError as exc:
    print(exc)
"""
FLOOD = """
import socket
for _ in range(1500):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(bytes(40), ("10.231.1.1", 53))
"""
PORTS = "import sys; open('/proc/sys/net/ipv4/ip_local_port_range', 'w').write(sys.argv[1])"
METRICS = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9090/metrics').read().decode())"


@pytest.fixture
def breakable(hosts, start, tmp_path, filesystem):
    """An edge on a host of its own, whose certificate has expired; what asks it, and its process."""
    authority = Authority()
    chain, key = authority.issue("shop.example", days=-1).write(tmp_path, "shop")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "disk").mkdir()
    (tmp_path / "resolv.conf").write_text("nameserver 10.231.2.2\noptions timeout:1 attempts:1\n")
    control = tmp_path / "edge.sock"
    soon = "{idle: 1s, interval: 1s, count: 6}"
    plain = 'origin_direct: ["tcp://10.231.2.2:8080"]'
    (tmp_path / "edge.yaml").write_text(f"""
control: {{socket: {control}}}
metrics: {{listen: "127.0.0.1:9090"}}
kernel: {{bpffs: {filesystem}}}
records: {{journal: {{path: {tmp_path}/disk/journal, max_bytes: 16MiB}}}}
filter: {{interfaces: [e1a], guard: [10.231.1.99/32], sample_one_in: 1}}
certificates: {{shop: {{certificate: {chain}, key: {key}}}}}
apps:
  plain: {{protocol: tcp/8080, {plain}}}
  slow: {{protocol: tcp/8081, origin_direct: ["tcp://10.231.2.2:8081"], keepalive: {soon}}}
  shop: {{protocol: tcp/8443, tls: flexible, edge_tls: {{certificates: [shop]}}, {plain}}}
  named: {{protocol: tcp/8082, origin_dns: {{name: web.internal, ttl: 1s}}, origin_port: 8080}}
  dns: {{protocol: udp/53, origin_direct: ["udp://10.231.2.2:5300"], limits: {{client: {{new_per_second: 10}}}}}}
""")
    start("o", sys.executable, "-c", ORIGIN)
    names = start("o", sys.executable, "-c", NAMES)
    script = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", BEGIN, "edge", tmp_path, sys.executable)
    process = start("e", *script)
    eventually(lambda: machines.serves(control), 20, start.printed)
    return Breakable(hosts, tmp_path, control, authority, process, names)


class Breakable:
    """Asks the edge with the product's own commands."""

    def __init__(self, hosts, folder, control, authority, process, names):
        self.hosts, self.folder, self.control, self.authority = hosts, folder, control, authority
        self.names = names
        # As the daemon sees it: the disk is mounted for it alone.
        self.disk = Path(f"/proc/{process.pid}/root{folder}/disk")

    def metric(self, name):
        """The values of a metric, by labels as text."""
        lines = self.hosts.python("e", METRICS).splitlines()
        found = [line.rpartition(" ") for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        return {labels: float(value) for labels, _, value in found}

    def told(self, command, *options):
        return spectrum(command, *options, "--socket", self.control).stdout

    def story(self, reason):
        """What `spectrum story` tells of the client, and has this reason."""
        told = self.told("story", "10.231.1.2", "--journal", self.disk / "journal", "--since", "10m", "--json")
        return [one for one in json.loads(told)["records"] if one.get("Reason") == reason]


def test_a_certificate_ports_and_a_flood(breakable):
    def handshake():
        return breakable.hosts.python("c", HANDSHAKE, breakable.folder / "ca.pem")

    (ends_at,) = breakable.metric("spectrum_certificate_not_after_timestamp_seconds").values()
    assert ends_at < time.time()
    assert "certificate has expired" in handshake()
    eventually(lambda: breakable.story("client_tls_failed"))
    assert breakable.story("client_tls_failed")[0]["ClientTlsClientHelloServerName"] == "shop.example"
    breakable.authority.issue("shop.example").write(breakable.folder, "shop")
    eventually(lambda: handshake() == "served\n", explain=handshake)
    (ends_at,) = breakable.metric("spectrum_certificate_not_after_timestamp_seconds").values()
    assert ends_at > time.time()

    # Ports run out: each session to the origin takes one.
    breakable.hosts.python("e", PORTS, "40000 40009")
    assert int(breakable.hosts.python("c", HOLD, "8080", "14")) <= 10
    eventually(lambda: "failed (no_source_port)" in breakable.told("status"), explain=lambda: breakable.told("status"))
    eventually(lambda: breakable.story("no_source_port"))
    assert breakable.story("no_source_port")[0]["OriginIP"] == "10.231.2.2"
    breakable.hosts.python("e", PORTS, "32768 60999")
    assert breakable.hosts.python("c", HOLD, "8080", "14") == "14\n"

    # A flood: samples tell who sends, refusals are summed.
    breakable.hosts.python("c", FLOOD)

    def samples():
        return breakable.told("samples", "--by", "source,protocol,destination_port", "--seconds", "60")

    eventually(
        lambda: any(line.split()[:3] == ["10.231.1.2", "udp", "53"] for line in samples().splitlines()), explain=samples
    )
    eventually(lambda: any(one.get("Sessions", 1) > 10 for one in breakable.story("client_rate")))
    assert breakable.story("client_rate")[0]["Limit"] == "app: client_new_per_second 10"
    refused = breakable.metric("spectrum_sessions_refused_total")
    assert any('app="dns",reason="client_rate"' in labels and count > 100 for labels, count in refused.items())


def test_a_disk_a_resolver_and_a_slow_client(breakable):
    # A slow client: it is seen while it is open, and ended with its reason.
    stuck = breakable.hosts.start("c", sys.executable, "-c", STUCK, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert stuck.stdout.readline() == b"there\n"
        row = lambda: breakable.told("sessions", "--app", "slow", "--sort", "bytes").splitlines()  # noqa: E731
        eventually(lambda: row()[-1] == "1 session" and " MB " in row()[1], explain=row)
        assert "10.231.1.2:" in row()[1]
        eventually(lambda: breakable.story("client_stuck"))
    finally:
        stuck.kill()
        stuck.communicate()

    # The resolver is dead: names keep their addresses, and their age grows.
    assert breakable.hosts.python("c", HOLD, "8082", "1") == "1\n"
    breakable.names.terminate()
    eventually(lambda: "name web.internal: " in breakable.told("status"), explain=lambda: breakable.told("status"))
    assert "; addresses from " in breakable.told("status")
    eventually(lambda: max(breakable.metric("spectrum_name_age_seconds").values()) > 1)
    assert breakable.hosts.python("c", HOLD, "8082", "1") == "1\n"

    # A full disk: records wait in memory, and are written once there is room.
    filler = breakable.disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    eventually(
        lambda: (
            breakable.hosts.python("c", HOLD, "8080", "5")
            and breakable.metric("spectrum_journal_failing") == {"spectrum_journal_failing": 1.0}
        )
    )
    assert "no space left on device" in breakable.told("status")
    filler.unlink()
    eventually(lambda: breakable.metric("spectrum_journal_failing") == {"spectrum_journal_failing": 0.0})
    assert breakable.metric("spectrum_journal_records_lost_total") == {"spectrum_journal_records_lost_total": 0.0}
    eventually(lambda: len(breakable.story("client_closed")) >= 5)
