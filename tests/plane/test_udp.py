"""The UDP plane with its engine and plain sockets: decisions, reloads, records."""

import json
import os
import select
import time
from ipaddress import ip_address

import pytest

from spectrum.core.balancing.pools import Standing
from spectrum.core.difference import difference
from spectrum.core.records.reasons import Reason
from spectrum.engine.flow_keeper import FlowOutcome
from spectrum.engine.loop import Loop
from spectrum.plane.udp import UdpPlane, reason_of
from spectrum.wire import Transport, parse, simple_proxy
from tests.engine.harness import (
    MemoryFile,
    eventually,
    port_of,
)
from tests.engine.test_datagrams import Recorder, ask, closed_port, datagrams
from tests.plane.parts import Parts, balanced


class Plane(Recorder):
    """A plane that runs in the harness's thread; sockets are opened as the supervisor would."""

    def __init__(self, bodies, memory=None, max_flows=100, more=""):
        self.lines, self.faults, self.answers = [], [], []
        self.looks, self.guarded = 0, set()
        self.loop = Loop()
        self.parts = Parts()
        self.memory = MemoryFile() if memory is None else memory
        self.plane = UdpPlane(
            self.loop,
            lambda count, lines, *_: self.lines.extend(lines.splitlines()),
            self.memory,
            max_flows,
            lambda *answer: self.answers.append(answer),
            self.parts.balancers,
            self.parts.memory.loads,
            places=self.parts.places,
            firewall=self.parts.firewall,
            breathe=self.look,
        )
        self.engine = self.plane.engine
        self.sockets = {}
        self.snapshot = None
        self.gone = self.apply(bodies, more=more)

    def look(self):
        """Between two apps of a reload clients are taken: of one that asks for rules from now on, none without them."""
        self.looks += 1
        for listener in self.plane._listeners.values():
            app = listener.app.settings
            begins = app.ip_firewall and app.name not in self.guarded
            if begins and not listener.removed and self.parts.firewall.judge_of(app.name):
                assert listener.app.judge is not None

    def apply(self, bodies, names=None, more="", as_difference=False):
        text = more + "\napps:\n" + "".join(f"  {name}: {{{body}}}\n" for name, body in bodies.items())
        apps = (listener.app.settings for listener in self.plane._listeners.values())
        self.guarded = {app.name for app in apps if app.ip_firewall}
        snapshot = self.parts.compile(text)
        for key in snapshot.listener_keys():
            if key not in self.sockets:
                self.sockets[key] = datagrams(key.address, key.port)
                self.sockets[key].setblocking(False)
        descriptors = {key: sock.fileno() for key, sock in self.sockets.items()}
        before, self.snapshot = self.snapshot, snapshot
        if as_difference:
            return self.plane.change(difference(before, snapshot), snapshot, descriptors, names or {})
        stopped = self.parts.balancers.apply(snapshot)
        return self.plane.apply(snapshot, descriptors, names or {}, stopped)

    def events(self):
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def make():
    made = []

    def build(bodies, **options):
        made.append(Plane(bodies, **options))
        return made[-1]

    yield build
    for plane in made:
        for sock in plane.sockets.values():
            sock.close()


@pytest.fixture
def origin():
    with datagrams() as sock:
        yield sock


def body(port, *origins, more=""):
    where = ", ".join(f"'udp://127.0.0.1:{o if isinstance(o, int) else port_of(o)}'" for o in origins)
    return f"protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: [{where}]{more}"


def edge(plane):
    return next(iter(plane.sockets.values()))


def confirm(plane, client, origin):
    """Two round trips; returns the address that the origin sees."""
    for _ in range(2):
        ask(client, edge(plane), b"x")
        peer = origin.recvfrom(1000)[1]
        origin.sendto(b"y", peer)
        client.recv(100)
    return peer


@pytest.mark.parametrize("dialect", ["first", "each", "standalone"])
def test_proxy_protocol_v2(make, free_port, origin, dialect):
    plane = make({"x": body(free_port(), origin, more=f", proxy_protocol: v2, proxy_header_datagram: {dialect}")})
    with plane.running(), datagrams() as client:
        for number in range(2):
            ask(client, edge(plane), b"payload")
            data = origin.recv(1000)
            if number and dialect != "each":
                assert data == b"payload"
                continue
            header, size = parse(data)
            assert header.transport is Transport.DGRAM
            assert (str(header.source), str(header.destination)) == tuple(
                f"127.0.0.1:{port_of(sock)}" for sock in (client, edge(plane))
            )
            assert (data[size:] or origin.recv(1000)) == b"payload"


def test_simple_proxy_protocol_and_the_record(make, free_port, origin):
    plane = make({"x": body(free_port(), origin, more=", proxy_protocol: simple, timeouts: {idle: 100ms}")})
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"question")
        data, peer = origin.recvfrom(1000)
        assert simple_proxy.parse(data).client_port == port_of(client)
        origin.sendto(data[:38] + b"answer!", peer)
        assert client.recv(100) == b"answer!"
        eventually(lambda: plane.lines)
        (event,) = plane.events()
        assert (event["Event"], event["Status"], event["Reason"]) == ("disconnect", 200, "idle_timeout")
        assert (event["ClientProto"], event["OriginProto"], event["ProxyProtocol"]) == ("udp", "udp", "simple")
        assert (event["ClientIP"], event["ClientPort"]) == ("127.0.0.1", port_of(client))
        assert (event["OriginIP"], event["OriginPort"]) == ("127.0.0.1", port_of(origin))
        assert (event["ClientBytes"], event["OriginBytes"]) == (8, 7)
        assert (event["ClientDatagrams"], event["OriginDatagrams"]) == (1, 1)
        assert event["SessionId"].startswith("u0.")
        assert (event["EdgeIP"], event["EdgePort"]) == edge(plane).getsockname()[:2]
        assert event["ConnectDuration"] > 0
    measures = plane.plane.take_measures()["x"]
    assert (measures.started, measures.active) == (1, 0)
    assert (measures.bytes_from_client, measures.bytes_from_origin) == (8, 7)
    assert (measures.datagrams_from_client, measures.datagrams_from_origin) == (1, 1)
    assert sum(measures.connect.counts) == sum(measures.duration.counts) == 1
    (counted,) = measures.origins.values()
    assert (counted.connected, counted.ended) == (1, 1)
    assert plane.plane.take_measures() == {}


def test_flows_take_origins_in_turn(make, free_port, origin):
    with datagrams() as second, datagrams() as one, datagrams() as two:
        plane = make({"x": body(free_port(), origin, second)})
        with plane.running():
            for client in (one, two):
                ask(client, edge(plane), b"x")
            assert origin.recv(100) == second.recv(100) == b"x"


def test_a_refusing_origin_is_left_for_the_next(make, free_port, origin):
    port = closed_port()
    plane = make({"x": body(free_port(), origin, port)})
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"lost at the closed port")
        eventually(lambda: plane.plane.take_measures().get("x") and True)
        time.sleep(0.05)
        ask(client, edge(plane), b"kept")
        eventually(lambda: origin.recv(100) == b"kept")
        assert plane.engine.active == 1
    assert plane.lines == []


def test_without_another_origin_the_flow_ends_with_the_reason(make, free_port):
    port = closed_port()
    plane = make({"x": body(free_port(), port)})
    with plane.running():
        with datagrams() as client:
            ask(client, edge(plane), b"x")
            eventually(lambda: plane.lines)
        with datagrams(port=port) as origin, datagrams() as client:
            ask(client, edge(plane), b"x")
            origin.sendto(b"y", origin.recvfrom(100)[1])
            client.recv(100)
            origin.close()
            ask(client, edge(plane), b"x")
            eventually(lambda: len(plane.lines) == 2)
    reasons = [(e["Event"], e["Status"], e["Reason"]) for e in plane.events()]
    assert reasons == [("originError", 521, "connect_refused"), ("disconnect", 447, "origin_refused")]
    measures = plane.plane.take_measures()["x"]
    (counted,) = measures.origins.values()
    assert (counted.failed, counted.last_failure) == (2, "connect_refused")


def test_shared_sockets_move_all_their_flows(make, free_port, origin):
    port = closed_port()
    plane = make(
        {"x": body(free_port(), port, port_of(origin), more=", proxy_protocol: simple, origin_socket: shared")}
    )
    clients = [datagrams() for _ in range(10)]
    with plane.running():
        for _ in range(2):
            for client in clients:
                ask(client, edge(plane), b"x")
            time.sleep(0.1)
        peers = set()
        seen = set()
        while len(seen) < 10:
            data, peer = origin.recvfrom(100)
            peers.add(peer)
            seen.add(simple_proxy.parse(data).client_port)
        assert len(peers) == 1
        assert plane.engine.active == 10
    for client in clients:
        client.close()


def test_a_name_without_addresses_refuses(make, free_port):
    port = free_port()
    plane = make(
        {"x": f"protocol: udp/{port}, edge_ips: [127.0.0.1], origin_dns: {{name: x.example, type: A}}, origin_port: 53"}
    )
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"x")
        eventually(lambda: plane.lines)
    assert (plane.events()[0]["Status"], plane.events()[0]["Reason"]) == (531, "unresolved")
    assert plane.plane.take_measures()["x"].dropped == {4: 1}


@pytest.mark.parametrize("as_difference", [False, True], ids=["whole", "difference"])
def test_a_reload_keeps_flows_and_moves_those_of_removed_origins(make, free_port, origin, as_difference):
    port = free_port()
    with datagrams() as second, datagrams() as client:
        plane = make({"x": body(port, origin)})
        with plane.running():
            peer = confirm(plane, client, origin)
        plane.apply({"x": body(port, origin, second)}, as_difference=as_difference)
        with plane.running():
            ask(client, edge(plane), b"as before")
            assert origin.recvfrom(100) == (b"as before", peer)
        plane.apply({"x": body(port, second)}, as_difference=as_difference)
        with plane.running():
            ask(client, edge(plane), b"moved")
            data, peer = second.recvfrom(100)
            assert data == b"moved"
            second.sendto(b"reply", peer)
            assert client.recv(100) == b"reply"
        assert plane.lines == []
        plane.apply({"y": body(free_port(), second)}, as_difference=as_difference)
        assert [event["Reason"] for event in plane.events()] == ["listener_removed"]
        assert plane.engine.active == 0
        plane.apply({"x": body(port, second)}, as_difference=as_difference)
        with plane.running():
            confirm(plane, client, second)
        measures = plane.plane.take_measures()["x"]  # of both apps that had the name
        assert (measures.started, sum(measures.ended.values())) == (2, 1)
        assert sum(counted.connected - counted.ended for counted in measures.origins.values()) == 1


DIALECTS = {
    "off": "",
    "simple": ", proxy_protocol: simple",
    "lenient": ", proxy_protocol: simple, spp_replies: lenient",
    "shared": ", proxy_protocol: simple, origin_socket: shared",
    "first": ", proxy_protocol: v2",
    "standalone": ", proxy_protocol: v2, proxy_header_datagram: standalone",
    "each": ", proxy_protocol: v2, proxy_header_datagram: each",
}


def leads(way, port, number):
    """The body of an app that leads to a port of the loopback, and what else the file has for it."""
    if way == "load_balancer":
        return led(port), balanced(number)
    if way == "origin_dns":
        return f"protocol: udp/{port}, edge_ips: [127.0.0.1], {NAMED % number}", ""
    return body(port, number), ""


NAMED = "origin_dns: {name: x.example, type: A}, origin_port: %d"
NAMED_KEY = "A x.example udp %d-%d"


def seen_of(plane, client, origin, count=3):
    """What an origin gets of a client, and what the client gets of answers with the header, and without."""
    got = []
    for _ in range(count):
        ask(client, edge(plane), b"x")
        plane.loop.process()
        while readable(origin, 0):
            data, peer = origin.recvfrom(1000)
            got.append(data.replace(port_of(client).to_bytes(2, "big"), b"**"))
            for answer in (data[:38] + b"y", b"z"):
                origin.sendto(answer, peer)
            plane.loop.process()
    while readable(client, 0):
        got.append(client.recv(100).replace(port_of(client).to_bytes(2, "big"), b"**"))
    return got


@pytest.mark.parametrize("before", DIALECTS)
@pytest.mark.parametrize("after", DIALECTS)
@pytest.mark.parametrize("way", ["same", "origin_direct", "load_balancer", "origin_dns"])
def test_a_flow_is_served_as_a_new_one_after_a_reload(make, free_port, origin, before, after, way):
    port = free_port()
    with datagrams() as other, datagrams() as client, datagrams() as newcomer:
        plane = make({"x": body(port, origin, more=DIALECTS[before])})
        seen_of(plane, client, origin)
        leads_to = origin if way == "same" else other
        number = port_of(leads_to)
        text, more = leads(way, port, number)
        plane.apply({"x": text + DIALECTS[after]}, {NAMED_KEY % (number, number): ("127.0.0.1",)}, more)
        assert plane.engine.active == 1
        seen = seen_of(plane, client, leads_to)
        if way == "same" and before == after:
            return  # it has told of its client already
        assert seen == seen_of(plane, newcomer, leads_to)
        assert plane.faults == []
        assert (plane.engine.sockets == 0) == (after == "shared")
        assert not readable(origin, 0)
        plane.plane.engine.close_flows(Reason.IDLE_TIMEOUT)
        measures = plane.plane.take_measures()["x"]
        assert measures.active == 0
        assert sum(counted.connected - counted.ended for counted in measures.origins.values()) == 0


@pytest.mark.parametrize("way", ["load_balancer", "origin_dns"])
def test_a_flow_is_served_as_a_new_one_wherever_it_came_from(make, free_port, origin, way):
    port, number = free_port(), port_of(origin)
    text, more = leads(way, port, number)
    with datagrams() as other, datagrams() as client, datagrams() as newcomer:
        plane = make({"x": text + DIALECTS["simple"]}, more=more)
        if way == "origin_dns":
            plane.plane.resolve({NAMED_KEY % (number, number): ("127.0.0.1",)}, [NAMED_KEY % (number, number)])
        assert seen_of(plane, client, origin)
        plane.apply({"x": body(port, other)})
        assert seen_of(plane, client, other) == seen_of(plane, newcomer, other)


def test_a_flow_has_the_idle_timeout_of_a_reload(make, free_port, origin):
    port = free_port()
    with datagrams() as client:
        plane = make({"x": body(port, origin, more=", timeouts: {idle: 1h}")})
        ask(client, edge(plane), b"x")
        plane.loop.process()
        plane.apply({"x": body(port, origin, more=", timeouts: {idle: 100ms}")})
        eventually(lambda: plane.loop.process() or plane.lines, 5)
    assert [event["Reason"] for event in plane.events()] == ["idle_timeout"]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("", ", accept_proxy_protocol: {from: [127.0.0.0/8]}", "header_missing"),
        (", accept_proxy_protocol: {from: [127.0.0.0/8]}", "", "header_untrusted"),
        (
            ", accept_proxy_protocol: {from: [127.0.0.0/8]}",
            ", accept_proxy_protocol: {from: [192.0.2.0/24]}",
            "header_untrusted",
        ),
        (
            ", accept_proxy_protocol: {from: [127.0.0.0/8]}",
            ", accept_proxy_protocol: {from: [127.0.0.1/32]}",
            None,
        ),
    ],
)
def test_a_flow_whose_client_would_be_refused_after_a_reload_ends(make, free_port, origin, before, after, reason):
    port = free_port()
    header = simple_proxy.pack(b"\xc0\0\2\1", b"\x7f\0\0\1", 5000, port)
    with datagrams() as client:
        plane = make({"x": body(port, origin, more=before)})
        ask(client, edge(plane), (header if before else b"") + b"x")
        plane.loop.process()
        assert origin.recv(100) == b"x"
        plane.apply({"x": body(port, origin, more=after)})
        plane.loop.process()
    assert [event["Reason"] for event in plane.events()] == [reason] * (reason is not None)
    assert plane.engine.active == (reason is None)


@pytest.mark.stands_for_a_process
def test_a_replacement_serves_flows_by_its_own_snapshot(make, free_port, origin):
    """Whoever upgrades reads the file again."""
    port = free_port()
    with datagrams() as client, datagrams() as newcomer:
        before = make({"x": body(port, origin, more=DIALECTS["simple"])})
        seen_of(before, client, origin)
        memory = os.dup(before.memory)
        before.sockets.popitem()[1].close()
        after = make({"x": body(port, origin, more=DIALECTS["first"])}, memory=memory)
        assert after.plane.recover() == 1
        assert seen_of(after, client, origin) == seen_of(after, newcomer, origin)


def test_names_that_change_move_flows(make, free_port, origin):
    with datagrams("127.0.0.2", port_of(origin)) as second, datagrams() as client:
        name = f"origin_dns: {{name: x.example, type: A}}, origin_port: {port_of(origin)}"
        plane = make({"x": f"protocol: udp/{free_port()}, edge_ips: [127.0.0.1], {name}"})
        key = f"A x.example udp {port_of(origin)}-{port_of(origin)}"
        plane.plane.resolve({key: ("127.0.0.1",)}, [key])
        with plane.running():
            confirm(plane, client, origin)
        plane.plane.resolve({key: ("127.0.0.2",)}, [key])
        with plane.running():
            ask(client, edge(plane), b"moved")
            assert second.recv(100) == b"moved"
        plane.plane.resolve({key: ()}, [key])
        eventually(lambda: plane.loop.process() or plane.lines, 3)
        assert [event["Reason"] for event in plane.events()] == ["unresolved"]


@pytest.mark.stands_for_a_process
@pytest.mark.parametrize("shared", [False, True])
def test_a_replacement_goes_on(make, free_port, origin, shared):
    port = free_port()
    more = ", proxy_protocol: simple, origin_socket: shared" if shared else ""
    bodies = {"x": body(port, origin, more=more)}
    with datagrams() as client:
        plane = make(bodies)
        with plane.running():
            for _ in range(2):
                ask(client, edge(plane), b"x")
                data, peer = origin.recvfrom(1000)
                origin.sendto(data, peer)
                client.recv(100)
        memory = os.dup(plane.memory)
        plane.sockets[next(iter(plane.sockets))].close()
        # A process that is killed leaves its flows as they are; here the engine is merely forgotten.
        for name in plane.engine.flows() if shared else ():
            assert plane.engine.flow(name)[1].port == port_of(origin)
        after = make(bodies, memory=memory)
        assert after.plane.recover() == 1
        with after.running():
            ask(client, edge(after), b"again")
            data, again = origin.recvfrom(100)
            assert data[-5:] == b"again"
            origin.sendto(data, again)
            assert client.recv(100) == b"again"
        assert after.lines == []
        assert after.plane.take_measures()["x"].started == 1


@pytest.mark.stands_for_a_process
def test_a_replacement_forgets_flows_that_lead_nowhere(make, free_port, origin):
    port = free_port()
    with datagrams() as client, datagrams() as other:
        plane = make({"x": body(port, origin)})
        with plane.running():
            confirm(plane, client, origin)
        memory = os.dup(plane.memory)
        plane.sockets[next(iter(plane.sockets))].close()
        assert make({"x": body(port, other)}, memory=memory).plane.recover() == 0


def test_draining(make, free_port, origin):
    plane = make({"x": body(free_port(), origin)})
    plane.plane.drain()
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"x")
        eventually(lambda: (measures := plane.plane.take_measures().get("x")) and measures.dropped == {4: 1})


def test_too_big_is_told_and_broken_is_logged_once(make, free_port, origin, caplog):
    plane = make({"x": body(free_port(), origin)})
    plane.plane.too_big(0, b"\x7f\0\0\1", 5, b"\x7f\0\0\2", 6, 1000)
    assert plane.answers == [(b"\x7f\0\0\1", 5, b"\x7f\0\0\2", 6, 1000)]
    for _ in range(3):
        plane.plane.broken(RuntimeError("why"))
    assert caplog.text.count("a fault of ours") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", ""])
@pytest.mark.parametrize("more", ["", ", accept_proxy_protocol: {from: ['::/0', 0.0.0.0/0]}"])
def test_a_datagram_from_a_listener_of_our_own_is_refused(make, free_port, origin, host, more, caplog):
    """It would go round for ever between two apps, or between an app and itself."""
    ports = [free_port(), free_port()]
    ips = f"edge_ips: ['{host}'], " if host else ""
    plane = make(
        {f"x{p}": f"protocol: udp/{p}, {ips}origin_direct: ['udp://127.0.0.1:{port_of(origin)}']{more}" for p in ports}
    )
    family = 16 if ":" in host else 4
    loopback = ("::1" if family == 16 else "127.0.0.1") if host != "" else "::ffff:127.0.0.1"
    one, two = plane.sockets.values()

    def refused():
        return sum(taken.ended.get(Reason.OWN_LISTENER, 0) for taken in plane.plane.take_measures().values())

    packed = b"\x7f\0\0\1" if family == 4 else bytes(15) + b"\1"
    for number, (sender, to) in enumerate([(one, ports[1]), (one, ports[0]), (two, ports[0])]):
        header = simple_proxy.pack(packed, packed, 5000 + number, ports[1]) if more else b""
        sender.sendto(header + b"x", (loopback, to))
    plane.loop.process()
    assert refused() == 3
    assert caplog.text.count("a listener of this daemon") == 1
    if more:  # a proxy in front that tells of such a client is not better
        with datagrams("::1" if family == 16 else "127.0.0.1") as client:
            header = simple_proxy.pack(packed, packed, ports[0], ports[1])
            client.sendto(header + b"x", (client.getsockname()[0], ports[1]))
            plane.loop.process()
        assert refused() == 1
    assert not readable(origin, 0)
    assert plane.faults == []


def test_the_same_port_at_another_address_is_somebody_else(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin)})
    with datagrams("127.0.0.2", port) as client:
        ask(client, edge(plane), b"x")
        plane.loop.process()
        assert origin.recv(10) == b"x"
    wild = make({"x": f"protocol: udp/{free_port()}, origin_direct: ['udp://127.0.0.1:{port_of(origin)}']"})
    own = port_of(edge(wild))
    assert wild.plane._registry.is_own(b"\x7f\0\0\5", own, frozenset)
    assert not wild.plane._registry.is_own(b"\xc0\0\2\1", own, frozenset)
    assert wild.plane._registry.is_own(b"\xc0\0\2\1", own, lambda: {ip_address("192.0.2.1")})


@pytest.mark.parametrize(
    ("prefix", "port", "client_port", "own"),
    [
        ("192.0.2.0/24", None, 53, True),
        ("192.0.2.0/24", 0, 9, True),
        ("192.0.2.0/24", 53, 53, True),
        ("192.0.2.0/24", 53, 54, False),
        ("0.0.0.0/0", 0, 9, False),  # of what the machine routes to itself, which need not be this
    ],
)
def test_addresses_that_bindings_lead_here_are_our_own(make, origin, prefix, port, client_port, own):
    port_text = "" if port is None else f", port: {port}"
    plane = make(
        {
            "x": f"protocol: udp/53, bindings: [{{prefix: {prefix}{port_text}}}], "
            f"origin_direct: ['udp://127.0.0.1:{port_of(origin)}']"
        }
    )
    assert plane.plane._registry.is_own(b"\xc0\0\2\1", client_port, frozenset) is own
    assert client_port in plane.plane._own_ports or not own


@pytest.mark.parametrize(
    ("outcome", "error", "reason"),
    [
        (FlowOutcome.FLOW_EVICTED, 0, Reason.EVICTED),
        (FlowOutcome.FLOW_CONNECT_FAILED, 101, Reason.CONNECT_UNREACHABLE),
        (FlowOutcome.FLOW_CONNECT_FAILED, 0, Reason.NO_ORIGIN),
        (FlowOutcome.FLOW_REFUSED, 0, Reason.INTERNAL_ERROR),
        (FlowOutcome.FLOW_REFUSED, Reason.UNRESOLVED, Reason.UNRESOLVED),
        (FlowOutcome.FLOW_ORIGIN_ERROR, 111, Reason.INTERNAL_ERROR),
    ],
)
def test_reasons(outcome, error, reason):
    assert reason_of(outcome, error) is reason


def test_unlogged(make, free_port, origin):
    plane = make({"x": body(free_port(), origin, more=", timeouts: {idle: 50ms}")})
    plane.plane._records.wanted = False
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"x")
        eventually(lambda: plane.engine.active == 1)
        eventually(lambda: plane.engine.active == 0)
    assert plane.lines == []


# --- load balancers ---------------------------------------------------------------------------------------------------


def led(port, more=""):
    return f"protocol: udp/{port}, edge_ips: [127.0.0.1], load_balancer: lb{more}"


def number(plane, name):
    return next(n for n, origin in plane.parts.balancers.origins.items() if origin.name == name)


def test_a_flow_leaves_a_port_where_nobody_listens(make, free_port, origin):
    made = make({"x": led(free_port())}, more=balanced(closed_port(), origin))
    with made.running() as plane:
        for _ in range(12):
            with datagrams() as client:
                ask(client, edge(plane), b"x")
                time.sleep(0.02)
                ask(client, edge(plane), b"y")
                assert origin.recv(10) in (b"x", b"y")
        measures = plane.plane.take_measures()["x"]
        assert measures.failovers > 0
        assert plane.parts.balancers.take_signs()[number(plane, "a")].connect_failures == measures.failovers


def test_a_flow_that_is_answered_ends_a_row_of_failures(make, free_port, origin):
    made = make({"x": led(free_port(), ", timeouts: {idle: 100ms}")}, more=balanced(origin))
    a = number(made, "a")
    made.parts.balancers.failed(a, "connect_refused")
    with made.running() as plane, datagrams() as client:
        confirm(plane, client, origin)
        eventually(lambda: plane.lines)
        signs = plane.parts.balancers.take_signs()[a]
    assert (signs.connected, signs.connect_failures) == (1, 0)


def test_flows_leave_an_origin_that_goes_down(make, free_port, origin):
    with datagrams() as other:
        made = make({"x": led(free_port())}, more=balanced(origin, other, balancer=", session_affinity: ip_port"))
        with datagrams() as client:
            with made.running() as plane:
                ask(client, edge(plane), b"x")
                first, second = (origin, other) if readable(origin) else (other, origin)
                first.recv(10)
            name = "a" if first is origin else "b"
            lost = made.parts.balancers.take_standings({number(made, name): Standing(False)})
            assert lost == {number(made, name)}
            made.plane.leave_origins(lost)
            made.plane.leave_origins(())
            with made.running() as plane:
                ask(client, edge(plane), b"y")
                assert second.recv(10) == b"y"


@pytest.mark.parametrize("how", ["disabled", "removed"])
@pytest.mark.parametrize("drain_s", [None, 0, 60])
def test_an_origin_is_taken_out_of_service(make, free_port, origin, how, drain_s):
    drain = "" if drain_s is None else f", session_affinity_attributes: {{drain_duration: {drain_s}}}"
    port = free_port()
    with datagrams() as other, datagrams() as client:
        made = make({"x": led(port)}, more=balanced(origin, balancer=drain))
        with made.running() as plane:
            ask(client, edge(plane), b"x")
            assert origin.recv(10) == b"x"
        one = balanced(other, names="b", balancer=drain)
        two = balanced(origin, other, balancer=drain, disabled="a")
        made.apply({"x": led(port)}, more=one if how == "removed" else two)
        with made.running() as plane:
            ask(client, edge(plane), b"y")
            if drain_s is None:  # at once, as without a load balancer
                assert other.recv(10) == b"y"
                return
            assert origin.recv(10) == b"y"
        now = time.monotonic()
        made.plane.drains.tick(now + max(0, drain_s - 5))
        made.plane.drains.tick(now + max(10, drain_s) + 1)
        assert not made.plane.drains.pending
        with made.running() as plane:
            ask(client, edge(plane), b"z")
            assert other.recv(10) == b"z"


@pytest.mark.stands_for_a_process
def test_a_replacement_finds_the_origins_of_a_load_balancer(make, free_port, origin):
    port, memory = free_port(), MemoryFile()
    with datagrams() as client:
        first = make({"x": led(port)}, more=balanced(origin), memory=memory)
        with first.running() as plane:
            confirm(plane, client, origin)
        first.sockets.popitem()[1].close()
        second = make({"x": led(port)}, more=balanced(origin), memory=memory)
        assert second.plane.recover() == 1
        assert second.parts.memory.loads.open(number(second, "a")) == 1
        with second.running() as plane:
            ask(client, edge(plane), b"again")
            assert origin.recv(10) == b"again"


def readable(sock, timeout_s=1):
    return bool(select.select([sock], [], [], timeout_s)[0])


def test_a_new_app_has_its_rules_before_it_has_clients(make, free_port):
    """`Plane.look` holds it, for apps that come and for one that asks for rules from now on."""
    ports = [free_port() for _ in range(3)]
    plane = make({"x": body(ports[0], 9)})
    guarded = {name: body(port, 9, more=", ip_firewall: true") for name, port in zip("xyz", ports, strict=True)}
    plane.apply(guarded, more="access_rules: {r: {target: ip_range, values: [192.0.2.0/24], action: block}}")
    assert plane.looks > 3 and all(app.judge for app in plane.plane._registry.apps())
