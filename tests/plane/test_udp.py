"""The UDP plane with its engine and plain sockets: decisions, reloads, records."""

import os
import time

import pytest

from spectrum.core.records.reasons import Reason
from tests.engine.harness import MemoryFile, eventually, port_of
from tests.engine.test_datagrams import ask, datagrams
from tests.plane.parts import balanced
from tests.plane.udp_parts import body, confirm, edge, led, make, number, origin

__all__ = ["make", "origin"]


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


@pytest.mark.stands_for_a_process
@pytest.mark.parametrize("shared", [False, True])
def test_a_replacement_continues(make, free_port, origin, shared):
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


def test_too_big_is_reported_and_broken_is_logged_once(make, free_port, origin, caplog):
    plane = make({"x": body(free_port(), origin)})
    plane.plane.too_big(0, b"\x7f\0\0\1", 5, b"\x7f\0\0\2", 6, 1000)
    assert plane.answers == [(b"\x7f\0\0\1", 5, b"\x7f\0\0\2", 6, 1000)]
    for _ in range(3):
        plane.plane.broken(RuntimeError("why"))
    assert caplog.text.count("internal error") == 1


def test_unlogged(make, free_port, origin):
    plane = make({"x": body(free_port(), origin, more=", timeouts: {idle: 50ms}")})
    plane.plane._records.wanted = False
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"x")
        eventually(lambda: plane.engine.active == 1)
        eventually(lambda: plane.engine.active == 0)
    assert plane.lines == []


def test_a_flow_that_is_answered_ends_a_row_of_failures(make, free_port, origin):
    made = make({"x": led(free_port(), ", timeouts: {idle: 100ms}")}, more=balanced(origin))
    a = number(made, "a")
    made.parts.balancers.failed(a, "connect_refused")
    with made.running() as plane, datagrams() as client:
        confirm(plane, client, origin)
        eventually(lambda: plane.lines)
        outcomes = plane.parts.balancers.take_outcomes()[a]
    assert (outcomes.connected, outcomes.connect_failures) == (1, 0)


@pytest.mark.parametrize("as_difference", [False, True], ids=["whole", "difference"])
@pytest.mark.parametrize("how", ["disabled", "removed"])
@pytest.mark.parametrize("drain_s", [None, 0, 60])
def test_an_origin_is_taken_out_of_service(make, free_port, origin, how, drain_s, as_difference):
    drain = "" if drain_s is None else f", session_affinity_attributes: {{drain_duration: {drain_s}}}"
    port = free_port()
    with datagrams() as other, datagrams() as client:
        made = make({"x": led(port)}, more=balanced(origin, balancer=drain))
        with made.running() as plane:
            ask(client, edge(plane), b"x")
            assert origin.recv(10) == b"x"
        one = balanced(other, names="b", balancer=drain)
        two = balanced(origin, other, balancer=drain, disabled="a")
        made.apply({"x": led(port)}, more=one if how == "removed" else two, as_difference=as_difference)
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


def test_a_new_app_has_its_rules_before_it_has_clients(make, free_port):
    """`Plane.look` holds it, for apps that come and for one that asks for rules from now on."""
    ports = [free_port() for _ in range(3)]
    plane = make({"x": body(ports[0], 9)})
    guarded = {name: body(port, 9, more=", ip_firewall: true") for name, port in zip("xyz", ports, strict=True)}
    plane.apply(guarded, more="access_rules: {r: {target: ip_range, values: [192.0.2.0/24], action: block}}")
    assert plane.looks > 3 and all(app.judge for app in plane.plane._registry.apps())


def test_open_flows_have_records_that_one_id_joins(make, free_port, origin):
    more = "records: {events: [connect, progress], progress_interval: 1s}"
    plane = make({"x": body(free_port(), origin)}, more=more)
    with plane.running(), datagrams() as client:
        confirm(plane, client, origin)
        eventually(lambda: plane.events() and plane.events()[-1]["Event"] == "progress")
        plane.plane.engine.close_flows(Reason.DRAINED)
        eventually(lambda: plane.events()[-1]["Event"] == "disconnect")
    first, *others, last = plane.events()
    assert [first["Event"], last["Reason"]] == ["connect", "drained"]
    assert len({event["SessionId"] for event in plane.events()}) == 1
    assert first["Timestamp"] == first["ConnectTimestamp"]
    counts = ("ClientBytesSince", "OriginBytesSince", "ClientDatagramsSince", "OriginDatagramsSince")
    assert [others[0][name] for name in counts] == [2, 2, 2, 2]
    assert others[0]["ClientDatagrams"] == 2
    assert others[0]["DisconnectTimestamp"] is None


def test_an_origin_has_as_many_flows_as_it_may(make, free_port, origin):
    with datagrams() as second, datagrams() as one, datagrams() as two, datagrams() as three:
        plane = make({"x": body(free_port(), origin, second, more=", origin_max_sessions: 1")})
        with plane.running():
            for client in (one, two):
                ask(client, edge(plane), b"x")
            assert origin.recvfrom(100)[0] == second.recvfrom(100)[0] == b"x"
            ask(three, edge(plane), b"x")
            eventually(lambda: "origin_full" in [event["Reason"] for event in plane.events()])
        assert plane.plane.take_measures()["x"].ended == {Reason.ORIGIN_FULL: 1}
