import asyncio
import socket

import pytest

from spectrum.probes import udp
from spectrum.probes.ping import Pinger
from spectrum.probes.target import ProbeFailure
from spectrum.wire import simple_proxy
from tests.probes.servers import target


@pytest.fixture
async def pinger():
    made = Pinger()
    yield made
    made.close()


def bound(address="127.0.0.1"):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_silence_is_health(pinger, address):
    with bound(address) as sock:
        result = await udp.probe(target(sock.getsockname()[1], address, type="udp_icmp", timeout=0.3), pinger)
        assert result.ok
        assert [sock.recv(100) for _ in range(udp.DATAGRAMS)] == [b""] * udp.DATAGRAMS
        with pytest.raises(BlockingIOError):
            sock.recv(100)


async def test_an_answer_is_health_at_once(pinger):
    with bound() as sock:
        loop, heard = asyncio.get_running_loop(), []

        def answer():
            data, sender = sock.recvfrom(100)
            heard.append(data)
            sock.sendto(data, sender)

        loop.add_reader(sock.fileno(), answer)
        assert (await udp.probe(target(sock.getsockname()[1], type="udp_icmp", timeout=60, send="hi"), pinger)).ok
        assert heard == [b"hi"]
        loop.remove_reader(sock.fileno())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_no_listener(pinger, address):
    with bound(address) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ProbeFailure, match="port unreachable"):
        await udp.probe(target(port, address, type="udp_icmp", timeout=5), pinger)


async def test_the_host_does_not_answer(pinger):
    with pytest.raises((TimeoutError, OSError)):
        await asyncio.wait_for(udp.probe(target(53, "203.0.113.99", type="udp_icmp"), pinger), 0.2)


@pytest.mark.parametrize("header", ["simple", "v2"])
async def test_the_apps_header_comes_first(pinger, header):
    with bound() as sock:
        probed = target(sock.getsockname()[1], type="udp_icmp", timeout=0.2, header=header, send="hi")
        await udp.probe(probed, pinger)
        heard = sock.recv(100)
    assert heard.endswith(b"hi")
    if header == "simple":
        assert str(simple_proxy.parse(heard).client_address) == "127.0.0.1"
    else:
        assert heard.startswith(b"\r\n\r\n\0\r\nQUIT\n\x20")
