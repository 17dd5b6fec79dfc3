"""Which clients' datagrams may be fragmented, as a packet socket on the loopback sees them."""

import socket
import time

import pytest

from spectrum.engine.fragmentable import Fragmentable
from tests.engine.harness import LOOPBACK, port_of
from tests.engine.test_datagrams import datagrams

IP_MTU_DISCOVER, FORBIDS_NOTHING, FORBIDS = 10, 0, 2


@pytest.fixture
def watch():
    made = Fragmentable()
    if not made.watch_from(1000):
        pytest.skip("needs CAP_NET_RAW")
    return made


@pytest.mark.parametrize(
    ("discovery", "size", "allowed"),
    [
        (FORBIDS_NOTHING, 1000 - 28, False),  # not longer: it is not looked for
        (FORBIDS_NOTHING, 1001 - 28, True),
        (FORBIDS_NOTHING, 9000, True),
        (FORBIDS, 1001 - 28, False),
        (FORBIDS, 9000, False),
    ],
)
def test_what_a_client_sends(watch, discovery, size, allowed):
    with datagrams() as edge, datagrams() as client, datagrams() as other:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discovery)
        client.sendto(bytes(size), edge.getsockname())
        assert watch.allows_now(LOOPBACK, port_of(client), LOOPBACK, port_of(edge)) is allowed
        assert not watch.allows_now(LOOPBACK, port_of(other), LOOPBACK, port_of(edge))
        assert not watch.allows_now(LOOPBACK, port_of(client), LOOPBACK, port_of(other))


def test_shorter_ones_are_looked_for_from_then_on(watch):
    assert (watch.watch_from(2000), watch.longest) == (True, 1000)
    assert (watch.watch_from(500), watch.longest) == (True, 500)
    with datagrams() as edge, datagrams() as client, datagrams() as other:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, FORBIDS_NOTHING)
        client.sendto(bytes(600), edge.getsockname())
        assert watch.allows_now(LOOPBACK, port_of(client), LOOPBACK, port_of(edge))
        assert not watch.allows_now(LOOPBACK, port_of(other), LOOPBACK, port_of(edge))


def test_it_rests_while_nobody_asks(watch):
    with datagrams() as edge, datagrams() as client:
        ask = LOOPBACK, port_of(client), LOOPBACK, port_of(edge)
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, FORBIDS_NOTHING)
        for after_s, rests in ((59, False), (61, True)):
            watch.rest(time.monotonic_ns() + after_s * 10**9)
            assert (watch.longest == 0) is rests
        client.sendto(bytes(1200), edge.getsockname())
        assert watch.watch_from(1000)
        assert not watch.allows_now(*ask)  # it did not look
        assert watch.longest == 1000
        client.sendto(bytes(1200), edge.getsockname())
        assert watch.allows_now(*ask)


def test_where_nobody_looks_nothing_is_forbidden():
    closed = Fragmentable()
    assert closed.longest == 0
    assert closed.allows_now(LOOPBACK, 1, LOOPBACK, 2)


def test_what_was_missed_is_not_taken_for_forbidden(watch):
    with datagrams() as edge, datagrams() as client:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, FORBIDS_NOTHING)
        for _ in range(4000):
            client.sendto(bytes(1200), edge.getsockname())
        assert watch.allows_now(LOOPBACK, 1, LOOPBACK, port_of(edge))
        assert not watch.allows_now(LOOPBACK, 1, LOOPBACK, port_of(edge))
