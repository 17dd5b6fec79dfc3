"""Limits on a running daemon with two workers: what is above them hears a reason, what is established goes on."""

import os
import select
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually, listening, port_of


def app(name, port, origin, more="", transport="tcp"):
    where = f"edge_ips: [127.0.0.1], origin_direct: ['{transport}://127.0.0.1:{origin}']"
    return f"  {name}: {{protocol: {transport}/{port}, {where}{more}}}\n"


@pytest.fixture
def origin():
    with listening(256) as sock:
        yield sock


def visit(stack, origin, port, source="127.0.0.1"):
    """A client's socket, connected to the origin and with proof of it; None where the client was turned away."""
    sock = stack.enter_context(socket.socket())
    sock.settimeout(5)
    sock.bind((source, 0))
    try:
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"hello")
    except ConnectionError:
        return None
    told, _, _ = select.select([sock, origin], [], [], 5)
    if origin not in told:
        assert sock in told, "neither turned away nor passed on"
        return None
    connection = stack.enter_context(origin.accept()[0])
    assert connection.recv(10) == b"hello"
    return sock, connection


def ended(daemon, name):
    return {reason: count for reason, count in daemon.app(name)["ended"].items() if count}


def test_sessions_of_an_app_and_of_a_client(tmp_path, free_port, origin):
    port, other = free_port(), free_port()
    limits = ", limits: {sessions: 6, client: {sessions: 4}}"
    text = "apps:\n" + app("x", port, port_of(origin), limits) + app("y", other, port_of(origin))
    with Daemon(tmp_path, text, workers=2) as daemon, ExitStack() as stack:
        mine = [visit(stack, origin, port) for _ in range(6)]
        assert [entry is not None for entry in mine] == [True] * 4 + [False] * 2
        theirs = [visit(stack, origin, port, "127.0.0.2") for _ in range(4)]
        assert [entry is not None for entry in theirs] == [True] * 2 + [False] * 2
        assert visit(stack, origin, other)  # no limit there
        assert ended(daemon, "x") == {"client_limit": 2, "app_limit": 2}
        for client, connection in (*mine[:4], *theirs[:2]):
            client.sendall(b"on")
            assert connection.recv(10) == b"on"
        # One that ends makes room.
        mine[0][0].close()
        mine[0][1].close()
        eventually(lambda: ended(daemon, "x").get("client_closed") == 1)
        assert visit(stack, origin, port, "127.0.0.2")
        # A killed worker's sessions are not counted any more.
        before = daemon.worker_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(set(daemon.worker_pids()) - set(before)) == 2, 10)
        assert [visit(stack, origin, port) is not None for _ in range(5)] == [True] * 4 + [False]


def test_new_ones_per_second_on_the_node(tmp_path, free_port, origin):
    port = free_port()
    text = "limits: {client: {new_per_second: 5}}\napps:\n" + app("x", port, port_of(origin))
    with Daemon(tmp_path, text, workers=2) as daemon, ExitStack() as stack:
        for _ in range(30):
            client = stack.enter_context(socket.socket())
            with suppress(ConnectionResetError):  # it may come before connect returns
                client.connect(("127.0.0.1", port))
        eventually(lambda: ended(daemon, "x").get("client_rate", 0) >= 20)
        # A reload changes limits for those that come.
        daemon.write("apps:\n" + app("x", port, port_of(origin)))
        assert daemon.reload() == []
        before = ended(daemon, "x").get("client_rate", 0)
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        eventually(lambda: daemon.app("x")["sessions_started"] >= 40)
        assert ended(daemon, "x").get("client_rate", 0) == before


def test_flows_of_a_udp_app(tmp_path, free_port):
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        limits = ", limits: {flows: 3}, timeouts: {idle: 2s}"
        text = "apps:\n" + app("x", port, port_of(server), limits, "udp")
        with Daemon(tmp_path, text, workers=2) as daemon:
            clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(5)]
            for client in clients:
                client.connect(("127.0.0.1", port))
                client.send(b"x")
                if client in clients[:3]:
                    assert server.recv(10) == b"x"
            eventually(lambda: ended(daemon, "x") == {"app_limit": 2})
            # When those were idle, the others have room.
            eventually(lambda: ended(daemon, "x").get("idle_timeout") == 3, 10)
            clients[4].send(b"y")
            assert server.recv(10) == b"y"


def test_sessions_of_a_prefix(tmp_path, free_port, origin):
    port = free_port()
    limits = ", limits: {client: {sessions: 3}, prefix: {sessions: 4}}"
    with (
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin), limits), workers=2) as daemon,
        ExitStack() as stack,
    ):
        sources = ["127.0.0.1"] * 4 + ["127.0.0.2"] * 2 + ["127.0.1.1"] * 2
        passed = [visit(stack, origin, port, source) is not None for source in sources]
        assert passed == [True, True, True, False, True, False, True, True]
        assert ended(daemon, "x") == {"client_limit": 1, "prefix_limit": 1}


def test_bytes_per_second_of_a_client(tmp_path, free_port, origin):
    port = free_port()
    limits = ", limits: {client: {bytes_per_second: 500kB}}"
    with (
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin), limits), workers=2) as daemon,
        ExitStack() as stack,
    ):
        client, connection = visit(stack, origin, port)
        connection.settimeout(20)
        data = os.urandom(1_000_000)
        began = time.monotonic()
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        received = b""
        while len(received) < len(data):
            received += connection.recv(65536)
        sender.join()
        assert received == data
        assert 1.5 < time.monotonic() - began < 10
        # A reload lifts it for those that come.
        daemon.write("apps:\n" + app("x", port, port_of(origin)))
        assert daemon.reload() == []
        client, connection = visit(stack, origin, port)
        connection.settimeout(20)
        client.sendall(data[:200_000])
        received = b""
        while len(received) < 200_000:
            received += connection.recv(65536)
        assert received == data[:200_000]


def test_new_ones_that_wait_for_their_turn(tmp_path, free_port, origin):
    port = free_port()
    limits = ", limits: {new_per_second: 10, action: delay}"
    with (
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin), limits), workers=1) as daemon,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(25)]
        began = time.monotonic()
        origin.settimeout(5)
        for _ in clients:
            stack.enter_context(origin.accept()[0])
        # Ten at once, and fifteen more at ten per second.
        assert 1 < time.monotonic() - began < 4
        assert ended(daemon, "x") == {}
