"""What apps and clients move per second: TCP is paced, without a byte lost; of UDP the rest is dropped and counted."""

import hashlib
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from spectrum.engine.census import Census, Rates
from spectrum.engine.target import Target
from tests.engine import test_datagrams as udp
from tests.engine.harness import (
    LOOPBACK,
    Recorder,
    add,
    eventually,
    listening,
    port_of,
)

RATE = 400_000


@pytest.fixture
def origin():
    with listening() as sock:
        yield sock


def paced(origin, **rates):
    recorder = Recorder([Target(LOOPBACK, port_of(origin), "127.0.0.1")])
    recorder.relay.set_app(0, 7, 0, 0, *(rates.get(of, 0) for of in ("app", "client", "prefix")))
    recorder.listen = lambda: listen(recorder)
    return recorder


@contextmanager
def listen(recorder):
    with listening() as edge:
        add(recorder, edge)
        yield edge


def send(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def read_all(sock):
    digest = hashlib.sha256()
    while data := sock.recv(65536):
        digest.update(data)
    return digest.digest()


def transfer(pairs, data):
    """Send the data from each of the first to each of the second; return how long all of it took."""
    began = time.monotonic()
    threads = [threading.Thread(target=send, args=(sender, data)) for sender, _ in pairs]
    for thread in threads:
        thread.start()
    for _, receiver in pairs:
        assert read_all(receiver) == hashlib.sha256(data).digest()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def sessions(edge, origin, count, sources=("127.0.0.1",)):
    made = []
    for number in range(count):
        client = socket.socket()
        client.settimeout(20)
        client.bind((sources[number % len(sources)], 0))
        client.connect(edge.getsockname())
        connection = origin.accept()[0]
        connection.settimeout(20)
        made.append((client, connection))
    return made


def close(pairs):
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.mark.parametrize("upload", [True, False])
@pytest.mark.parametrize("of", ["app", "client", "prefix"])
def test_tcp_keeps_the_rate_and_loses_nothing(origin, of, upload):
    recorder = paced(origin, **{of: RATE})
    with recorder.listen() as edge, recorder.running():
        pairs = sessions(edge, origin, 2)
        data = os.urandom(RATE // 2)
        # Both together have the rate: half of it each takes about a second.
        took = transfer(pairs if upload else [pair[::-1] for pair in pairs], data)
        assert 0.6 < took < 6, took
        close(pairs)
        eventually(lambda: len(recorder.reports) == 2)


def test_each_client_has_its_own_and_each_way_too(origin):
    recorder = paced(origin, client=RATE)
    with recorder.listen() as edge, recorder.running():
        pairs = sessions(edge, origin, 4, ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"])
        data = os.urandom(RATE)
        took = transfer([*pairs[:2], *(pair[::-1] for pair in pairs)], data)
        assert 0.6 < took < 6, took  # six together with one rate would take six seconds
        close(pairs)


def test_a_pause_does_not_hide_a_reset_or_outlive_its_session(origin):
    recorder = paced(origin, app=2_000)
    with recorder.listen() as edge, recorder.running():
        (pair,) = sessions(edge, origin, 1)
        pair[0].sendall(bytes(100_000))
        eventually(lambda: pair[1].recv(100, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        pair[0].close()
        eventually(lambda: recorder.reports)
        pair[1].close()


def test_without_a_rate_nothing_waits(origin):
    recorder = paced(origin)
    with recorder.listen() as edge, recorder.running():
        pairs = sessions(edge, origin, 1)
        assert transfer(pairs, os.urandom(20_000_000)) < 10
        close(pairs)


@pytest.fixture
def echo():
    with udp.datagrams() as sock:
        yield sock


def flood(recorder, origin, count, size=100, sources=("127.0.0.1",)):
    """Send datagrams at once; return how many arrived, and the drops."""
    origin.settimeout(0.5)
    with recorder.listen() as edge, recorder.running():
        for source in sources:
            with udp.datagrams(source) as client:
                for _ in range(count):
                    udp.ask(client, edge, bytes(size))
        arrived = 0
        while True:
            try:
                arrived += bool(origin.recv(2000))
            except TimeoutError:
                break
        return arrived, recorder.drops()


@pytest.mark.parametrize(
    ("paces", "sources", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), ["127.0.0.1", "127.0.0.2"], 200),
        ((0, 0, 0, 20, 0, 0), ["127.0.0.1", "127.0.0.2"], 20),  # of the app
        ((0, 0, 0, 0, 20, 0), ["127.0.0.1", "127.0.0.2"], 40),  # of each client
        ((2000, 0, 0, 0, 0, 0), ["127.0.0.1"], 20),  # by bytes
        ((0, 2000, 0, 0, 0, 0), ["127.0.0.1", "127.0.0.2"], 40),
        ((0, 0, 0, 0, 0, 20), ["127.0.0.1", "127.0.0.2", "127.0.1.1"], 40),  # of each prefix
        ((0, 0, 2000, 0, 0, 0), ["127.0.0.1", "127.0.0.2", "127.0.1.1"], 40),
    ],
)
def test_udp_drops_and_counts_what_is_too_much(echo, paces, sources, expected):
    recorder = udp.Recorder([udp.target(echo)])
    recorder.engine.set_app(0, 7, False, paces)
    arrived, drops = flood(recorder, echo, 100, sources=sources)
    # A second's worth at once, and what the time that it takes adds.
    assert expected <= arrived <= expected * 1.5
    assert drops.get("rate", 0) == 100 * len(sources) - arrived


def test_replies_have_a_rate_of_their_own(echo):
    recorder = udp.Recorder([udp.target(echo)])
    recorder.engine.set_app(0, 7, False, (3000, 0, 0, 0, 0, 0))
    with recorder.listen() as edge, recorder.running(), udp.datagrams() as client:
        udp.ask(client, edge, bytes(100))
        _, peer = echo.recvfrom(1000)
        for _ in range(100):
            echo.sendto(bytes(100), peer)
        dropped = []  # each look tells of those since the one before
        eventually(lambda: dropped.append(recorder.drops().get("rate", 0)) or sum(dropped) > 50)


def test_workers_share_a_rate():
    memory = os.memfd_create("rates")
    os.ftruncate(memory, Rates.bytes_size())
    one, two = Rates(memory), Rates(memory)
    now = 10**12
    allowed = 0
    for _ in range(20):
        for rates in (one, two):
            if not rates.wait_ns(5, 10, now):
                rates.charge(5, 10, now)
                allowed += 1
    assert allowed == 10
    assert Census().key_of(1, LOOPBACK) != Census().key_of(2, LOOPBACK)
    os.close(memory)
