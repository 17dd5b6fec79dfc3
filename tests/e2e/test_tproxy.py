"""TPROXY listeners: any address and any port of a prefix, that no machine here has, over TCP and UDP, both families."""

import sys

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import edge, spectrum
from tests.engine.harness import eventually

# One socket of each kind takes all ports (nft redirects them), and answers with what it was told.
ORIGIN = """
import socket, threading
from spectrum.wire import parse, simple_proxy
def tcp(sock):
    while True:
        connection, _ = sock.accept()
        header, _ = parse(connection.recv(200))
        connection.sendall(("%s %s" % (header.source, header.destination)).encode())
        connection.close()
def udp(sock):
    while True:
        data, peer = sock.recvfrom(2000)
        header = simple_proxy.parse(data)
        shown = "[%s]:%d" if header.client_address.version == 6 else "%s:%d"
        source = shown % (header.client_address, header.client_port)
        told = source + " " + shown % (header.proxy_address, header.proxy_port)
        sock.sendto(data[:38] + told.encode(), peer)
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for kind, serve in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
        sock = socket.socket(family, kind)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, 20000))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        threading.Thread(target=serve, args=(sock,)).start()
print("ready", flush=True)
"""

VISIT = """
import socket, sys
for address in sys.argv[3:]:
    host, _, port = address.rpartition(",")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM) as sock:
        sock.settimeout(float(sys.argv[2]))
        try:
            sock.connect((host, int(port)))
            if sys.argv[1] == "udp":
                sock.send(b"where am I?")
            told = sock.recv(200).decode()
        except OSError as exc:
            told = type(exc).__name__
        mine = sock.getsockname()
        shown = "[%s]:%d" if ":" in host else "%s:%d"
        wanted = "%s %s" % (shown % mine[:2], shown % (host, int(port)))
        print("ok" if told == wanted else "%s, not %s" % (told, wanted))
"""
PREFIXES = {4: "198.51.100.0/24", 6: "2001:db8:5::/64"}
ADDRESSES = ("198.51.100.7", "198.51.100.250", "2001:db8:5::7", "2001:db8:5::ffff")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_any_address_and_any_port_of_a_prefix(hosts, start, tmp_path, kind):
    header = {"tcp": "v2", "udp": "simple"}[kind]
    for family in ("ip", "ip6"):
        hosts.call(
            "o",
            "nft",
            "-f",
            "-",
            text=f"table {family} t {{ chain c {{ type nat hook prerouting priority dstnat; "
            f"{kind} dport 20000-20999 redirect to :20000; }}; }}",
        )
    hosts.ip("c", "route", "add", PREFIXES[4], "via", "10.231.1.1")
    hosts.ip("c", "-6", "route", "add", PREFIXES[6], "via", "fd00:1::1")
    start("o", sys.executable, "-c", ORIGIN)
    apps = "apps:\n" + "".join(
        f"  any{version}: {{protocol: {kind}/20000-20999, tproxy: {{port: 1500{version}, prefixes: ['{prefix}']}}, "
        f"origin_direct: ['{kind}://{'10.231.2.2' if version == 4 else '[fd00:2::2]'}:20000-20999'], "
        f"proxy_protocol: {header}}}\n"
        for version, prefix in PREFIXES.items()
    )
    (tmp_path / "doctor.yaml").write_text(apps)
    doctor = spectrum("doctor", "-c", tmp_path / "doctor.yaml")
    assert hosts.call("e", *doctor, check=False).count("MISSING") == 6
    installed = hosts.call("e", *doctor, "--install")
    assert (installed.count("VERIFIED"), installed.count("MISSING")) == (7, 0)
    control = edge(start, tmp_path, apps)
    eventually(lambda: "ready" in start.printed(), 10)
    visits = [f"{address},{port}" for address in ADDRESSES for port in range(20000, 21000, 41)]
    told = hosts.python("c", VISIT, kind, 5, *visits, *visits[:4], timeout_s=60).split("\n")[:-1]
    assert told == ["ok"] * (len(visits) + 4), (told, start.printed())
    # The socket itself, an address that is not the app's, and a port that is not.
    odd = hosts.python("c", VISIT, kind, 0.3, "10.231.1.1,15004", "198.51.100.7,21000", timeout_s=60)
    assert "ok" not in odd
    status = {app["name"]: app for app in ask(control, "GET", "/status")["apps"]}
    assert status["any4"]["ended"]["not_intercepted"] == 1
    assert status["any4"]["sessions_started"] == len(visits) / 2 + 4 + 1
    assert status["any4"]["listens_on"] == "198.51.100.0/24 (tproxy, port 15004)"
    assert status["any4"]["listeners"] == 1
    removed = hosts.call("e", *doctor, "--remove", check=False)
    assert removed.count("MISSING") == 6
    assert "5350" not in hosts.call("e", "ip", "rule") + hosts.call("e", "nft", "list", "ruleset")
