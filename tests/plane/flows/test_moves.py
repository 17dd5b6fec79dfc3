"""Flows whose origin fails or leaves, with a real engine and real sockets."""

import time

from spectrum.core.balancing.pools import Standing
from spectrum.wire import simple_proxy
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import ask, closed_port, datagrams
from tests.plane.parts import balanced
from tests.plane.udp_parts import body, confirm, edge, led, number, readable


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
        assert plane.parts.balancers.take_outcomes()[number(plane, "a")].connect_failures == measures.failovers


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
