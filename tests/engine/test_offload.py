"""The UDP engine with the kernel's tables, in a network namespace: what it enters, reads back, and takes out again."""

import pytest

from spectrum.engine.offload import Offload
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

BEGIN = """
import os, socket, sys, time
from pathlib import Path
from spectrum.engine.flow_keeper import FlowOutcome, Mode
from spectrum.engine.offload import Offload
from spectrum.kernel.offload import TUPLE, WAY, load
from spectrum.kernel.offload import PinnedOffload as Tables
from tests.engine.harness import LOOPBACK, in_thread
from tests.engine.test_datagrams import Recorder, datagrams, target

filesystem = Path(sys.argv[1])
load(["lo"], 20, filesystem, by_links=len(sys.argv) < 3)
tables = Tables(filesystem)

def offload(worker=0):
    return Offload(*tables.descriptors(), worker=worker, workers=2, places=40)

def entries():
    return [WAY.unpack(value) for _, value in tables.maps["flows"].items()]

def turn(recorder, seconds=0.05):
    # The engine moves what there is; its loop's descriptor would tell when.
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        recorder.loop.process()
        time.sleep(0.001)

def exchange(recorder, client, listener, origin, data=b"x", answer=None):
    # Through the engine, or past it.
    client.sendto(data, listener.getsockname())
    turn(recorder, 0.02)
    got, peer = origin.recvfrom(2000)
    origin.sendto(got if answer is None else answer, peer)
    turn(recorder, 0.02)
    return client.recv(2000), peer

def setting(**options):
    origin, listener = datagrams(), datagrams()
    recorder = Recorder([target(origin)], **options)
    number = recorder.engine.add_listener(listener.fileno(), 0, LOOPBACK, listener.getsockname()[1])
    recorder.engine.set_app(0, 3)
    return recorder, origin, listener, number
"""

FLOWS = (
    BEGIN
    + """
recorder, origin, listener, number = setting(idle_ms=1500)
engine = recorder.engine
engine.set_offload(offload())
with datagrams() as client:
    for count in range(4):
        assert exchange(recorder, client, listener, origin)[0] == b"x"
        # The second one goes by the engine still: it confirms the flow.
        assert engine.offloaded == (count > 0), count
    assert len(entries()) == 2
    ((app, *counts),) = engine.take_counts()
    assert counts[:4] == [4, 4, 4, 4], counts
    # It is idle when the kernel has moved nothing for so long.
    for _ in range(4):
        exchange(recorder, client, listener, origin, b"yy")
        turn(recorder, 0.5)
    assert engine.active == 1 and not recorder.reports
    turn(recorder, 3.2)
    assert engine.active == engine.offloaded == 0 and entries() == []
    ((_, outcome, *_, sent, received, there, back, _, _, _, _),) = recorder.reports
    assert (outcome, sent, received, there, back) == (FlowOutcome.FLOW_IDLE, 12, 12, 8, 8)

    # What its app may move per second is counted here, and so its datagrams come here.
    for _ in range(3):
        exchange(recorder, client, listener, origin)
    assert engine.offloaded == 1
    engine.set_app(0, 3, False, (0, 0, 0, 100, 0, 0))
    assert engine.offloaded == 0 and entries() == []
    exchange(recorder, client, listener, origin)
    assert engine.offloaded == 0
    engine.set_app(0, 3)
    assert engine.offloaded == 1
    # Off, on, and at another origin: the same flow.
    engine.set_offload(None)
    assert engine.offloaded == 0 and entries() == []
    engine.set_offload(offload())
    assert engine.offloaded == 1
    with datagrams() as other:
        (name,) = engine.flows()
        engine.move(name, (target(other),))
        assert engine.offloaded == 1 and len(entries()) == 2
        assert exchange(recorder, client, listener, other)[0] == b"x"
    engine.close(name, 1)
    assert entries() == []
    ((app, *counts),) = engine.take_counts()
    assert counts[:4] == [4 * 2 + 5, 4 * 2 + 5, 4 + 5, 4 + 5], counts
print("ok")
"""
)

HEADERS = (
    BEGIN
    + """
# The header that goes first is the engine's; those that each datagram has are the kernel's, where they are even.
for mode, header, there in (
    (Mode.FIRST, b"first", 1), (Mode.STANDALONE, b"alone", 1), (Mode.EACH, b"even", 1), (Mode.EACH, b"odd", 0),
):
    recorder, origin, listener, number = setting(mode=mode, header=header)
    recorder.engine.set_offload(offload())
    with datagrams() as client:
        client.sendto(b"x", listener.getsockname())
        turn(recorder)
        got, peer = origin.recvfrom(100)
        if mode == Mode.STANDALONE:
            got += origin.recv(100)
        assert got == header + b"x"
        origin.sendto(b"y", peer)
        turn(recorder)
        client.recv(10)
        for _ in range(2):
            client.sendto(b"x", listener.getsockname())
            turn(recorder)
            assert origin.recv(100) == (header if mode == Mode.EACH else b"") + b"x"
    assert recorder.engine.offloaded == there, (mode, header)
    recorder.engine.close_flows(1)
    assert entries() == []

# Another header, and another protocol: the kernel puts what there is now.
recorder, origin, listener, number = setting(mode=Mode.EACH, header=b"even")
recorder.engine.set_offload(offload())
with datagrams() as client:
    for _ in range(2):
        exchange(recorder, client, listener, origin, answer=b"y")
    (name,) = recorder.engine.flows()
    for mode, header, there in (
        (Mode.EACH, b"same", 1), (Mode.EACH, b"odd", 0), (Mode.PLAIN, b"", 1), (Mode.FIRST, b"first", 0),
    ):
        assert recorder.engine.adapt(name, mode, header, 0) is False
        assert recorder.engine.offloaded == there, (mode, header)
        client.sendto(b"x", listener.getsockname())
        turn(recorder, 0.02)
        assert origin.recv(100) == header + b"x"
    client.sendto(b"x", listener.getsockname())
    turn(recorder, 0.02)
    assert origin.recv(100) == b"x" and recorder.engine.offloaded == 1
print("ok")
"""
)

PLACES = (
    BEGIN
    + """
# As many as there is room for; a flow that is in use is not evicted though only the kernel knows that it is.
recorder, origin, listener, number = setting(max_flows=3)
recorder.engine.set_offload(offload())
clients = [datagrams() for _ in range(4)]
for client in clients[:3]:
    for _ in range(2):
        exchange(recorder, client, listener, origin)
assert recorder.engine.offloaded == 3
time.sleep(0.2)
for client in (clients[0], clients[2]):
    exchange(recorder, client, listener, origin)
for _ in range(2):
    exchange(recorder, clients[3], listener, origin)
((_, outcome, _, _, port, *_),) = recorder.reports
assert (outcome, port) == (FlowOutcome.FLOW_EVICTED, clients[1].getsockname()[1])

# A worker that follows: it adopts one flow, and sweeps out what it does not know; those of another worker stay.
tables.set("flows", TUPLE.pack(b"a" * 16, b"b" * 16, 1, 2), WAY.pack(b"", b"", 0, 0, 45, 1, 0, 0, b""))
tables.set("flows", TUPLE.pack(b"a" * 16, b"b" * 16, 1, 3), WAY.pack(b"", b"", 0, 0, 5, 0, 0, 0, b""))
exchange(recorder, clients[0], listener, origin, b"12345")
handed = dict(recorder.engine.release())
after = Recorder([target(origin)], memory=recorder.memory, max_flows=3)
again = after.engine.add_listener(listener.fileno(), 0, LOOPBACK, listener.getsockname()[1])
offloaded = offload()
after.engine.set_offload(offloaded)
names = [name for name, *_ in after.engine.recovered()]
assert len(names) == 3
after.engine.inherit(handed)
client_of = {after.engine.client_of(name)[1]: name for name in names}
name = client_of[clients[0].getsockname()[1]]
after.engine.adopt(name, again, target(origin))
for other in set(names) - {name}:
    after.engine.discard(other)
assert (after.engine.offloaded, len(entries())) == (1, 8)
offloaded.sweep()
assert len(entries()) == 3
before = exchange(after, clients[0], listener, origin, b"123")
assert before[0] == b"123"
((app, *counts),) = after.engine.take_counts()
assert counts[:4] == [3, 3, 1, 1], counts
try:
    offload(2)
    raise SystemExit("there are two workers")
except ValueError as exc:
    assert str(exc) == "worker 2 of 2"
print("ok")
"""
)


@pytest.mark.parametrize("script", [FLOWS, HEADERS, PLACES], ids=["flows", "headers", "places"])
def test_flows(filesystem, script):
    assert isolated(script, filesystem) == "ok\n"


def test_flows_where_programs_are_classic_filters(filesystem):
    assert isolated(PLACES, filesystem, "classic") == "ok\n"


def test_invalid_tables():
    with pytest.raises(OSError, match="cannot be mapped"):
        Offload(0, 0, 0, worker=0, workers=1, places=2)
