"""The example origin as a process, asked with every kind of header."""

import signal
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from spectrum.wire.proxy_protocol import Endpoint, Header, Transport, v2_header
from spectrum.wire.simple_proxy import HEADER_BYTES, SimpleProxyHeader
from tests.engine.harness import eventually

CLIENT, EDGE = Endpoint(ip_address("192.0.2.7"), 7), Endpoint(ip_address("192.0.2.8"), 8)


@pytest.fixture(params=[signal.SIGINT])
def port(free_port, request):
    number = free_port()
    address = f"127.0.0.1:{number}"
    process = subprocess.Popen([sys.executable, "-m", "spectrum", "origin", "--tcp", address, "--udp", address])

    def listens():
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            if tcp.connect_ex(("127.0.0.1", number)):
                return False
            try:
                udp.bind(("127.0.0.1", number))
            except OSError:
                return True
            return False

    eventually(listens, 10)
    yield number
    process.send_signal(signal.SIGUSR1)  # without a meaning here
    process.send_signal(request.param)
    assert process.wait(10) == 0


def asked(port, *pieces):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
        return answer.decode()


@pytest.mark.parametrize("port", [signal.SIGTERM, signal.SIGQUIT], indirect=True)
def test_signals_that_end_it(port):
    assert "no PROXY header came" in asked(port, b"hello")


@pytest.mark.parametrize("version", [1, 2])
def test_headers(port, version):
    answer = asked(port, Header(version, CLIENT, EDGE).serialise() + b"hello")
    first, echoed = answer.split("\n", 1)
    assert first.startswith(
        f"you are 192.0.2.7:7, told by PROXY v{version}; you wrote to 192.0.2.8:8; through 127.0.0.1:"
    )
    assert echoed == "hello"


def test_no_header(port):
    assert "no PROXY header came before you\nhello" in asked(port, b"hello")
    assert "no PROXY header came before you\n" in asked(port)


def test_a_header_that_names_nobody(port):
    assert "the PROXY v1 header named nobody" in asked(port, b"PROXY UNKNOWN\r\n")


def test_garbage_ends_the_connection(port):
    assert asked(port, b"PROXY nonsense\r\nmore") == ""


def test_datagrams(port):
    header = SimpleProxyHeader(CLIENT.address, EDGE.address, 7, 8).serialise()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        sock.send(header + b"ping")
        answer = sock.recv(2048)
        assert answer[:HEADER_BYTES] == header
        told = b"you are 192.0.2.7:7, told by Simple Proxy Protocol; you wrote to 192.0.2.8:8; through 127.0.0.1:"
        assert answer[HEADER_BYTES:].startswith(told)
        assert answer.endswith(b"\nping")
        sock.send(b"ping")
        assert b"no header came with you\nping" in sock.recv(2048)
        block = v2_header(Transport.DGRAM, CLIENT.address.packed, EDGE.address.packed, 7, 8)
        for data in (block + b"ping", b"ping"):
            sock.send(data)
            answer = sock.recv(2048)
            assert answer.startswith(b"you are 192.0.2.7:7, told by PROXY v2; you wrote to 192.0.2.8:8; through")
            assert answer.endswith(b"\nping")
