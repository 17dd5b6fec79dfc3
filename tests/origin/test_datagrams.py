"""The datagram helpers over real sockets, and the memory of headers by the clock."""

import asyncio
import socket
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.origin import ProxiedDatagrams
from spectrum.origin.datagrams import HeaderCache
from spectrum.wire import Endpoint, Transport, simple_proxy
from spectrum.wire.proxy_protocol import Command, v2_block, v2_header

CLIENT, EDGE = Endpoint(ip_address("192.0.2.7"), 7), Endpoint(ip_address("2001:db8::8"), 8)
SIMPLE = simple_proxy.pack(CLIENT.address.packed, EDGE.address.packed, 7, 8)
V4 = Endpoint(ip_address("192.0.2.8"), 8)
V2 = v2_header(Transport.DGRAM, CLIENT.address.packed, V4.address.packed, 7, 8)


async def exchange(datagrams, **options):
    """Send datagrams from one socket; return what the origin took, what came back, and how many it dropped."""
    loop = asyncio.get_running_loop()
    taken = []

    def answer(data, client):
        taken.append((data, client.source, client.destination))
        client.send(b"re:" + data)

    transport, protocol = await loop.create_datagram_endpoint(
        lambda: ProxiedDatagrams(answer, **options), local_addr=("127.0.0.1", 0)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(transport.get_extra_info("sockname"))
        sock.setblocking(False)
        for data in datagrams:
            sock.send(data)
        # A header of its own is neither taken nor dropped.
        expected = len([data for data in datagrams if data != V2])
        async with asyncio.timeout(5):
            while len(taken) + protocol.dropped < expected:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        replies = []
        try:
            while True:
                replies.append(sock.recv(1000))
        except BlockingIOError:
            pass
    transport.close()
    return taken, replies, protocol.dropped


async def test_simple():
    taken, replies, dropped = await exchange([SIMPLE + b"one", b"bare", SIMPLE])
    assert taken == [(b"one", CLIENT, EDGE), (b"", CLIENT, EDGE)]
    assert replies == [SIMPLE + b"re:one", SIMPLE + b"re:"]
    assert dropped == 1


@pytest.mark.parametrize(
    "dialect",
    [[V2 + b"one", b"two"], [V2, b"one", b"two"], [V2 + b"one", V2 + b"two"]],
    ids=["first", "standalone", "each"],
)
async def test_v2_in_every_dialect(dialect):
    taken, replies, dropped = await exchange(dialect, header="v2")
    assert taken == [(b"one", CLIENT, V4), (b"two", CLIENT, V4)]
    assert replies == [b"re:one", b"re:two"]
    assert dropped == 0


async def test_v2_without_a_header_or_with_a_broken_one():
    broken = [b"bare", V2[:20], V2[:12] + b"\xff" * 20]
    taken, _, dropped = await exchange(broken, header="v2")
    assert (taken, dropped) == ([], 3)


async def test_a_header_that_names_nobody():
    local = v2_block(Command.LOCAL, 0, b"")
    assert (await exchange([local + b"probe"], header="v2"))[0] == [(b"probe", None, None)]


@pytest.mark.parametrize(("network", "count"), [("127.0.0.0/8", 1), ("::ffff:127.0.0.0/104", 1), ("192.0.2.0/24", 0)])
async def test_only_who_is_trusted_is_believed(network, count):
    taken, _, dropped = await exchange([SIMPLE + b"x"], trusted=[ip_network(network)])
    assert (len(taken), dropped) == (count, 1 - count)


def test_quiet_flows_are_forgotten():
    cache = HeaderCache(max_flows=2, idle_s=60)
    one, two, three = (("127.0.0.1", port) for port in (1, 2, 3))
    cache.remember(one, CLIENT, EDGE, 0)
    assert cache.recall(one, 60) == (CLIENT, EDGE)
    assert cache.recall(one, 119) == (CLIENT, EDGE)  # each datagram keeps it
    assert cache.recall(one, 180) is None
    cache.remember(two, CLIENT, EDGE, 181)
    cache.remember(one, CLIENT, EDGE, 182)
    cache.remember(three, CLIENT, EDGE, 183)
    assert cache.recall(two, 183) is None
    assert cache.recall(one, 183) == cache.recall(three, 183) == (CLIENT, EDGE)


@given(st.binary(max_size=200), st.sampled_from(["simple", "v2"]))
def test_garbage_is_dropped_or_taken_but_raises_nothing(data, header):
    protocol = ProxiedDatagrams(lambda *_: None, header=header)
    protocol._transport = None
    protocol._loop = type("Loop", (), {"time": lambda self: 0.0})()
    protocol.datagram_received(data, ("127.0.0.1", 1))
