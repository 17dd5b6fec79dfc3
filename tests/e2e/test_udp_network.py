"""UDP where addresses, path lengths and floods matter: hosts with several addresses, a short path, forged clients."""

import json
import os
import socket
import subprocess
import time

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.namespace import EDGE, Namespace, ip
from tests.e2e.test_udp import app, echo_once
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import datagrams

ASK = """
import json, socket, sys
answers = []
for address in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(b"hello", (address, int(sys.argv[2])))
        answers.append(sock.recvfrom(1000)[1][0])
print(json.dumps(answers))
"""


def answerer(origin):
    """Answer whatever comes; for a thread of the test."""
    while True:
        try:
            data, peer = origin.recvfrom(65536)
        except OSError:
            return
        origin.sendto(data, peer)


@pytest.fixture
def echo():
    """An origin that echoes, in a process of its own."""
    sock = datagrams(timeout_s=None)
    pid = os.fork()
    if pid == 0:
        answerer(sock)
        os._exit(0)
    yield port_of(sock)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    sock.close()


@pytest.mark.parametrize("edge_ips", ["", "edge_ips: ['0.0.0.0', '::'], "], ids=["one socket", "a socket per family"])
def test_replies_leave_from_the_address_that_was_written_to(namespace, tmp_path, free_port, echo, edge_ips):
    """Two IPv4 and two IPv6 addresses on one cable; without PKTINFO the kernel would answer from the first."""
    port = free_port()
    addresses = [EDGE, "10.231.77.3", "fd77::1", "fd77::3"]
    ip("address", "add", "10.231.77.3/24", "dev", namespace.near)
    for address in addresses[2:]:
        ip("address", "add", f"{address}/64", "dev", namespace.near, "nodad")
    ip("-n", namespace.name, "address", "add", "fd77::2/64", "dev", "far", "nodad")
    text = f"apps:\n  x: {{protocol: udp/{port}, {edge_ips}origin_direct: [udp://127.0.0.1:{echo}]}}\n"
    with Daemon(tmp_path, text) as daemon:
        done = namespace.call(ASK, json.dumps(addresses), str(port))
        assert json.loads(done) == addresses
        assert daemon.app("x")["sessions"] == 4


TOO_LONG = """
import errno, json, socket, sys, time
host, port, largest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ipv6 = ":" in host
with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    # Never fragments, as a QUIC client would: IPV6_MTU_DISCOVER or IP_MTU_DISCOVER, PMTUDISC_DO.
    sock.setsockopt(socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP, 23 if ipv6 else 10, 2)
    sock.settimeout(5)
    sock.connect((host, port))
    sock.send(bytes(largest))
    echoed = len(sock.recv(65536))
    told = None
    for _ in range(50):
        try:
            sock.send(bytes(largest + 1))
        except OSError as exc:
            told = exc.errno
        time.sleep(0.02)
    mtu = sock.getsockopt(socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP, 24 if ipv6 else 14)
    while True:
        try:  # one more answer may be pending, and is the next call's error
            sock.send(bytes(largest))
            again = len(sock.recv(65536))
            break
        except OSError as exc:
            assert exc.errno == errno.EMSGSIZE
print(json.dumps([echoed, errno.errorcode.get(told), mtu, again]))
"""

ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.bind((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(data, peer)
"""


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_too_big_datagrams_are_counted_and_answered_by_icmp(namespace, tmp_path, free_port, ipv6):
    """The way to the origin takes 1400 bytes; the Simple Proxy header takes 38 of them, and no fragment is made."""
    port, origin_port = free_port(), free_port()
    behind = Namespace(f"spu{os.getpid() % 100000}", number=78)
    try:
        edge, origin = (EDGE, behind.far) if not ipv6 else ("fd77::1", "fd78::2")
        if ipv6:
            for where, device, address in (
                ([], namespace.near, "fd77::1"),
                (["-n", namespace.name], "far", "fd77::2"),
                ([], behind.near, "fd78::1"),
                (["-n", behind.name], "far", "fd78::2"),
            ):
                ip(*where, "address", "add", f"{address}/64", "dev", device, "nodad")
        ip("link", "set", behind.near, "mtu", 1400)
        ip("-n", behind.name, "link", "set", "far", "mtu", 1400)
        server = behind.run(ECHO, origin, str(origin_port))
        assert server.stdout.readline() == b"ready\n"
        host = f"[{origin}]" if ipv6 else origin
        text = (
            f"apps:\n  x:\n    protocol: udp/{port}\n    edge_ips: ['{edge}']\n    proxy_protocol: simple\n"
            f"    origin_direct: ['udp://{host}:{origin_port}']\n"
        )
        largest = 1400 - (48 if ipv6 else 28) - 38
        with Daemon(tmp_path, text) as daemon:
            done = namespace.call(TOO_LONG, edge, str(port), str(largest))
            # The client's kernel knows the path's length from the ICMP answer.
            assert json.loads(done) == [largest, "EMSGSIZE", 1400 - 38, largest]
            dropped = daemon.app("x")["datagrams_dropped"]
            assert dropped["too_big"] >= 1
            assert set(dropped) <= {"too_big"}
        server.kill()
        server.communicate()
    finally:
        behind.close()


def _seen(status):
    """Return the datagrams of clients that were forwarded or are counted as dropped."""
    return status["datagrams_from_client"] + sum(status["datagrams_dropped"].values())


def test_a_flood_of_new_flows_costs_established_ones_nothing(tmp_path, free_port, echo):
    """10,000 clients, each with one datagram, against a table of 500; one that is really there goes on all the time."""
    port = free_port()
    with datagrams() as origin:
        text = "max_flows: 500\napps:\n" + app("flooded", port, port_of(origin))
        with Daemon(tmp_path, text) as daemon, datagrams() as client:
            for _ in range(2):
                before = echo_once(origin, client, port, b"x")
            asked = 0
            for number in range(10_000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"flood", ("127.0.0.1", port))
                if number % 100 == 0:
                    client.sendto(b"still %d" % number, ("127.0.0.1", port))
                    while (received := origin.recvfrom(100))[0] == b"flood":
                        pass
                    assert received == (b"still %d" % number, before)
                    origin.sendto(received[0], before)
                    assert client.recv(100) == received[0]
                    asked += 1
            assert asked == 100
            eventually(lambda: _seen(daemon.app("flooded")) == 10_000 + 100 + 2)
            status = daemon.app("flooded")
            assert status["sessions"] <= 500
            assert status["sessions_started"] > 9_000
            assert status["ended"]["evicted"] >= status["sessions_started"] - 500


def test_descriptors_bound_flows_but_not_shared_ones(tmp_path, free_port):
    """A process with few descriptors: flows with sockets of their own make room, shared ones do not need to."""
    plain, shared = free_port(), free_port()
    with datagrams() as origin:
        text = (
            "apps:\n"
            + app("plain", plain, port_of(origin))
            + app("shared", shared, port_of(origin), more=", proxy_protocol: simple, origin_socket: shared")
        )
        with Daemon(tmp_path, text) as daemon:
            for pid in daemon.worker_pids():
                subprocess.run(["prlimit", "--pid", str(pid), "--nofile=300:300"], check=True)
            daemon.reload()
            for port in (plain, shared):
                for _ in range(1000):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                        sock.sendto(b"x", ("127.0.0.1", port))
                    time.sleep(0.0002)
            # Some of the thousand sockets got a source port that an earlier one had.
            eventually(lambda: daemon.app("shared")["datagrams_from_client"] == 1000, 5, daemon.status)
            assert daemon.app("shared")["sessions"] > 800
            assert daemon.app("shared")["ended"] == {}
            assert 50 <= daemon.app("plain")["sessions"] < 300
            assert daemon.app("plain")["ended"]["evicted"] > 500
