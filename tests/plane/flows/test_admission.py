"""The decision on new flows, with a real engine and real sockets."""

import pytest

from spectrum.wire import Transport, parse, simple_proxy
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import ask, datagrams
from tests.plane.udp_parts import body, edge


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


def test_flows_take_origins_in_turn(make, free_port, origin):
    with datagrams() as second, datagrams() as one, datagrams() as two:
        plane = make({"x": body(free_port(), origin, second)})
        with plane.running():
            for client in (one, two):
                ask(client, edge(plane), b"x")
            assert origin.recv(100) == second.recv(100) == b"x"


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


RULES = "access_rules: {no: {target: ip_range, values: [127.0.0.0/8], action: %s}}"


@pytest.mark.parametrize(("action", "reasons"), [("block", ["client_blocked"]), ("allow", [])])
def test_access_rules(make, free_port, origin, action, reasons):
    app = body(free_port(), origin, more=", ip_firewall: true")
    plane = make({"x": app}, more=RULES % action)
    with datagrams() as client:
        ask(client, edge(plane), b"x")
        plane.loop.process()
    plane.plane.flush_records()
    assert [event["Reason"] for event in plane.events()] == reasons
    assert all(event["AccessRule"] == "no" for event in plane.events())
    assert plane.engine.active == (not reasons)
    assert plane.plane.take_measures()["x"].rules == {"no": 1}


def test_limits(make, free_port, origin):
    plane = make({"x": body(free_port(), origin, more=", limits: {client: {flows: 1}}")})
    with datagrams() as one, datagrams() as two:
        for client in (one, two):
            ask(client, edge(plane), b"x")
            plane.loop.process()
    plane.plane.flush_records()
    assert [(event["Reason"], event["Limit"]) for event in plane.events()] == [
        ("client_limit", "app: client_sessions 1")
    ]
    assert plane.engine.active == 1


def test_a_listener_of_our_own_is_no_client(make, free_port, origin):
    plane = make({"x": body(free_port(), origin)})
    edge(plane).sendto(b"x", edge(plane).getsockname())
    plane.loop.process()
    plane.plane.flush_records()
    assert [event["Reason"] for event in plane.events()] == ["own_listener"]


def test_clients_that_a_proxy_names(make, free_port, origin):
    """A proxy that is not trusted names nobody."""
    plane = make({"x": body(free_port(), origin, more=", accept_proxy_protocol: {from: [127.0.0.1/32]}")})
    data = simple_proxy.pack(b"\xc0\0\2\1", b"\x7f\0\0\1", 5000, port_of(edge(plane))) + b"x"
    with datagrams() as trusted, datagrams("127.0.0.2") as other:
        for proxy in (trusted, other):
            ask(proxy, edge(plane), data)
            plane.loop.process()
    assert plane.engine.active == 1
    assert plane.engine.client_of(plane.engine.flows()[0]) == (b"\xc0\0\2\1", 5000)
