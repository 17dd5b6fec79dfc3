"""Flows of the UDP engine: idle, evicted, pinned, bounded, recovered by another worker."""

import ctypes
import errno
import gc
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from spectrum.engine.flow_keeper import FlowOutcome, Mode
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.kernel.privileges import CAP_NET_ADMIN
from spectrum.kernel.sockets import SO_RCVBUFFORCE
from spectrum.wire import simple_proxy
from tests.engine.harness import (
    LOOPBACK,
    MemoryFile,
    eventually,
    port_of,
)
from tests.engine.test_datagrams import Recorder, ask, datagrams, origin, target

__all__ = ["origin"]


def test_idle_flows_end(origin):
    recorder = Recorder([target(origin)], idle_ms=300)
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"12345")
        origin.sendto(b"123", origin.recvfrom(100)[1])
        eventually(lambda: recorder.reports)
        report = recorder.reports[0]
        assert report[:5] == (0, FlowOutcome.FLOW_IDLE, 0, LOOPBACK, port_of(client))
        assert report[5].port == port_of(origin)
        assert report[6] <= report[7] <= report[8]
        assert report[9:13] == (5, 3, 1, 1)
        assert recorder.engine.sockets == 0
        ask(client, edge, b"again")
        assert origin.recvfrom(100)[0] == b"again"


def test_the_longest_idle_flow_makes_room(origin):
    recorder = Recorder([target(origin)], max_flows=4)
    clients = [datagrams() for _ in range(6)]
    with recorder.listen() as edge, recorder.running():
        for client in clients:
            ask(client, edge, b"x")
            origin.recvfrom(100)
            time.sleep(0.11)
        eventually(lambda: len(recorder.reports) == 2)
        assert [(r[1], r[4]) for r in recorder.reports] == [
            (FlowOutcome.FLOW_EVICTED, port_of(client)) for client in clients[:2]
        ]
        assert (recorder.engine.active, recorder.engine.evicted) == (4, 2)
    for client in clients:
        client.close()


def test_a_flood_of_new_flows_evicts_no_confirmed_one(origin):
    recorder = Recorder([target(origin)], max_flows=256)
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        for _ in range(2):  # a client that goes on after a reply is really there
            ask(client, edge, b"here")
            peer = origin.recvfrom(100)[1]
            origin.sendto(b"yes", peer)
            assert client.recv(100) == b"yes"
        time.sleep(0.2)
        flood = [datagrams() for _ in range(1000)]
        for sock in flood:
            ask(sock, edge, b"flood")
        for sock in flood:
            sock.close()
        eventually(lambda: len(recorder.flows) >= 900)
        assert recorder.engine.active <= 256
        ask(client, edge, b"still here")
        while (got := origin.recvfrom(100))[0] == b"flood":
            pass
        assert got == (b"still here", peer)


def test_tables_smaller_than_a_batch(origin):
    recorder = Recorder([target(origin)], max_flows=3)
    clients = [datagrams() for _ in range(20)]
    with recorder.listen() as edge:
        for client in clients:
            ask(client, edge, b"x")
        with recorder.running():
            eventually(lambda: recorder.engine.active == 3)
        assert recorder.drops() == {"no_flow": 17}
    for client in clients:
        client.close()


def test_descriptors_are_bounded(origin):
    recorder = Recorder([target(origin)], max_sockets=5)
    clients = [datagrams() for _ in range(20)]
    with recorder.listen() as edge, recorder.running():
        for client in clients:
            ask(client, edge, b"x")
            origin.recvfrom(100)
        assert recorder.engine.sockets == 5
        recorder.engine.max_sockets = 10
        assert recorder.engine.max_sockets == 10
    for client in clients:
        client.close()


def test_targets_are_tried_in_order(origin):
    unreachable = Target(b"\xff\xff\xff\xff", 9, "255.255.255.255")  # no broadcast without SO_BROADCAST
    recorder = Recorder([unreachable, target(origin)])
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"x")
        assert origin.recv(100) == b"x"
        assert recorder.failures == [(9, errno.EACCES)]
        recorder.targets = (unreachable,)
        with datagrams() as other:
            ask(other, edge, b"y")
            eventually(lambda: recorder.reports)
        assert recorder.reports[0][1:3] == (FlowOutcome.FLOW_CONNECT_FAILED, errno.EACCES)
    assert recorder.drops() == {"no_flow": 1}


def test_source_addresses(origin):
    source = Target(LOOPBACK, port_of(origin), "127.0.0.1", sources=(b"\x7f\0\0\5",))
    recorder = Recorder([source])
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"x")
        _, peer = origin.recvfrom(100)
        assert peer[0] == "127.0.0.5"
        origin.sendto(b"y", peer)
        assert client.recv(100) == b"y"


def test_source_ports_are_bounded(require):
    """In a namespace with five ports: the oldest flow makes room."""
    require("ip", "unshare")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", FEW_PORTS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5 flows, 15 evicted\n"


def test_every_source_address_has_ports_of_its_own(require):
    require("ip", "unshare")
    script = FEW_PORTS.replace("target(origin)", "target(origin, sources=(b'\\x7f\\0\\0\\5', b'\\x7f\\0\\0\\6'))")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "10 flows, 10 evicted\n"


FEW_PORTS = """
import socket, subprocess
from pathlib import Path
from tests.engine.test_datagrams import Recorder, datagrams, target
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40004")
with datagrams(port=9000) as origin:
    recorder = Recorder([target(origin)])
    # The clients and the edge have ports outside the range.
    edge = recorder.listen(port=9001)
    clients = [datagrams(port=50000 + number) for number in range(20)]
    with recorder.running():
        for client in clients:
            client.sendto(b"x", edge.getsockname())
            origin.recvfrom(100)
    assert recorder.failures == [], recorder.failures
    print(f"{recorder.engine.active} flows, {recorder.engine.evicted} evicted")
"""


def test_a_replacement_finds_confirmed_flows_and_their_source_port(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, datagrams() as client, datagrams() as young:
        with recorder.running():
            ask(young, edge, b"once")
            origin.recv(100)
            for _ in range(2):
                ask(client, edge, b"x")
                _, peer = origin.recvfrom(100)
                origin.sendto(b"y", peer)
                client.recv(100)
        memory = recorder.memory
        del recorder  # as if it had been killed: nothing is reported, its sockets are closed
        gc.collect()
        after = Recorder([target(origin)], memory=memory)
        ((name, address, port, origin_address, origin_port),) = after.engine.recovered()
        assert (address, port) == (LOOPBACK, port_of(edge))
        assert (origin_address, origin_port) == (LOOPBACK, port_of(origin))
        number = after.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
        after.engine.adopt(name, number, target(origin))
        assert after.engine.recovered() == []
        with after.running():
            ask(client, edge, b"after")
            assert origin.recvfrom(100) == (b"after", peer)
            origin.sendto(b"reply", peer)
            assert client.recv(100) == b"reply"
        assert after.flows == []


@pytest.mark.parametrize("shared", [False, True])
def test_released_flows_continue_elsewhere(origin, shared):
    """With their sockets: what arrived while nobody read is there still. Young ones too."""
    modes = {"mode": Mode.SIMPLE, "shared": True} if shared else {}
    recorder = Recorder([target(origin)], **modes)
    skip = 38 if shared else 0
    with recorder.listen() as edge, datagrams() as old, datagrams() as young:
        with recorder.running():
            for client in (old, young):
                ask(client, edge, b"question")
                data, peer = origin.recvfrom(100)
                origin.sendto(data[:skip] + b"answer", peer)
                assert client.recv(100) == b"answer"
            ask(old, edge, b"again")
            data, peer = origin.recvfrom(100)
        sockets = recorder.engine.release()
        assert len(sockets) == (0 if shared else 2)
        assert (recorder.engine.active, recorder.engine.sockets, recorder.reports) == (0, 0, [])
        if not shared:
            origin.sendto(data[:skip] + b"late", peer)
        ask(young, edge, b"early")
        after = Recorder([target(origin)], memory=recorder.memory, **modes)
        after.engine.inherit(dict(sockets))
        for name, *_ in after.engine.recovered():
            if after.engine.active == 0:
                number = after.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
            after.engine.adopt(name, number, target(origin))
        assert after.engine.active == 2
        with recorder.running(), after.running():
            if not shared:
                assert old.recv(100) == b"late"
            data, peer = origin.recvfrom(100)
            assert data[skip:] == b"early"
            origin.sendto(data[:skip] + b"bird", peer)
            assert young.recv(100) == b"bird"
        assert after.flows == []


def test_recovered_flows_may_be_discarded(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, datagrams() as client:
        with recorder.running():
            for _ in range(2):
                ask(client, edge, b"x")
                origin.sendto(b"y", origin.recvfrom(100)[1])
                client.recv(100)
        memory = recorder.memory
        del recorder
        gc.collect()
        after = Recorder([target(origin)], memory=memory)
        ((name, *_),) = after.engine.recovered()
        after.engine.discard(name)
        assert after.engine.recovered() == []
        assert after.engine.active == 0


def test_files_of_another_layout_are_recreated():
    memory = MemoryFile()
    os.write(memory, b"\xff" * 4096)
    assert Recorder(memory=memory).engine.recovered() == []


def test_names_of_flows_that_are_over_are_ignored(origin):
    recorder = Recorder([target(origin)])
    engine = recorder.engine
    engine.open(5, (), Mode.PLAIN, b"", 0)
    engine.refuse(5, 1)
    engine.move(5, ())
    engine.close(5, 1)
    engine.adopt(5, 0, target(origin))
    engine.discard(5)
    assert engine.adapt(5, Mode.PLAIN, b"", 1) is False
    assert engine.flow(5) is engine.ends_of(5) is None


class Quiet(Recorder):
    """A handler that keeps nothing."""

    def accepted(self, batch):
        for name, _, client, client_port, edge, edge_port, _ in batch:
            header = simple_proxy.pack(client, edge, client_port, edge_port)
            self.engine.open(name, self.targets, Mode.SIMPLE, header, 0, True)


def own_memory():
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("every kernel since 4.14 has it")


def test_a_hundred_thousand_flows_in_one_worker(origin):
    """At less than 1 KiB each, and with one descriptor for them all."""
    count = 100_000
    memory = MemoryFile()
    recorder = Quiet([target(origin)], memory=memory, max_flows=count)
    assert os.fstat(memory).st_blocks * 512 < count  # no memory before there are flows
    with recorder.listen() as edge:
        before, descriptors = own_memory(), len(os.listdir("/proc/self/fd"))
        for host in range(count // 20_000):
            for number in range(20_000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind((f"127.1.{host}.1", 10_000 + number))
                    ask(client, edge, b"x")
                if number % 64 == 63:
                    recorder.loop.process()
            recorder.loop.process()
        assert recorder.engine.active == count
        if "ASAN_OPTIONS" not in os.environ:  # the sanitizer keeps books of its own
            assert (own_memory() - before) / count < 1024
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
        with recorder.running(), datagrams("127.1.2.1", 12_345) as client:
            origin.setblocking(False)
            with suppress(BlockingIOError):  # its queue is full
                while True:
                    origin.recv(100)
            origin.settimeout(5)
            ask(client, edge, b"one of many")
            data, peer = origin.recvfrom(100)
            origin.sendto(data, peer)
            assert client.recv(100) == b"one of many"
        assert recorder.engine.active == count
    assert recorder.faults == []


def test_flows_are_counted_at_their_origin(origin):
    loads = Loads()
    loads.set_parent(7, 2)
    recorder = Recorder([target(origin, number=7)], loads=loads, idle_ms=1000)
    edge = recorder.listen()

    def counted(number):
        return loads.open(number), loads.waiting(number)

    with recorder.running(), datagrams() as one, datagrams() as other:
        for sock in (one, other):
            sock.sendto(b"question", ("127.0.0.1", port_of(edge)))
        asked = [origin.recvfrom(99)[1] for _ in range(2)]
        eventually(lambda: counted(7) == counted(2) == (2, 2))
        origin.sendto(b"answer", asked[0])
        eventually(lambda: counted(7) == (2, 1))
        eventually(lambda: counted(7) == counted(2) == (0, 0))
    edge.close()


def test_another_origin_where_no_socket_can_be_had(origin):
    unreachable = Target(b"\xff\xff\xff\xff", 9, "255.255.255.255", number=1)
    loads = Loads()
    recorder = Recorder([unreachable], loads=loads)
    recorder.more = (target(origin, number=2),)
    edge = recorder.listen()
    with recorder.running(), datagrams() as client:
        client.sendto(b"x", ("127.0.0.1", port_of(edge)))
        assert origin.recvfrom(9)[0] == b"x"
    assert [port for port, _ in recorder.failures] == [9]
    assert (loads.open(1), loads.open(2)) == (0, 1)
    edge.close()


@contextmanager
def without(capability):
    """This thread, and those that it starts, may not use a capability meanwhile (capset(2))."""
    libc = ctypes.CDLL(None)
    header, before = struct.pack("=Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    words = list(struct.unpack("=6I", before.raw))
    words[3 * (capability // 32)] &= ~(1 << capability % 32)
    assert libc.capset(header, struct.pack("=6I", *words)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


def test_queues_that_this_process_may_not_enlarge_are_reported_once(origin):
    for told, surroundings in ((0, nullcontext()), (1, without(CAP_NET_ADMIN))):
        recorder = Recorder([target(origin)], mode=Mode.SIMPLE, shared=True)
        with recorder.listen() as edge, surroundings, recorder.running(), datagrams() as client:
            ask(client, edge, b"hello")
            origin.recvfrom(100)
            sockets = recorder.engine.take_short_queues()
            assert [os.fstat(one).st_mode >> 12 for one in sockets] == [0o14] * told  # a socket, inode(7)
            assert recorder.engine.take_short_queues() == []


def test_live_flows_are_looked_at_in_parts(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, datagrams() as one, datagrams() as other:
        assert recorder.engine.look(0, 10) == ([], 0)
        with recorder.running():
            for client in (one, other):
                ask(client, edge, b"12345")
                _, at = origin.recvfrom(100)
            origin.sendto(b"123", at)
            other.recv(100)
            ask(other, edge, b"6")
            origin.recvfrom(100)
        seen, further = recorder.engine.look(0, 10)
        assert further == 0
        assert [(s[2], s[4], s[10:]) for s in seen] == [
            ("young", port_of(one), (5, 0)),
            ("confirmed", port_of(other), (6, 3)),
        ]
        name, listener, _, address, _, edge_address, edge_port, to, age, idle, _, _ = seen[0]
        assert (listener, address, edge_address, edge_port) == (0, LOOPBACK, LOOPBACK, port_of(edge))
        assert to.port == port_of(origin)
        assert 0 <= idle <= age + 1 < 60_000
        assert [recorder.engine.look(place, 1)[0][0][0] for place in (0, 1)] == [s[0] for s in seen]
        assert (recorder.engine.look(0, 1)[1], recorder.engine.look(1, 1)[1]) == (1, 0)
        recorder.engine.close(name, 77)
        assert [s[0] for s in recorder.engine.look(0, 10)[0]] == [seen[1][0]]
