"""Flows over reloads: they are served as new ones."""

import os

import pytest

from spectrum.core.records.reasons import Reason
from spectrum.wire import simple_proxy
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import ask, datagrams, settle
from tests.plane.parts import balanced
from tests.plane.udp_parts import DIALECTS, body, edge, led, readable, seen_of

NAMED = "origin_dns: {name: x.example, type: A}, origin_port: %d"


NAMED_KEY = "A x.example udp %d-%d"


def leads(way, port, number):
    """The body of an app that leads to a port of the loopback, and what else the file has for it."""
    if way == "load_balancer":
        return led(port), balanced(number)
    if way == "origin_dns":
        return f"protocol: udp/{port}, edge_ips: [127.0.0.1], {NAMED % number}", ""
    return body(port, number), ""


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


def test_flows_of_clients_that_are_blocked_by_now_end(make, free_port, origin):
    """Of an app that asks for access rules; another one keeps its flows."""
    ports = [free_port(), free_port()]
    apps = {"x": body(ports[0], origin, more=", ip_firewall: true"), "y": body(ports[1], origin)}
    plane = make(apps)
    with datagrams() as client:
        for port in ports:
            client.sendto(b"x", ("127.0.0.1", port))
            settle()
            plane.loop.process()
        assert plane.engine.active == 2
        plane.apply(apps, more="access_rules: {ok: {target: ip_range, values: [127.0.0.1], action: allow}}")
        assert plane.engine.active == 2
        plane.apply(apps, more="access_rules: {no: {target: ip_range, values: [127.0.0.1], action: block}}")
        assert plane.engine.active == 1
        plane.loop.process()
    plane.plane.flush_records()
    (event,) = plane.events()
    assert (event["Application"], event["Reason"], event["AccessRule"]) == ("x", "client_blocked", "no")
