import asyncio
import socket
import threading
import time
from collections import Counter
from itertools import pairwise

import pytest

from spectrum.probes.prober import Prober
from tests.probes.servers import closed_port, serving, silent, target


@pytest.fixture
async def make():
    made = []

    def build(descriptors=1024):
        results = []
        made.append(Prober(lambda key, result, began: results.append((key, result, began)), lambda: descriptors))
        return made[-1], results

    yield build
    for prober in made:
        await prober.stop()


async def until(condition, timeout_s=10):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_each_at_its_interval(make):
    prober, results = make()
    async with serving(silent) as port:
        began = time.monotonic()
        prober.watch({"often": target(port, type="tcp", interval=0.1), "seldom": target(port, type="tcp", interval=60)})
        await until(lambda: Counter(key for key, *_ in results)["often"] >= 10)
        took = time.monotonic() - began
        assert took > 0.8  # 90 to 100 ms each, the first one within the interval
        assert all(result.ok for _, result, _ in results)
        await until(lambda: Counter(key for key, *_ in results)["seldom"] == 1)


async def test_a_start_is_no_burst_and_probes_do_not_stay_together(make):
    prober, results = make()
    async with serving(silent) as port:
        prober.watch({n: target(port, type="tcp", interval=0.5) for n in range(200)})
        began = time.monotonic()
        await until(lambda: len(results) >= 800)
        starts = sorted(start - began for *_, start in results)
    first = [start for start in starts if start < 0.5]
    busiest = max(Counter(int(start / 0.05) for start in first).values())
    assert busiest < 60  # of 200 in ten parts of the interval
    assert {key for key, *_ in results} == set(range(200))


async def test_a_hung_probe_delays_nobody(make):
    prober, results = make()
    async with serving(silent) as port:
        hung = {("hung", n): target(port, type="http", interval=0.1, timeout=5) for n in range(50)}
        prober.watch(hung | {"fine": target(port, type="tcp", interval=0.1)})
        await until(lambda: len(results) >= 10)
    assert {key for key, *_ in results} == {"fine"}
    gaps = [later[2] - earlier[2] for earlier, later in pairwise(results)]
    assert sorted(gaps)[len(gaps) // 2] < 0.2


@pytest.mark.parametrize(("retries", "accepted", "seconds"), [(0, 1, 0.2), (2, 3, 0.6)])
async def test_a_timeout_is_tried_again_at_once(make, retries, accepted, seconds):
    prober, _ = make()
    connections = []

    async def handle(reader, writer):
        connections.append(1)
        await reader.read()

    async with serving(handle) as port:
        began = time.monotonic()
        result = await prober.probe(target(port, type="http", timeout=0.2, retries=retries))
        assert (result.ok, result.reason, result.timed_out) == (False, "no answer within 0.2 s", True)
        assert time.monotonic() - began > seconds - 0.01
    assert len(connections) == accepted


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_an_answer_counts_that_this_process_is_late_to_read(make, kind):
    """It is busy with something else longer than the timeout, again and again."""
    prober, results = make()
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer_one, args=(server, body))
        answering.start()
        prober.watch({"x": target(server.getsockname()[1], type=kind, interval=60, timeout=0.05, retries=0)})
        while not results:
            await asyncio.sleep(0)
            time.sleep(0.07)
        answering.join()
    assert results[0][1].ok, results


def _answer_one(server, body):
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(body)


async def test_a_refused_connect_is_not_retried(make):
    prober, _ = make()
    async with asyncio.timeout(10):
        result = await prober.probe(target(closed_port(), type="tcp", timeout=60, retries=9))
    assert (result.ok, result.reason) == (False, "connection refused")


@pytest.mark.parametrize(
    ("kind", "reason"), [("smtp", "greeting"), ("http", "no HTTP"), ("tcp", ""), ("icmp_ping", ""), ("udp_icmp", "")]
)
async def test_every_kind(make, kind, reason):
    prober, _ = make()

    async def handle(reader, writer):
        writer.write(b"hello\r\n\r\n")
        await reader.read()

    async with serving(handle) as port:
        result = await prober.probe(target(0 if kind == "icmp_ping" else port, type=kind, timeout=0.5))
    # Nobody listens over UDP on that port.
    expected = "port unreachable" if kind == "udp_icmp" else reason
    assert result.ok is (not expected)
    assert result.reason.startswith(expected)


async def test_watching_others(make):
    prober, results = make()
    async with serving(silent) as port:
        every = {n: target(port, type="tcp", interval=0.1) for n in range(3)}
        prober.watch(every)
        await until(lambda: len({key for key, *_ in results}) == 3)
        prober.watch({0: every[0]})
        await asyncio.sleep(0.05)
        results.clear()
        await until(lambda: len(results) > 3)
        assert {key for key, *_ in results} == {0}
        # Gone and here again: not at twice the rate.
        prober.watch({})
        prober.watch({0: every[0]})
        results.clear()
        began = time.monotonic()
        await asyncio.sleep(1)
        assert len(results) < 14 * (time.monotonic() - began)
        # A reload with another port keeps the time.
        prober.watch({0: target(closed_port(), type="tcp", interval=0.1)})
        await until(lambda: results and not results[-1][1].ok)


@pytest.mark.parametrize("piece", [b"x", b"2", b"220-x\r\n", b"220-x\r\n" * 9999, b"\0" * 65536])
@pytest.mark.parametrize("monitor", [{"type": "tcp", "expect": "never"}, {"type": "smtp"}, {"type": "https"}])
async def test_whoever_never_ends_gets_a_verdict_in_time_and_holds_nobody(make, monitor, piece):
    prober, _ = make()
    loop = asyncio.get_running_loop()

    async def endless(reader, writer):
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.0005)

    async with serving(endless) as port:
        began, longest = loop.time(), 0.0
        task = loop.create_task(prober.probe(target(port, timeout=0.3, retries=0, **monitor)))
        while not task.done():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
        assert not task.result().ok
        assert task.result().reason
        assert loop.time() - began < 1
        assert longest < 0.25


async def test_a_probe_that_fails_in_an_unforeseen_way_is_a_verdict(make, caplog):
    prober, _ = make()
    async with serving(silent) as port:
        result = await prober.probe(target(port, type="https", sni="a" * 70))  # no name for TLS
    assert not result.ok
    assert result.reason.startswith("the probe itself failed: ")
    assert f"probe of 127.0.0.1 port {port}" in caplog.text


async def test_so_many_at_once(make, caplog):
    prober, results = make(descriptors=10)
    async with serving(silent) as port:
        prober.watch({n: target(port, type="http", interval=0.2, timeout=0.3, retries=0) for n in range(20)})
        await until(lambda: len(results) > 20)
    assert "probes under way: more are left out" in caplog.text
