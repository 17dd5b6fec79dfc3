"""Peers that vanish, in a network namespace of our own: a veth pair whose far end goes down without a word."""

import time

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.namespace import EDGE, FAR
from tests.engine.harness import eventually, port_of
from tests.engine.harness import listening as listen

NOBODY = "10.231.77.9"
QUICK = "keepalive: {idle: 1s, interval: 1s, count: 2}"
# The kernel reports either, depending on whether the neighbour's entry outlives the timer.
GONE = {"client_timeout", "client_unreachable"}


CLIENT = """
import socket, sys
sock = socket.create_connection((%r, %d), 10)
sock.sendall(b"hello")
print(sock.recv(5).decode(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("streaming", [False, True], ids=["keepalive", "user timeout"])
def test_a_client_that_vanished_is_found(namespace, tmp_path, free_port, streaming):
    port = free_port()
    with listen() as origin:
        body = f"protocol: tcp/{port}, edge_ips: [{EDGE}], origin_direct: [tcp://127.0.0.1:{port_of(origin)}], {QUICK}"
        with Daemon(tmp_path, f"apps: {{x: {{{body}}}}}") as daemon:
            client = namespace.run(CLIENT % (EDGE, port))
            connection, _ = origin.accept()
            with connection:
                connection.settimeout(5)
                assert connection.recv(5) == b"hello"
                connection.sendall(b"hello")
                assert client.stdout.readline() == b"hello\n"
                time.sleep(1.5)
                namespace.unplug()
                began = time.monotonic()
                if streaming:
                    connection.sendall(b"are you there?")
                (event,) = daemon.wait_for_events(1, 20)
                assert event["Reason"] in GONE
                assert time.monotonic() - began < 10
                with pytest.raises(ConnectionResetError):  # and the origin knows that it was no normal end
                    connection.recv(1)
            client.kill()
            client.communicate()


def test_an_origin_that_does_not_answer(namespace, tmp_path, free_port):
    port = free_port()
    body = f"protocol: tcp/{port}, edge_ips: [{EDGE}], origin_direct: [tcp://{NOBODY}:22], timeouts: {{connect: 300ms}}"
    with Daemon(tmp_path, f"apps: {{x: {{{body}}}}}") as daemon:
        began = time.monotonic()
        client = namespace.run(CLIENT % (EDGE, port))
        (event,) = daemon.wait_for_events(1)
        assert (event["Status"], event["Reason"], event["Event"]) == (522, "connect_timeout", "originError")
        assert time.monotonic() - began < 5
        client.communicate()
        assert client.returncode != 0
        eventually(lambda: daemon.app("x")["origins"][0]["failed"] == 1)


def test_the_client_is_told_to_the_origin_across_the_cable(namespace, tmp_path, free_port):
    """A wildcard listener: the header has the address that the client wrote to, not 0.0.0.0 or 127.0.0.1."""
    port = free_port()
    with listen() as origin:
        body = f"protocol: tcp/{port}, origin_direct: [tcp://127.0.0.1:{port_of(origin)}], proxy_protocol: v1"
        with Daemon(tmp_path, f"apps: {{x: {{{body}}}}}"):
            client = namespace.run(CLIENT % (EDGE, port))
            connection, _ = origin.accept()
            with connection:
                connection.settimeout(5)
                line = connection.recv(200)
                assert line.startswith(f"PROXY TCP4 {FAR} {EDGE} ".encode())
                assert line.split(b"\r\n")[0].endswith(f" {port}".encode())
            client.kill()
            client.communicate()
