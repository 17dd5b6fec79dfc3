"""Clients' own addresses at origins: mmproxy beside real servers, and `source: client` at the edge.

Three hosts: a client, the edge, and the origin's machine; both families.
"""

import getpass
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import edge, serves, spectrum
from tests.e2e.programs import PATH, run
from tests.engine.harness import eventually

# The client is at 10.231.1.2; the edge at 10.231.1.1 and 10.231.2.1; the origin at 10.231.2.2.
CLIENT4, CLIENT6 = "10.231.1.2", "fd00:1::2"
EDGE4, EDGE6 = "10.231.1.1", "fd00:1::1"

ASK_DNS = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
six = ":" in host
question = b"\\x06whoami\\x07example\\0" + (b"\\0\\x1c" if six else b"\\0\\x01") + b"\\0\\x01"
with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect((host, port))
    for number in range(3):
        sock.send(b"\\0%c\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0" % number + question)
        answer = sock.recv(500)
        assert answer[1] == number and answer[7] == 1, answer
        print(socket.inet_ntop(sock.family, answer[len(question) + 24:][: 16 if six else 4]))
"""

ECHO_PEER = """
import socket, sys, threading
def tcp(sock):
    while True:
        connection, peer = sock.accept()
        connection.sendall(("%s %d" % peer[:2]).encode())
        connection.close()
def udp(sock):
    while True:
        data, peer = sock.recvfrom(2000)
        sock.sendto(("%s %d" % peer[:2]).encode(), peer)
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for kind, serve in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, int(sys.argv[1])))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        threading.Thread(target=serve, args=(sock,)).start()
print("ready", flush=True)
"""

VISIT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect((host, port))
    if kind == "udp":
        sock.send(b"who am I?")
    told, name = sock.recv(200).decode(), sock.getsockname()
    print(told == "%s %d" % name[:2], told)
"""


def mmproxy(start, tmp_path, *arguments):
    control = tmp_path / "mmproxy.sock"
    process = start("o", *spectrum("mmproxy", "--user", "root", "--socket", control, "--workers", "2", *arguments))
    eventually(lambda: serves(control) or process.poll() is not None, 20, start.printed)
    return control, process


def test_sshd_behind_mmproxy_sees_the_client(hosts, start, require, tmp_path):
    require("sshd", "ssh", "ssh-keygen")
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(f"""
Port 22
ListenAddress 127.0.0.1
ListenAddress ::1
HostKey {tmp_path}/host
AuthorizedKeysFile {tmp_path}/authorized_keys
StrictModes no
UsePAM no
PidFile none
""")
    start("o", shutil.which("sshd", path=PATH), "-D", "-e", "-f", tmp_path / "sshd_config")
    to = ("--to", "127.0.0.1:22", "--to", "[::1]:22")
    control, _ = mmproxy(start, tmp_path, "--listen", "10.231.2.2:2222", *to, "--allow", "10.231.2.1/32", "--install")
    edge(
        start,
        tmp_path,
        "apps: {ssh: {protocol: tcp/22, origin_direct: ['tcp://10.231.2.2:2222'], proxy_protocol: v2}}",
    )
    options = ["-i", tmp_path / "user", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    options += ["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-l", getpass.getuser()]
    for host, client in ((EDGE4, CLIENT4), (EDGE6, CLIENT6)):
        command = "echo $SSH_CONNECTION; head -c 300000 /dev/zero | wc -c; wc -c"
        told = hosts.call("c", "ssh", *options, host, command, text="x" * 200_000).split()
        assert told[0] == client, told
        assert told[2:] == ["127.0.0.1" if client == CLIENT4 else "::1", "22", "300000", "200000"]
    # Who is not believed is refused, whatever header it sends.
    script = """
import socket, sys
try:
    sock = socket.create_connection(("10.231.2.2", 2222), 5, ("10.231.2.3", 0))
    sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\\r\\n")
    print(sock.recv(100))
except ConnectionResetError:
    print("reset")
"""
    hosts.ip("e", "address", "add", "10.231.2.3/24", "dev", "e2a")
    assert hosts.python("e", script).strip() == "reset"
    refused = ask(control, "GET", "/status")["apps"][0]["ended"]
    assert refused["header_untrusted"] == 1


@pytest.mark.parametrize(
    "header",
    [
        "proxy_protocol: simple",
        "proxy_protocol: simple, origin_socket: shared",
        pytest.param("proxy_protocol: v2, proxy_header_datagram: first", marks=pytest.mark.slow),
        pytest.param("proxy_protocol: v2, proxy_header_datagram: standalone", marks=pytest.mark.slow),
        "proxy_protocol: v2, proxy_header_datagram: each",
    ],
)
def test_a_dns_server_behind_mmproxy_sees_the_client(hosts, start, require, tmp_path, header):
    require("knotd")
    (tmp_path / "whoami.zone").write_text("whoami.example. 3600 SOA ns.example. root.example. 1 1 1 1 1\n")
    (tmp_path / "knot.conf").write_text(f"""
server:
    listen: ["127.0.0.1@53", "::1@53"]
    rundir: "{tmp_path}"
database:
    storage: "{tmp_path}"
log:
  - target: stderr
    any: warning
zone:
  - domain: whoami.example
    file: "{tmp_path}/whoami.zone"
    module: mod-whoami
""")
    start("o", shutil.which("knotd", path=PATH), "-c", tmp_path / "knot.conf")
    to = ("--to", "127.0.0.1:53", "--to", "[::1]:53", "--protocol", "udp")
    mmproxy(start, tmp_path, "--listen", "10.231.2.2:5353", *to, "--allow", "10.231.2.0/24", "--install")
    edge(start, tmp_path, f"apps: {{dns: {{protocol: udp/53, origin_direct: ['udp://10.231.2.2:5353'], {header}}}}}")
    eventually(lambda: hosts.call("o", "ss", "-Hlun", "sport = :53").count("127.0.0.1") >= 1, 10)
    assert hosts.python("c", ASK_DNS, EDGE4, "53").split() == [CLIENT4] * 3, start.printed()
    assert hosts.python("c", ASK_DNS, EDGE6, "53").split() == [CLIENT6] * 3, start.printed()


def test_an_origin_elsewhere_sees_the_client(hosts, start, tmp_path):
    """`source: client` at the edge, which is the origin's gateway; rules made, verified and removed by the doctor."""
    hosts.gateway("o", 2)
    start("o", sys.executable, "-c", ECHO_PEER, "9000")
    apps = "".join(
        f"  {kind}{version}: {{protocol: {kind}/700{version}, edge_ips: ['{'0.0.0.0' if version == 4 else '::'}'], "
        f"origin_direct: ['{kind}://{'10.231.2.2' if version == 4 else '[fd00:2::2]'}:9000'], source: client}}\n"
        for kind in ("tcp", "udp")
        for version in (4, 6)
    )
    (tmp_path / "doctor.yaml").write_text("apps:\n" + apps)
    doctor = spectrum("doctor", "-c", tmp_path / "doctor.yaml")
    before = hosts.call("e", *doctor, check=False)
    assert before.count("MISSING") == 5
    assert "ip rule add fwmark 0x5350 lookup 5350 priority 5350" in before
    installed = hosts.call("e", *doctor, "--install")
    assert (installed.count("VERIFIED"), installed.count("MISSING")) == (6, 0)
    assert hosts.call("e", *doctor, "--install") == installed  # nothing twice
    edge(start, tmp_path, "apps:\n" + apps)
    for kind in ("tcp", "udp"):
        for version, host in ((4, EDGE4), (6, EDGE6)):
            told = hosts.python("c", VISIT, kind, host, f"700{version}")
            assert told.startswith("True "), (kind, version, told, start.printed())
    removed = hosts.call("e", *doctor, "--remove", check=False)
    assert removed.count("MISSING") == 5
    assert "5350" not in hosts.call("e", "ip", "rule") + hosts.call("e", "nft", "list", "ruleset")


def test_mmproxy_without_its_rules_does_not_start(hosts, start, tmp_path):
    _, process = mmproxy(start, tmp_path, "--listen", "10.231.2.2:2222", "--to", "127.0.0.1:22", "--allow", "::/0")
    assert process.wait(5) == 1
    assert "MISSING" in start.printed()
    assert "rules and routes are missing: --install creates them" in start.printed()


def test_workers_of_mmproxy_have_a_filter(hosts, start, tmp_path):
    to = ("--to", "127.0.0.1:22", "--allow", "10.0.0.0/8", "--install")
    control, _ = mmproxy(start, tmp_path, "--listen", "10.231.2.2:2222", *to)
    for worker in ask(control, "GET", "/status")["workers"]:
        status = Path(f"/proc/{worker['pid']}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
    assert json.loads(hosts.call("o", "ip", "-j", "route", "show", "table", "5350"))[0]["type"] == "local"
    # What it serves comes from its command line, a successor's too.
    assert ask(control, "POST", "/reload") == {"errors": [], "changes": [], "restart": []}
    before = ask(control, "GET", "/status")
    assert (before["config"], before["generation"]) == ("the command line", 2)
    answer = ask(control, "POST", "/upgrade", 100)
    assert answer["errors"] == []
    eventually(lambda: ask(control, "GET", "/status")["pid"] == answer["pid"], 20, start.printed)
    after = ask(control, "GET", "/status")
    assert (after["config"], [app["name"] for app in after["apps"]]) == ("the command line", ["tcp"])
    os.kill(answer["pid"], signal.SIGTERM)  # `start` knows only the one before it
    eventually(lambda: not Path(f"/proc/{answer['pid']}").exists(), 20, start.printed)
