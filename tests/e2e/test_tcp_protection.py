"""TCP protection with real sessions through a daemon, in the middle of floods: no session loses a byte."""

import subprocess
import sys

import pytest

from tests.e2e.hosts import edge, spectrum
from tests.engine.harness import eventually

ECHO = """
import socket, threading

def serve(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()

with socket.create_server(("127.0.0.1", 7001)) as listener:
    print("listens", flush=True)
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""
# A session that says "ready", then for each number on its input sends so many bytes, and prints how many came back.
SESSION = """
import socket, sys, threading
sock = socket.create_connection(("10.231.1.1", 7000), 10)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
print("ready", flush=True)
for line in sys.stdin:
    count = int(line)
    data = bytes(range(256)) * (count // 256)
    threading.Thread(target=sock.sendall, args=(data,)).start()
    back = b""
    while len(back) < len(data):
        part = sock.recv(65536)
        assert part, "it was closed"
        back += part
    print(back == data, len(back), flush=True)
sock.shutdown(socket.SHUT_WR)  # half-closed: the other direction goes on to its end
print("closed" if sock.recv(1) == b"" else "?", flush=True)
"""
# Spoofed packets of each kind, to the app's port and to others.
FLOOD = """
import random, socket, sys, time
from tests.kernel.filter.tcp_frames import ACK, FIN, PSH, RST, SYN, frame
link = bytes.fromhex(sys.argv[1].replace(":", "")) + bytes(6)
chance = random.Random(18)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("e1b", 0))
    for number in range(int(sys.argv[2])):
        source = f"10.231.1.{chance.randrange(3, 250)}"
        flags = (ACK, RST, FIN | ACK, PSH | ACK, SYN | ACK, SYN)[number % 6]
        ports = chance.randrange(1024, 65536), 7000 if number % 12 < 6 else 9
        packet = frame(source, "10.231.1.1", ports, flags, chance.getrandbits(32), chance.getrandbits(32))
        sock.send(link + packet[12:])
"""
FILTER = "filter: {interfaces: [e1a], guard: [192.0.2.1]}\n"
RULES = (
    "tcp_rules:\n"
    "  s: {component: syn_protection, mode: MODE, rate_sensitivity: high, burst_sensitivity: high}\n"
    "  f: {component: tcp_flow_protection, mode: MODE, rate_sensitivity: high, burst_sensitivity: high}\n"
)


@pytest.fixture
def session(hosts):
    """Begin sessions on the client's host: a function that sends so many bytes, and returns what came of it."""
    running = []

    def begin():
        process = hosts.start(
            "c", sys.executable, "-c", SESSION, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "ready\n"

        def exchange(count=0):
            if not count:
                process.stdin.close()
                return process.stdout.readline().strip()
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return exchange

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_no_session_loses_a_byte(hosts, start, tmp_path, filesystem, session):
    base = f"kernel: {{bpffs: {filesystem}}}\n"
    app = "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://127.0.0.1:7001']}}\n"
    start("e", sys.executable, "-c", ECHO)
    eventually(lambda: "listens" in start.printed(), 5)
    control = edge(start, tmp_path, base + app)
    file = tmp_path / "edge.yaml"
    mac = hosts.call("e", "cat", "/sys/class/net/e1a/address").strip()

    def flood(count=4_000):
        hosts.python("c", FLOOD, mac, str(count))

    def counted(result):
        said = hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
        return sum(int(line.split(": ")[2].split()[0]) for line in said.splitlines() if f"filter: {result} " in line)

    def serve(text):
        file.write_text(f"{base}{text}{app}\ncontrol: {{socket: {control}}}\n")
        hosts.call("e", *spectrum("reload", "--socket", control))

    before = session()
    assert before(1024) == "True 1024"
    serve(FILTER + RULES.replace("MODE", "monitoring"))
    flood()
    assert counted("tcp_monitored") > 1500 and counted("tcp_dropped") == 0
    serve(FILTER + RULES.replace("MODE", "enabled"))
    flood()
    assert counted("tcp_dropped") > 1500
    # The session that there was before, and a new one, in the middle of a flood.
    attack = hosts.start("c", sys.executable, "-c", FLOOD, mac, "20000")
    assert before(1 << 20) == f"True {1 << 20}"
    during = session()
    assert during(1 << 20) == f"True {1 << 20}"
    hosts.call("e", *spectrum("upgrade", "--socket", control))
    for one in (before, during):
        assert one(1 << 18) == f"True {1 << 18}"
    assert attack.wait(60) == 0
    assert before() == during() == "closed"
    shown = hosts.call("e", *spectrum("ddos", "tcp", "--socket", control))
    assert "TCP protection is on" in shown and "enabled by rule f" in shown
