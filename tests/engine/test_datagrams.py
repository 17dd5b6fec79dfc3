"""The UDP engine against plain sockets: flows, headers, batches, eviction, origins that fail, recovery."""

import collections
import errno
import gc
import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

from spectrum.core.filter_rules import FilterRule
from spectrum.core.records.measures import DROPS
from spectrum.engine.datagrams import Datagrams, Drop
from spectrum.engine.flow_keeper import FlowOutcome, Mode
from spectrum.engine.loop import Loop
from spectrum.engine.strangers import Strangers
from spectrum.engine.target import Target
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.sockets import IP_PKTINFO, SO_RCVBUFFORCE
from spectrum.kernel.syn_filter import DATAGRAMS_PASSED_ONE_IN, BlockRule, datagram_blocks
from spectrum.wire import simple_proxy
from tests.engine.harness import (
    LOOPBACK,
    MemoryFile,
    eventually,
    in_thread,
    is_filtered,
    port_of,
    refuse_watches,
    unwatch,
)


def datagrams(host="127.0.0.1", port=0, timeout_s=5):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    sock.settimeout(timeout_s)
    return sock


def target(sock_or_port, **options):
    port = sock_or_port if isinstance(sock_or_port, int) else port_of(sock_or_port)
    return Target(LOOPBACK, port, "127.0.0.1", **options)


def closed_port():
    with datagrams() as sock:
        return port_of(sock)


class Recorder:
    """A handler that pins every flow to its targets, and keeps what it hears."""

    def __init__(self, targets=(), mode=Mode.PLAIN, header=None, idle_ms=0, shared=False, memory=None, **options):
        self.targets = tuple(targets)
        self.mode, self.header, self.idle_ms, self.shared = mode, header, idle_ms, shared
        self.flows, self.reports, self.failures, self.too_bigs, self.faults = [], [], [], [], []
        self.others = self.more = self.trusted = ()
        self.memory = MemoryFile() if memory is None else memory
        self.loop = Loop()
        self.engine = Datagrams(self.loop, self, self.memory, **options)

    def accepted(self, batch):
        self.flows.extend(batch)
        for name, _, client, client_port, edge, edge_port, _ in batch:
            header = self.header
            if header is None:
                header = simple_proxy.pack(client, edge, client_port, edge_port) if self.mode >= Mode.SIMPLE else b""
            self.engine.open(name, self.targets, self.mode, header, self.idle_ms, self.shared, 1 + len(self.more))

    def trusts(self, listener, peer):
        return peer in self.trusted

    def attempt_failed(self, listener, target, error):
        self.failures.append((target.port, error))

    def exhausted(self, name, listener, target, client, client_port):
        return self.more

    def origin_failed(self, name, listener, target, error, replied):
        self.failures.append((target.port, error, replied))
        if self.others:
            self.engine.move(name, self.others)
        else:
            self.engine.close(name, 99)

    def channel_failed(self, listener, target, error):
        self.failures.append((target.port, error))
        for name in self.engine.flows(targets=(target,)) if self.others else ():
            self.engine.move(name, self.others)

    def too_big(self, *answer):
        self.too_bigs.append(answer)

    def ended(self, batch):
        self.reports.extend(batch)

    def broken(self, error):
        self.faults.append(error)

    def listen(self, host="127.0.0.1", wildcard=False, port=0):
        """Serve a new socket; return it."""
        sock = datagrams(host, port)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        if wildcard:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.engine.add_listener(sock.fileno(), 0, b"" if wildcard else socket.inet_pton(family, host), port_of(sock))
        return sock

    def drops(self):
        return {DROPS[i]: n for counts in self.engine.take_counts() for i, n in enumerate(counts[5:]) if n}

    @contextmanager
    def running(self, first=None):
        with in_thread(self.loop, first):
            yield self
        assert self.faults == []


@pytest.fixture
def origin():
    with datagrams() as sock:
        yield sock


def settle():
    """Wait until all that was sent over the loopback has come to its sockets: on a busy machine the kernel defers it.

    It goes by one queue of each processor, so what is sent later comes later.
    """
    with datagrams() as sock:
        sock.sendto(b"", sock.getsockname())
        sock.recv(1)


def ask(client, edge, data, host="127.0.0.1"):
    client.sendto(data, (host, port_of(edge)))
    settle()


def test_drops_have_one_order():
    """The names of `core.records.measures` are those of the engine."""
    expected = {"TO_ORIGIN": "not_sent_to_origin", "TO_CLIENT": "not_sent_to_client"}
    assert [expected.get(drop.name, drop.name.lower()) for drop in Drop] == list(DROPS)


def test_a_flow_keeps_its_origin_socket(origin):
    recorder = Recorder([to := target(origin)])
    with recorder.listen() as edge, recorder.running(), datagrams() as one, datagrams() as two:
        seen = set()
        for client in (one, two, one, two):
            ask(client, edge, b"ping")
            data, peer = origin.recvfrom(100)
            assert data == b"ping"
            seen.add(peer)
            origin.sendto(b"pong", peer)
            assert client.recvfrom(100) == (b"pong", ("127.0.0.1", port_of(edge)))
        assert len(seen) == 2
        assert recorder.engine.active == recorder.engine.sockets == 2
        assert [flow[2:6] for flow in recorder.flows] == [
            (LOOPBACK, port_of(client), LOOPBACK, port_of(edge)) for client in (one, two)
        ]
    assert recorder.engine.take_counts() == [(0, 16, 16, 4, 4, *[0] * len(DROPS))]
    assert recorder.engine.take_counts() == []
    assert to.take_moved() == (16, 16)


def test_empty_and_largest_datagrams_pass_whole(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        for size in (0, 1, 1472, 9000, 65507):
            data = os.urandom(size)
            ask(client, edge, data)
            received, peer = origin.recvfrom(65536)
            assert received == data
            origin.sendto(data[::-1], peer)
            assert client.recv(65536) == data[::-1]


def test_bursts_keep_order_and_content_per_flow(origin):
    """More than a batch of several flows at once, both ways."""
    recorder = Recorder([target(origin)])
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    clients = [datagrams() for _ in range(7)]
    with recorder.listen() as edge:
        for number in range(40):
            for i, client in enumerate(clients):
                ask(client, edge, bytes([i, number]) * (1 + number * i))
        with recorder.running():
            by_peer = {}
            for _ in range(40 * len(clients)):
                data, peer = origin.recvfrom(10_000)
                by_peer.setdefault(peer, []).append(data)
                origin.sendto(data, peer)
            assert len(by_peer) == len(clients)
            for i, client in enumerate(clients):
                expected = [bytes([i, number]) * (1 + number * i) for number in range(40)]
                assert [client.recv(10_000) for _ in range(40)] == expected
                assert expected in by_peer.values()
    for client in clients:
        client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("mode", [Mode.SIMPLE, Mode.PLAIN])
def test_trains_of_equal_datagrams(origin, host, mode):
    """Enough in a row for UDP_SEGMENT, with a shorter one among them, and a second client behind."""
    recorder = Recorder([target(origin)], mode=mode)
    sizes = [1200] * 30 + [700] + [1200] * 20 + [0, 0] + [9] * 40
    wildcard = host != "127.0.0.1"
    with recorder.listen(host, wildcard) as edge, datagrams() as one, datagrams() as two:
        sent = {}
        for client in (one, two):
            sent[client] = [bytes([number]) * size for number, size in enumerate(sizes)]
            for data in sent[client]:
                ask(client, edge, data)
        origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        with recorder.running():
            got = {}
            for _ in range(2 * len(sizes)):
                data, peer = origin.recvfrom(2000)
                got.setdefault(peer, []).append(data)
            assert len(got) == 2
        skip = 38 if mode == Mode.SIMPLE else 0
        assert [[data[skip:] for data in each] for each in got.values()] == list(sent.values())
        for peer, each in got.items():
            for data in each:
                origin.sendto(data, peer)
        with recorder.running():
            for client in (one, two):
                assert [client.recv(2000) for _ in sizes] == sent[client]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.FIRST, [b"HEADone", b"two", b"three"]),
        (Mode.STANDALONE, [b"HEAD", b"one", b"two", b"three"]),
        (Mode.EACH, [b"HEADone", b"HEADtwo", b"HEADthree"]),
        (Mode.PLAIN, [b"one", b"two", b"three"]),
    ],
)
def test_dialects_of_the_header(origin, mode, expected):
    recorder = Recorder([target(origin)], mode=mode, header=b"HEAD")
    with recorder.listen() as edge, datagrams() as client:
        for data in (b"one", b"two"):  # of one batch
            ask(client, edge, data)
        with recorder.running():
            eventually(lambda: recorder.engine.active == 1)
            ask(client, edge, b"three")
            got = [origin.recvfrom(100) for _ in expected]
            assert [data for data, _ in got] == expected
            origin.sendto(b"HEADreply", got[0][1])
            assert client.recv(100) == b"HEADreply"  # only Simple Proxy Protocol has headers on replies


@pytest.mark.parametrize("shared", [False, True])
def test_simple_proxy_headers_are_checked_and_stripped(origin, shared):
    recorder = Recorder([target(origin)], mode=Mode.SIMPLE, shared=shared)
    with recorder.listen() as edge, recorder.running(), datagrams() as client, datagrams() as other:
        ask(client, edge, b"question")
        data, peer = origin.recvfrom(100)
        header, payload = data[:38], data[38:]
        assert payload == b"question"
        parsed = simple_proxy.parse(header)
        assert (str(parsed.client_address), parsed.client_port) == ("127.0.0.1", port_of(client))
        assert (str(parsed.proxy_address), parsed.proxy_port) == ("127.0.0.1", port_of(edge))
        wrong = [b"", b"bare", header[:37], header[:-1] + bytes([header[-1] ^ 1]) + b"x", b"XX" + header[2:] + b"x"]
        ask(other, edge, b"another")  # a flow whose header the first one's client must not get
        stranger, _ = origin.recvfrom(100)
        for bad in wrong:
            origin.sendto(bad, peer)
        if not shared:
            wrong.append(stranger)
            origin.sendto(stranger, peer)
        origin.sendto(header + b"answer", peer)
        origin.sendto(header, peer)  # an empty datagram
        assert [client.recv(100), client.recv(100)] == [b"answer", b""]
    assert recorder.drops() == {"bad_reply": len(wrong)}


def test_lenient_replies_pass_bare(origin):
    recorder = Recorder([target(origin)], mode=Mode.LENIENT)
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"q")
        data, peer = origin.recvfrom(100)
        origin.sendto(b"bare", peer)
        origin.sendto(data[:38] + b"headed", peer)
        assert [client.recv(100), client.recv(100)] == [b"bare", b"headed"]


def test_many_flows_share_one_socket(origin):
    recorder = Recorder([target(origin)], mode=Mode.SIMPLE, shared=True)
    clients = [datagrams() for _ in range(150)]
    with recorder.listen() as edge, recorder.running():
        for i, client in enumerate(clients):
            ask(client, edge, b"%d" % i)
        peers = set()
        for _ in clients:
            data, peer = origin.recvfrom(100)
            peers.add(peer)
            origin.sendto(data, peer)
        for i, client in enumerate(clients):
            assert client.recv(100) == b"%d" % i
        assert len(peers) == 1
        assert (recorder.engine.active, recorder.engine.sockets) == (150, 0)
        assert recorder.engine.flow(recorder.flows[0][0])[:2] == (0, recorder.targets[0])
        recorder.engine.close_flows(7)
        assert recorder.engine.active == 0
        ask(clients[0], edge, b"again")  # the socket was given back with the last flow
        data, peer = origin.recvfrom(100)
        assert (data[38:], peer in peers) == (b"again", False)
    for client in clients:
        client.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_replies_leave_from_the_address_that_was_written_to(origin, host):
    recorder = Recorder([target(origin)])
    with recorder.listen(host, wildcard=True) as edge, recorder.running():
        for address in ("127.0.0.1", "127.0.0.7") if host == "0.0.0.0" else ("127.0.0.7", "::1"):
            with datagrams("::" if ":" in address else "0.0.0.0") as client:
                ask(client, edge, b"q", address)
                _, peer = origin.recvfrom(100)
                origin.sendto(b"a", peer)
                assert client.recvfrom(100)[1][:2] == (address, port_of(edge))
                packed = socket.inet_pton(client.family, address)
                assert recorder.flows[-1][4] == packed


def test_one_client_on_two_addresses_is_two_flows(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen("0.0.0.0", wildcard=True) as edge, recorder.running(), datagrams("0.0.0.0") as client:
        for address in ("127.0.0.1", "127.0.0.2"):
            ask(client, edge, b"q", address)
            origin.sendto(b"a", origin.recvfrom(100)[1])
            assert client.recvfrom(100)[1][0] == address
        assert recorder.engine.active == 2


def test_a_refusing_origin_ends_the_flow():
    recorder = Recorder([target(closed_port())])
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"x")
        eventually(lambda: recorder.reports)
        assert recorder.failures == [(recorder.targets[0].port, errno.ECONNREFUSED, False)]
        assert recorder.reports[0][1:3] == (FlowOutcome.FLOW_CLOSED, 99)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", [Mode.PLAIN, Mode.FIRST, Mode.STANDALONE, Mode.SIMPLE])
def test_flows_of_a_refusing_origin_move(origin, mode, shared):
    if shared and mode != Mode.SIMPLE:
        return
    header = None if mode == Mode.SIMPLE else b"HEAD"
    recorder = Recorder([target(closed_port())], mode=mode, header=header, shared=shared)
    recorder.others = (target(origin),)
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, b"lost")
        eventually(lambda: recorder.failures)
        ask(client, edge, b"kept")
        got = [origin.recv(100)]
        if mode == Mode.STANDALONE:
            got.append(origin.recv(100))
        wanted = {
            Mode.PLAIN: [b"kept"],
            Mode.FIRST: [b"HEADkept"],
            Mode.STANDALONE: [b"HEAD", b"kept"],
            Mode.SIMPLE: [got[0][:38] + b"kept"],
        }
        assert got == wanted[mode]
        assert recorder.engine.active == 1
        assert len(recorder.flows) == 1


def test_an_error_met_while_sending_moves_the_rest_of_the_batch(origin):
    """The ICMP answer came while the engine was not looking: its error is the next send's."""
    recorder = Recorder([target(closed_port())], mode=Mode.STANDALONE, header=b"HEAD")
    recorder.others = (target(origin),)
    with recorder.listen() as edge, datagrams() as client:
        ask(client, edge, b"lost")
        recorder.loop.process()
        recorder.failures.clear()
        for data in (b"one", b"two", b"three"):
            ask(client, edge, data)
        with recorder.running():
            got = [origin.recvfrom(100) for _ in range(4)]
        assert [data for data, _ in got if data != b"lost"] == [b"HEAD", b"one", b"two", b"three"]
        assert len({peer for _, peer in got}) == 1


def test_refused_and_forgotten_flows(origin):
    recorder = Recorder()
    recorder.accepted = lambda batch: [recorder.engine.refuse(name, 27) for name, *_ in batch[:1]]
    with recorder.listen() as edge, recorder.running():
        for error in (27, 0):
            if error == 0:
                recorder.accepted = lambda batch: None
            with datagrams() as client:
                ask(client, edge, b"x")
                eventually(lambda: recorder.reports)
            assert recorder.reports.pop()[1:3] == (FlowOutcome.FLOW_REFUSED, error)
        assert recorder.engine.active == 0


def test_a_broken_handler_costs_the_flow_only(origin):
    recorder = Recorder([target(origin)])
    whole = recorder.accepted
    recorder.accepted = lambda batch: 1 // 0
    with recorder.listen() as edge, datagrams() as client, recorder.running():
        ask(client, edge, b"x")
        eventually(lambda: recorder.reports)
        recorder.accepted = whole
        ask(client, edge, b"y")
        assert origin.recv(100) == b"y"
        assert isinstance(recorder.faults.pop(), ZeroDivisionError)


def test_removed_listeners_end_their_flows(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, recorder.listen() as kept, datagrams() as client:
        with recorder.running():
            for sock in (edge, kept):
                ask(client, sock, b"x")
                origin.recv(100)
        recorder.engine.remove_listener(0, 16)
        recorder.engine.remove_listener(0, 16)
        assert [report[:3] for report in recorder.reports] == [(0, FlowOutcome.FLOW_CLOSED, 16)]
        assert recorder.engine.active == 1
        with recorder.running():
            ask(client, edge, b"to nobody")
            ask(client, kept, b"y")
            assert origin.recv(100) == b"y"


def test_draining_takes_no_new_flows(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, recorder.running(), datagrams() as client, datagrams() as late:
        ask(client, edge, b"x")
        origin.recv(100)
        recorder.engine.drain()
        ask(late, edge, b"late")
        ask(client, edge, b"goes on")
        assert origin.recv(100) == b"goes on"
        eventually(lambda: recorder.drops() == {"no_flow": 1})
        recorder.engine.close_flows(12, idle_ms=60_000)
        assert recorder.engine.active == 1
        recorder.engine.close_flows(12)
        assert recorder.engine.active == 0


def test_wrong_arguments_are_reported():
    recorder = Recorder()
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        recorder.engine.add_listener(0, 0, b"12", 1)
    with pytest.raises(OSError, match="not a socket"):
        recorder.engine.add_listener(recorder.memory, 0, LOOPBACK, 1)
    with pytest.raises(OSError, match="no memory"):
        Datagrams(Loop(), recorder, -1)


def test_a_listener_that_is_not_watched_is_noticed(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, datagrams() as client:
        assert recorder.engine.check_listeners() == []
        unwatch(recorder.loop, edge)
        ask(client, edge, b"waits")
        assert recorder.engine.check_listeners() == [0]
        assert recorder.engine.check_listeners() == []
        with recorder.running():
            assert origin.recv(100) == b"waits"
        with pytest.raises(ValueError, match="another listener's"):
            recorder.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
        recorder.engine.remove_listener(0, 1)
        assert recorder.engine.check_listeners() == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_flow_whose_socket_cannot_be_watched_ends_with_a_reason(origin, shared):
    recorder = Recorder([target(origin)], shared=shared, mode=Mode.SIMPLE)
    gc.collect()  # what earlier tests left would be closed meanwhile
    with recorder.listen() as edge, datagrams() as client:
        before = len(os.listdir("/proc/self/fd"))
        with recorder.running(refuse_watches):
            ask(client, edge, b"x")
            eventually(lambda: recorder.reports)
        assert len(os.listdir("/proc/self/fd")) == before
        assert recorder.reports[0][1:3] == (FlowOutcome.FLOW_CONNECT_FAILED, errno.ENOSPC)
        assert recorder.failures == [(port_of(origin), errno.ENOSPC)]
        assert recorder.engine.sockets == 0
        with recorder.running():
            ask(client, edge, b"y")
            assert origin.recv(100).endswith(b"y")


class Slow(Recorder):
    """A handler that more datagrams of new clients come to while it decides, and some of one that is known."""

    flood = asked = 0
    come_at_once = 3
    stranger, payload = "127.0.0.9", b"new"

    def accepted(self, batch):
        super().accepted(batch)
        self.come(self.come_at_once * len(batch))

    def come(self, count):
        for number in range(min(count, self.flood)):
            self.flood -= 1
            with datagrams(self.stranger) as sock:
                sock.sendto(self.payload, self.edge)
            if number % 32 == 0:
                self.known.sendto(b"known", self.edge)
                self.asked += 1


def ask_and_confirm(recorder, client, edge, origin):
    for _ in range(2):
        ask(client, edge, b"x")
        recorder.loop.process()
        origin.sendto(b"y", origin.recvfrom(100)[1])
        recorder.loop.process()
        client.recv(100)


def process_until(recorder, origin, last):
    """Return what the origin gets, up to and with `last`."""
    received, deadline = [], time.monotonic() + 10
    origin.setblocking(False)
    while last not in received:
        assert time.monotonic() < deadline, recorder.faults
        recorder.loop.process()
        with suppress(BlockingIOError):
            while last not in received:
                received.append(origin.recv(100))
    return received


def test_established_flows_come_first(origin):
    """Once datagrams come faster than new flows can be begun, they wait; what does not fit is dropped."""
    recorder = Slow([target(origin)], max_flows=500)
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    with recorder.listen() as edge, datagrams() as client:
        recorder.edge, recorder.known = edge.getsockname(), client
        edge.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 400_000)  # about a thousand
        ask_and_confirm(recorder, client, edge, origin)
        recorder.flood = 9000
        recorder.come(550)
        while recorder.flood:
            recorder.loop.process()
            recorder.come(32)  # those that the kernel drops begin no flows
        ask(client, edge, b"last known")
        known = process_until(recorder, origin, b"last known")
        assert known.count(b"known") == recorder.asked
        # What waits is served, or too old by then.
        drops, began = collections.Counter(recorder.drops()), known.count(b"new")
        deadline = time.monotonic() + 10
        while began + drops.total() < 9000:
            assert time.monotonic() < deadline, drops
            recorder.loop.process()
            drops.update(recorder.drops())
            with suppress(BlockingIOError):
                while True:
                    began += origin.recv(100) == b"new"
        # Where a client has the port of the oldest flow, nothing is evicted for the rest of the batch.
        assert drops.keys() - {"no_flow"} == {"overload"}
        assert began + drops.total() == 9000
        assert recorder.faults == []


@pytest.mark.parametrize(("payload", "count"), [(b"new", 4_000), (b"new" * 1000, 1_000)])
def test_the_kernel_drops_datagrams_of_strangers_while_they_are_far_too_many(origin, payload, count):
    """As many wait as half of what may wait, in number or in bytes."""
    recorder = Slow([target(origin)], max_flows=500)
    recorder.come_at_once, recorder.payload = 0, payload
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    with recorder.listen() as edge, datagrams() as client:
        recorder.edge, recorder.known = edge.getsockname(), client
        edge.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        ask_and_confirm(recorder, client, edge, origin)
        recorder.flood = count + 2_000
        recorder.come(count)
        deadline = time.monotonic() + 20
        while not is_filtered(edge):
            assert time.monotonic() < deadline
            recorder.loop.process()
        recorder.drops()
        recorder.come(2_000)
        ask(client, edge, b"last known")
        assert process_until(recorder, origin, b"last known").count(b"known") == recorder.asked
        # Those that the program dropped were never read, and are counted.
        assert recorder.drops()["overload"] > 1_000
        while is_filtered(edge):
            assert time.monotonic() < deadline
            recorder.loop.process()
            time.sleep(0.01)
        assert recorder.faults == []


def test_the_kernel_drops_what_rules_block_once_many_are_refused(origin, watching):
    recorder = Slow([target(origin)], lookout=watching.lookout)
    recorder.engine.set_app(0, 1 << 60)
    rule = FilterRule(payload=(int.from_bytes(b"new\0\0\0\0\0", "big"), 0xFFFFFF << 40), idle=True)
    blocks = datagram_blocks([BlockRule(pack_rule(rule), [])], [], time.monotonic_ns())
    with recorder.listen() as edge, datagrams() as client:
        recorder.edge, recorder.known = edge.getsockname(), client
        edge.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        ask_and_confirm(recorder, client, edge, origin)
        watching.lookout.watch(1 << 20, 1 << 20)
        watching.rules(rule)
        recorder.engine.drop_blocked(blocks.four, blocks.six, 0)
        watching.lookout.thin_datagrams(blocks.rules, DATAGRAMS_PASSED_ONE_IN)
        deadline, sent = time.monotonic() + 20, 0
        while not is_filtered(edge):
            assert time.monotonic() < deadline
            recorder.flood = 200
            recorder.come(200)
            sent += 200
            recorder.loop.process()
        # The queue is empty: from now on each that passes was one of so many.
        for _ in range(4):
            recorder.loop.process()
            time.sleep(0.01)
        before = watching.looks.counts()[0][0]
        recorder.flood = 4_000
        recorder.come(4_000)
        ask(client, edge, b"last known")
        assert process_until(recorder, origin, b"last known").count(b"known") == recorder.asked
        assert recorder.drops() == {"attack": sent + 4_000}
        assert 1_000 < watching.looks.counts()[0][0] - before < 10_000
        recorder.engine.drop_blocked(b"", b"", 0)
        while is_filtered(edge):
            assert time.monotonic() < deadline
            recorder.loop.process()
            time.sleep(0.01)
        assert recorder.faults == []


def filter_strangers(recorder, edge, client):
    """Flood a listener until the kernel drops datagrams of strangers."""
    recorder.come_at_once, recorder.edge, recorder.known = 0, edge.getsockname(), client
    recorder.flood = 4_000
    recorder.come(4_000)
    deadline = time.monotonic() + 20
    while not is_filtered(edge):
        assert time.monotonic() < deadline
        recorder.loop.process()


def test_a_worker_that_left_does_not_touch_the_filter_of_the_next_one(origin):
    """They have the same socket, and the number of its descriptor may be that of another one in the former worker."""
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    former = Slow([target(origin)], max_flows=500)
    following = Slow([target(origin)], max_flows=500)
    with former.listen() as edge, datagrams() as client:
        edge.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        filter_strangers(former, edge, client)
        former.drops()
        with datagrams("127.0.0.9") as stranger:
            for _ in range(1_000):
                stranger.sendto(b"new", edge.getsockname())
        for _, descriptor in former.engine.release():
            os.close(descriptor)
        dropped = former.drops()["overload"]
        assert dropped > 300
        assert is_filtered(edge)  # nothing fills the queue before the next worker reads it
        following.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
        following.loop.process()
        assert following.drops().get("queue_full", 0) == 0  # the former one has counted them
        filter_strangers(following, edge, client)
        for _ in range(20):  # it has sessions still
            former.loop.process()
            time.sleep(0.01)
        assert is_filtered(edge)
        assert former.faults == following.faults == []


def test_a_listener_comes_without_the_filter_of_a_former_worker(origin):
    with datagrams() as edge:
        Strangers().filter(edge.fileno(), 16)
        assert is_filtered(edge)
        recorder = Recorder([target(origin)])
        recorder.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
        assert not is_filtered(edge)


def test_datagrams_that_wait_keep_their_order_and_their_content(origin):
    """More new clients at once than a round begins flows for: nothing is lost, and what one sent stays in order."""
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, ExitStack() as stack:
        clients = [stack.enter_context(datagrams()) for _ in range(100)]
        for number, client in enumerate(clients):
            for place in range(2):
                ask(client, edge, b"%d %d" % (number, place))
        ask(clients[0], edge, b"end")
        recorder.loop.process()
        received = process_until(recorder, origin, b"99 1")
        assert {b"%d %d" % (number, place) for number in range(100) for place in range(2)} <= set(received)
        for number in range(100):
            assert received.index(b"%d 0" % number) < received.index(b"%d 1" % number)
        assert recorder.drops() == {}


def test_datagrams_that_wait_for_a_listener_that_goes_are_counted(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, ExitStack() as stack:
        for _ in range(100):
            ask(stack.enter_context(datagrams()), edge, b"x")
        recorder.loop.process()
        began = len(recorder.flows)
        assert 0 < began < 100
        recorder.engine.remove_listener(0, 1)
        dropped = 0
        while dropped < 100 - began:
            recorder.loop.process()
            dropped += recorder.drops().get("no_flow", 0)
        assert len(recorder.flows) == began


def test_known_clients_do_not_wait(origin, watching):
    """While datagrams of others come faster than flows can be begun, one whose source was in use is served at once."""
    recorder = Slow([target(origin)], max_flows=500, lookout=watching.lookout)
    origin.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    watching.lookout.watch(1 << 20, 1 << 20)
    recorder.engine.set_app(0, 1 << 60)
    with recorder.listen() as edge, datagrams("127.0.0.4") as client, datagrams("127.0.0.3") as again:
        recorder.edge, recorder.known = edge.getsockname(), client
        edge.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 400_000)
        with datagrams("127.0.0.3") as before:
            ask_and_confirm(recorder, before, edge, origin)
        ask_and_confirm(recorder, client, edge, origin)
        recorder.flood = 6000
        recorder.come(550)
        while recorder.flood > 1000:
            recorder.loop.process()
            recorder.come(32)
        origin.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                origin.recv(100)
        ask(again, edge, b"again")
        assert process_until(recorder, origin, b"again").count(b"new") < 500  # 4,000 wait


def test_rules_against_attacks_refuse_datagrams_of_flows_that_are_not_confirmed(origin, watching):
    recorder = Recorder([target(origin)], lookout=watching.lookout)
    recorder.engine.set_app(0, group := 1 << 60)
    with recorder.listen() as edge, recorder.running(), datagrams() as old, datagrams() as new:
        for number in range(3):  # the second one confirms it
            ask(old, edge, b"GV%d" % number)
            data, peer = origin.recvfrom(100)
            origin.sendto(data, peer)
            assert old.recv(100) == b"GV%d" % number
        watching.rules(
            FilterRule(protocol=(17, 17), payload=(0x4756 << 48, 0xFFFF << 48), action="log"),
            FilterRule(protocol=(17, 17), payload=(0x4756 << 48, 0xFFFF << 48)),
        )
        for number in range(3):
            ask(new, edge, b"GV%d" % number)
        ask(old, edge, b"GV7")
        assert origin.recv(100) == b"GV7"
        ask(new, edge, b"other")
        assert origin.recv(100) == b"other"
        eventually(lambda: watching.looks.counts()[1][0] == 3)
        assert len(recorder.flows) == 2
    assert recorder.drops() == {"attack": 3} and watching.looks.counts()[:2] == [(3, 3 * 45)] * 2
    shown = watching.rows()
    assert list(shown.packets["state"]) == [0, 1, 2, 0, 0, 0, 2, 0]
    assert list(shown.reason) == [0, 0, 0, 2, 2, 2, 0, 0] and list(shown.packets["known"]) == [0, 0, *[1] * 6]
    assert shown._records["group"][0] == group


def test_no_control_of_attacks_for_clients_that_proxies_tell_of(origin, watching):
    recorder = Recorder([target(origin)], lookout=watching.lookout)
    recorder.engine.set_app(0, 1, True)
    recorder.trusted = (LOOPBACK,)
    watching.rules(FilterRule())
    header = simple_proxy.pack(b"\xc0\0\2\1", LOOPBACK, 5, 6)
    with recorder.listen() as edge, recorder.running(), datagrams() as proxy:
        ask(proxy, edge, header + b"x")
        assert origin.recv(100) == b"x"
    assert len(watching.rows()) == 0
