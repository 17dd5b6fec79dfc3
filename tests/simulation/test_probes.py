import asyncio
import json
import socket

import msgspec
import pytest

from spectrum.simulation import probes as module
from spectrum.simulation.echo import serve
from spectrum.simulation.probes import ESTABLISHED, ProbePlan, Probes, main, percentile
from tests.engine.harness import closed_port

HOST = "127.0.0.1"


@pytest.fixture
async def port():
    found = closed_port()
    serving = asyncio.get_running_loop().create_task(serve([f"tcp/{found}", f"udp/{found}"]))
    await asyncio.sleep(0.05)
    yield found
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_what_all_comes_back(port, transport, capsys):
    plan = ProbePlan(transport, HOST, port, [HOST], 0.6)
    await main(msgspec.json.encode(plan).decode())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = lines[-1]
    assert len(lines) >= 2
    assert last["answered"] == last["sent"] > ESTABLISHED and last["opened"] >= 5
    assert last["broken"] == last["failed"] == 0
    assert sum(len(line["trips_s"]) for line in lines) == last["answered"]
    assert sum(len(line["opening_s"]) for line in lines) == last["opened"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_what_does_not_come_back_is_lost(transport, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "OPENING_TIMEOUT_S", 0.2)

    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:  # it takes connections and bytes, and says nothing
        sock.bind((HOST, 0))
        if transport == "tcp":
            sock.listen(256)
        probes = Probes(ProbePlan(transport, HOST, sock.getsockname()[1], [], 0.3))
        await probes.run()
    assert probes.probed.answered == probes.probed.opened == 0
    assert probes.probed.sent >= ESTABLISHED and probes.probed.failed >= 3
    assert probes.probed.broken >= ESTABLISHED if transport == "tcp" else probes.probed.broken == 0  # flows go on


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_where_nobody_listens(transport, monkeypatch):
    probes = Probes(ProbePlan(transport, HOST, closed_port(), [], 0.1))
    monkeypatch.setattr(module, "OPENING_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
    await probes.run()
    assert probes.probed.opened == 0 and probes.probed.failed >= 1


def test_percentiles():
    assert percentile([], 0.99) == 0
    assert percentile([3, 1, 2], 0.5) == 2 and percentile(range(100), 0.99) == 99
