import asyncio
import os
import socket
from pathlib import Path

import pytest

from spectrum.probes import ping
from spectrum.probes.ping import Pinger
from spectrum.probes.target import ProbeFailure
from tests.probes.servers import target


@pytest.fixture
async def pinger():
    made = Pinger()
    yield made
    made.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.77", "::1"])
async def test_this_machine_answers(pinger, address):
    results = await asyncio.gather(*(pinger.probe(target(address=address, type="icmp_ping")) for _ in range(50)))
    assert all(result.ok and 0 < result.rtt_s < 1 for result in results)


async def test_somebody_who_does_not(pinger):
    with pytest.raises((TimeoutError, OSError)):  # dropped, or no route to documentation's addresses
        await asyncio.wait_for(pinger.probe(target(address="203.0.113.99", type="icmp_ping")), 0.2)
    assert pinger._waiting == {}


async def test_an_unprivileged_socket_is_enough(pinger, monkeypatch):
    """Where net.ipv4.ping_group_range allows it; here raw sockets are taken away."""
    real = socket.socket

    def without_raw(family=socket.AF_INET, kind=socket.SOCK_STREAM, *more):
        if kind == socket.SOCK_RAW:
            raise PermissionError(1, "no")
        return real(family, kind, *more)

    monkeypatch.setattr(ping.socket, "socket", without_raw)
    low, high = map(int, Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    if low <= os.getegid() <= high:
        assert (await pinger.probe(target(type="icmp_ping"))).ok
    else:
        with pytest.raises(ProbeFailure, match="CAP_NET_RAW"):
            await pinger.probe(target(type="icmp_ping"))


async def test_other_messages_are_skipped(pinger):
    """Another program's pings reach a raw socket too."""
    other = Pinger()
    first = asyncio.create_task(pinger.probe(target(type="icmp_ping")))  # noqa: TID251
    assert (await other.probe(target(type="icmp_ping"))).ok
    assert (await first).ok
    other.close()


async def test_a_flood_of_replies_leaves_the_loop_to_others(pinger):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        sock.bind(("127.0.0.1", 0))
        for _ in range(ping.READS_AT_ONCE + 10):
            peer.sendto(b"no reply", sock.getsockname())
        pinger._read(sock)
        assert len([sock.recv(100) for _ in range(10)]) == 10
        with pytest.raises(BlockingIOError):
            sock.recv(100)
