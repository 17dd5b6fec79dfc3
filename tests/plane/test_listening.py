"""Listeners that are not watched, with engines that are really unaware of them."""

import logging
import socket
from ipaddress import ip_address

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.engine.loop import Loop
from spectrum.plane.listening import AT_ONCE
from spectrum.plane.tcp import TcpPlane
from tests.engine.harness import unwatch
from tests.engine.test_loop import in_refused_thread
from tests.plane.parts import Parts


@pytest.fixture
def served():
    """A plane with two listeners, and their sockets by port."""
    parts = Parts()
    loop = Loop()
    plane = TcpPlane(loop, lambda count, lines, *_: None, parts.balancers)
    socks = {}
    text = "apps: {a: {protocol: tcp/5-6, edge_ips: [127.0.0.1], origin_direct: ['tcp://192.0.2.1:5-6']}}"
    snapshot = compile_snapshot(load_text(text, "x"), 1)
    for key in snapshot.listener_keys():
        assert ip_address(key.address).is_loopback
        socks[key.port] = sock = socket.create_server((key.address, 0))
        sock.setblocking(False)

    def apply():
        plane.apply(snapshot, {key: socks[key.port].fileno() for key in snapshot.listener_keys()}, {})

    yield plane, loop, socks, apply
    for sock in socks.values():
        sock.close()


def test_one_that_is_not_watched_is_mended_logged_and_counted(served, caplog):
    plane, loop, socks, apply = served
    apply()
    plane.hearing.look_at_all()
    assert (caplog.messages, plane.hearing.take_mended(), plane.hearing.deaf) == ([], 0, 0)
    unwatch(loop, socks[6])
    plane.hearing.look_on()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the listener 127.0.0.1:6 of app a was not registered in epoll" in caplog.text
    assert (plane.hearing.take_mended(), plane.hearing.take_mended()) == (1, 0)


def test_one_that_cannot_be_watched_is_reported_once_and_counted_until_it_is(served, caplog):
    plane, _, _, apply = served
    in_refused_thread(apply)
    for _ in range(3):
        in_refused_thread(plane.hearing.look_on)
    assert plane.hearing.deaf == 2
    assert len(caplog.records) == 2
    assert all("fs.epoll.max_user_watches" in message for message in caplog.messages)
    plane.hearing.look_on()
    assert plane.hearing.deaf == 0
    assert plane.hearing.take_mended() == 2
    assert AT_ONCE >= 2
