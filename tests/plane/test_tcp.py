"""Sessions and apps of a TCP plane, with a real engine and real sockets, without processes."""

import asyncio
import socket
import time
from datetime import datetime, timedelta

import pytest

from spectrum.core.balancing.pools import Standing
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import ListenerKey
from spectrum.engine.loop import Loop
from spectrum.plane.tcp import TcpPlane
from tests.engine.harness import eventually, listening, port_of, reset
from tests.plane.parts import Parts, balanced
from tests.plane.tcp_parts import (
    ACCEPT,
    assert_refused,
    body,
    connect,
    exchange,
    led,
    number,
)


def test_measures(make, free_port, origin):
    port = free_port()
    with make({"x": body(port, origin)}).running() as plane:
        exchange(port, origin, b"12345")
        eventually(plane.events)
        measures = plane.plane.take_measures()["x"]
    assert (measures.started, measures.active, measures.bytes_from_client) == (1, 0, 5)
    assert sum(measures.connect.counts) == sum(measures.duration.counts) == 1
    (counted,) = measures.origins.values()
    assert plane.plane._registry.in_slot(0).dialing == 0
    assert (counted.connected, counted.ended, counted.failed) == (1, 1, 0)
    assert plane.plane.take_measures() == {}


def test_records_beyond_the_limit_of_the_log_are_counted(make, free_port, origin):
    port = free_port()
    with make({"x": body(port, origin)}, more="log: {sessions_per_second: 1}").running() as plane:
        left_out = ended = 0

        def counted():
            nonlocal left_out, ended
            exchange(port, origin, b"12345")
            for measures in plane.plane.take_measures().values():
                left_out += measures.left_out
                ended += sum(measures.ended.values())
            return left_out > 1 and left_out + len(plane.events()) == ended

        eventually(counted)


def test_sessions_outlive_their_app_and_their_listener_is_forgotten(make, free_port, origin):
    first, second = free_port(), free_port()
    plane = make({"x": body(first, origin)})
    with connect(first) as sock:
        with plane.running():
            connection, _ = origin.accept()
        assert plane.apply({"y": body(second, origin)}) == [ListenerKey("127.0.0.1", first)]
        assert len(plane.plane._listeners) == 2
        with plane.running():
            sock.sendall(b"still here")
            assert connection.recv(100) == b"still here"
            connection.close()
            sock.close()
            eventually(plane.events)
    assert plane.events()[0]["Application"] == "x"
    assert len(plane.plane._listeners) == 1


def test_slots_of_removed_apps_are_used_again(make, free_port, origin):
    port = free_port()
    plane = make({"x0": body(port, origin)})
    for count in range(1, 20):
        plane.apply({f"x{count}": body(port, origin)})
    assert len(plane.plane._registry._slots) == 2


def test_a_listener_may_move_to_another_app(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin)})
    assert plane.apply({"y": body(port, origin)}) == []
    with plane.running():
        exchange(port, origin, b"x")
        eventually(plane.events)
    assert plane.events()[0]["Application"] == "y"


def test_names_reach_listeners_later(make, free_port, origin):
    port = free_port()
    text = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_dns: {{name: x.example, type: A}}"
    plane = make({"x": f"{text}, origin_port: {port_of(origin)}"})
    key = f"A x.example tcp {port_of(origin)}-{port_of(origin)}"
    plane.plane.resolve({key: ("127.0.0.1",)}, [key, "A unknown 1-1"])
    with plane.running():
        assert exchange(port, origin, b"x") == b"x"


def test_stop_accepting(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin)})
    plane.plane.stop_accepting()
    with plane.running(), connect(port) as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_clients_that_were_gone_are_counted_each_and_recorded_together(make, free_port, origin):
    port, behind = free_port(), free_port()
    plane = make({"x": body(port, origin), "y": body(behind, origin, ACCEPT)})
    for _ in range(3):
        reset(connect(port))
        reset(connect(behind))
    plane.plane.stop_accepting()
    plane.plane.flush_records()
    told = [(e["Application"], e["Reason"], e["Status"], e["ClientIP"], e.get("Sessions", 1)) for e in plane.events()]
    assert sorted(told) == [(app, "client_reset", 499, "127.0.0.1", count) for app in "xy" for count in (1, 2)]
    measures = plane.plane.take_measures()
    for app in "xy":
        assert (measures[app].started, measures[app].ended) == (3, {Reason.CLIENT_RESET: 3})
        assert measures[app].active == 0
    origin.setblocking(False)
    with pytest.raises(BlockingIOError):
        origin.accept()


def test_clients_that_are_reset_before_they_have_an_origin_are_recorded_together(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin, ACCEPT)})
    with plane.running():
        socks = [connect(port) for _ in range(3)]
        eventually(lambda: plane.relay.active == 3)
        for sock in socks:
            reset(sock)
        eventually(lambda: not plane.relay.active)
    plane.plane.flush_records()
    assert [(event["Reason"], event.get("Sessions", 1)) for event in plane.events()] == [
        ("client_reset", 1),
        ("client_reset", 2),
    ]


def test_faults_of_ours_are_logged_once_a_second(make, free_port, origin, caplog):
    plane = make({"x": body(free_port(), origin)}).plane
    for _ in range(3):
        plane.broken(RuntimeError("why"))
    assert caplog.text.count("internal error") == 1


def _served(plane, port, origin, times):
    """Exchange something with an origin some times, one after the other; return what it got."""
    got, before = [], len(plane.events())
    for _ in range(times):
        got.append(exchange(port, origin, b"payload"))
        eventually(lambda: len(plane.events()) == before + len(got))
    return got


def test_a_plan_decides_as_the_plane_does(make, free_port, origin):
    port = free_port()
    more = ", proxy_protocol: v1, ip_firewall: true, limits: {client: {sessions: 2}, new_per_second: 100}"
    rules = "access_rules: {bad: {target: ip_range, values: [192.0.2.0/24], action: block}}"
    with make({"x": body(port, origin, more)}, more=rules).running() as plane:
        first, second, third = _served(plane, port, origin, 3)
        for header in (first, second, third):
            assert (header[:16], header[-9:]) == (b"PROXY TCP4 127.0", b"\r\npayload")
        with connect(port), connect(port), origin.accept()[0], origin.accept()[0], pytest.raises(ConnectionError):
            assert_refused(port, b"")
        eventually(lambda: len(plane.events()) == 6)
    assert [event["Reason"] for event in plane.events()].count("client_limit") == 1
    measures = plane.plane.take_measures()["x"]
    assert (measures.started, measures.active, measures.bytes_from_client) == (6, 0, 21)
    assert measures.origins[f"127.0.0.1:{port_of(origin)}"].connected == 5
    assert measures.origins[f"127.0.0.1:{port_of(origin)}"].ended == 5
    assert (sum(measures.connect.counts), sum(measures.duration.counts)) == (5, 5)
    app = plane.plane._registry.in_slot(0)
    assert (app.open, app.dialing) == (0, 0)


def test_a_plan_ends_with_what_it_was_made_of(make, free_port, origin):
    port = free_port()
    rules = "access_rules: {bad: {target: ip_range, values: [127.0.0.0/8], action: %s}}"
    bodies = {"x": body(port, origin, ", ip_firewall: true")}
    plane = make(bodies)
    with plane.running():
        _served(plane, port, origin, 2)
    plane.apply(bodies, more=rules % "allow")
    with plane.running():
        _served(plane, port, origin, 2)
    plane.apply(bodies, more=rules % "block")
    with plane.running():
        with pytest.raises(ConnectionError):
            assert_refused(port, b"")
        eventually(lambda: len(plane.events()) == 5)
    assert [event["AccessRule"] for event in plane.events()] == ["", "", "bad", "bad", "bad"]
    assert [event["ClientMatchedIpFirewall"] for event in plane.events()][2:4] == ["WHITELIST_IP"] * 2


def test_a_plan_follows_names(make, free_port, origin):
    port = free_port()
    record = "origin_dns: {name: origin.test}, origin_port: " + str(port_of(origin))
    bodies = {"x": f"protocol: tcp/{port}, edge_ips: [127.0.0.1], {record}"}
    plane = make(bodies)
    for addresses in (("127.0.0.1",), ("127.0.0.1",)):
        plane.plane.resolve(
            {"A/AAAA origin.test": addresses, **dict.fromkeys(plane.plane._registry._by_name, addresses)},
            list(plane.plane._registry._by_name),
        )
        with plane.running():
            seen = len(plane.events())
            assert exchange(port, origin, b"payload") == b"payload"
            assert exchange(port, origin, b"payload") == b"payload"
            eventually(lambda: len(plane.events()) == seen + 2)  # noqa: B023
    plane.plane.resolve(dict.fromkeys(plane.plane._registry._by_name, ()), list(plane.plane._registry._by_name))
    with plane.running():
        with pytest.raises(ConnectionError):
            assert_refused(port, b"")
        eventually(lambda: len(plane.events()) == 5)
    assert plane.events()[-1]["Reason"] == "unresolved"


@pytest.mark.parametrize("on_remove", ["keep", "drain", "close"])
def test_sessions_of_a_removed_app(make, free_port, origin, on_remove):
    first, second = free_port(), free_port()
    with listening() as other:
        plane = make({"x": body(first, origin, more=f", on_remove: {on_remove}"), "y": body(second, other)})
        with connect(first) as leaving, connect(second) as staying:
            with plane.running():
                connections = [sock.accept()[0] for sock in (origin, other)]
            plane.apply({"y": body(second, other)}, more="drain_timeout: 20s")
            assert plane.plane.drains.pending is (on_remove == "drain")
            if on_remove == "drain":
                now = time.monotonic()
                plane.plane.drains.tick(now + 1)
                assert plane.events() == []
                plane.plane.drains.tick(now + 21)
            with plane.running():
                if on_remove == "keep":
                    leaving.sendall(b"still here")
                    assert connections[0].recv(20) == b"still here"
                else:
                    assert leaving.recv(1) == b""
                    eventually(plane.events)
                    (event,) = plane.events()
                    assert (event["Application"], event["Reason"]) == ("x", "listener_removed")
                staying.sendall(b"hello")
                assert connections[1].recv(20) == b"hello"
            for connection in connections:
                connection.close()


def test_an_app_that_comes_back_counts_with_what_is_left_of_it(make, free_port, origin):
    first, second = free_port(), free_port()
    with listening() as other:
        here, away = {"x": body(first, origin), "y": body(second, other)}, {"y": body(second, other)}
        plane = make(here)
        with connect(first):
            with plane.running():
                origin.accept()[0].close()
            plane.apply(away)
            plane.apply(here)
            plane.plane.take_measures()
            with connect(first), plane.running():
                origin.accept()[0].close()
                eventually(lambda: plane.plane.open_sessions() == {"x": 2})
        with plane.running():
            eventually(lambda: len(plane.events()) == 2)
    measures = plane.plane.take_measures()["x"]
    assert (measures.started, sum(measures.ended.values())) == (1, 2)


def test_sessions_of_a_released_worker_end_spread(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin)})
    sessions = [connect(port) for _ in range(10)]
    with plane.running():
        connections = [origin.accept()[0] for _ in sessions]
    now = time.monotonic()
    plane.plane.end_by(60)
    for after_s, ended in ((40, 0), (56, 5), (61, 10)):
        plane.plane.drains.tick(now + after_s)
        assert abs(len(plane.events()) - ended) <= 1
    assert {event["Reason"] for event in plane.events()} == {"drained"}
    for sock in (*sessions, *connections):
        sock.close()


def test_a_changed_app_is_no_removed_one(make, free_port, origin):
    first, second = free_port(), free_port()
    plane = make({"x": body(first, origin, more=", on_remove: close")})
    with connect(first) as sock:
        with plane.running():
            connection, _ = origin.accept()
        plane.apply({"x": body(second, origin, more=", on_remove: close")})
        with plane.running():
            sock.sendall(b"still here")
            assert connection.recv(20) == b"still here"
        connection.close()


# --- load balancers ---------------------------------------------------------------------------------------------------


def test_open_sessions_are_counted_for_all_workers(make, free_port, origin):
    port = free_port()
    made = make({"x": led(port)}, more=balanced(origin))
    loads = made.parts.memory.loads
    with made.running() as plane:
        with connect(port):
            connection, _ = origin.accept()
            eventually(lambda: loads.open(number(plane, "a")) == 1)
            pool = plane.parts.balancers._pools["p"].number
            assert loads.open(pool) == 1
            connection.close()
        eventually(lambda: loads.open(number(plane, "a")) == loads.open(pool) == 0)


def test_sessions_that_are_reset_are_outcomes(make, free_port, origin):
    port = free_port()
    made = make({"x": led(port)}, more=balanced(origin))
    with made.running() as plane:
        for answer in (b"", b"hello"):
            with connect(port) as sock:
                connection, _ = origin.accept()
                connection.sendall(answer)
                assert sock.recv(5) == answer if answer else True
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
            eventually(lambda answer=answer: len(plane.events()) == (2 if answer else 1))
            if not answer:
                assert plane.parts.balancers.take_outcomes()[number(plane, "a")].resets == 1
        assert plane.parts.balancers.take_outcomes()[number(plane, "a")].answered == 1


DRAIN = ", session_affinity_attributes: {drain_duration: 0}"


@pytest.mark.parametrize("as_difference", [False, True], ids=["whole", "difference"])
@pytest.mark.parametrize("how", ["disabled", "removed"])
@pytest.mark.parametrize("drain", ["", DRAIN])
def test_an_origin_is_taken_out_of_service(make, free_port, origin, how, drain, as_difference):
    port = free_port()
    with listening() as other:
        made = make({"x": led(port)}, more=balanced(origin, balancer=drain))
        with connect(port) as sock:
            with made.running():
                connection, _ = origin.accept()
            one = balanced(other, names="b", balancer=drain)
            two = balanced(origin, other, balancer=drain, disabled="a")
            made.apply({"x": led(port)}, more=one if how == "removed" else two, as_difference=as_difference)
            assert made.plane.drains.pending is bool(drain)
            with made.running() as plane:
                assert exchange(port, other, b"new") == b"new"
                connection.sendall(b"old")
                assert sock.recv(3) == b"old"
                if drain:
                    now = time.monotonic()
                    plane.plane.drains.tick(now + 5)
                    plane.plane.drains.tick(now + 11)
                    assert sock.recv(1) == b""
                    eventually(lambda: len(plane.events()) == 2)
                    assert {event["Reason"] for event in plane.events()} == {"client_closed", "origin_drained"}
            connection.close()


def test_an_origin_serves_again_before_its_drain_is_over(make, free_port, origin):
    port = free_port()
    both = {"balancer": DRAIN.replace("0}", "60s}")}
    made = make({"x": led(port)}, more=balanced(origin, origin, **both))
    made.apply({"x": led(port)}, more=balanced(origin, origin, disabled="a", **both))
    assert made.plane.drains.pending
    made.apply({"x": led(port)}, more=balanced(origin, origin, **both))
    assert not made.plane.drains.pending


def test_an_app_comes_to_have_a_load_balancer(make, free_port, origin):
    port = free_port()
    with listening() as other:
        made = make({"x": body(port, origin)})
        with made.running():
            assert exchange(port, origin, b"x") == b"x"
        made.apply({"x": led(port)}, more=balanced(other))
        with made.running() as plane:
            assert exchange(port, other, b"y") == b"y"
            eventually(lambda: len(plane.events()) == 2)
            found = plane.plane.take_measures()["x"].origins
    assert [counted.connected for counted in found.values()] == [1, 1]


def test_a_disabled_load_balancer_refuses(make, free_port, origin):
    port = free_port()
    made = make({"x": led(port)}, more=balanced(origin, balancer=", enabled: false"))
    with made.running() as plane, pytest.raises(ConnectionResetError), connect(port) as sock:
        sock.recv(1)
    eventually(plane.events)
    assert plane.events()[0]["Reason"] == "no_origin"


def test_a_new_app_has_its_rules_before_it_has_clients(make, free_port, origin):
    """`Plane.look` holds it, for apps that come and for one that asks for rules from now on."""
    ports = [free_port() for _ in range(3)]
    plane = make({"x": body(ports[0], origin)})
    guarded = {name: body(port, origin, ", ip_firewall: true") for name, port in zip("xyz", ports, strict=True)}
    plane.apply(guarded, more="access_rules: {r: {target: ip_range, values: [192.0.2.0/24], action: block}}")
    assert plane.looks > 3 and all(app.judge for app in plane.plane._registry.apps())


EVENTS = "records: {events: [connect, progress], progress_interval: 1s}"


@pytest.mark.parametrize("how", ["planned", "proxied"])
def test_open_sessions_have_records_that_one_id_joins(make, free_port, origin, how):
    port = free_port()
    plane = make({"x": body(port, origin, ACCEPT if how == "proxied" else "")}, more=EVENTS)
    with plane.running():
        for _ in range(2):  # a plan is made by the first session
            with connect(port) as sock:
                sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n12345" if how == "proxied" else b"12345")
                server, _ = origin.accept()
                with server:
                    assert server.recv(100) == b"12345"
                    eventually(lambda: plane.events() and plane.events()[-1]["Event"] == "progress")
            eventually(lambda: plane.events()[-1]["Event"] == "disconnect")
    by_session = {}
    for event in plane.events():
        by_session.setdefault(event["SessionId"], []).append(event)
    assert len(by_session) == 2
    for first, *more, last in by_session.values():
        assert [first["Event"], last["Event"]] == ["connect", "disconnect"]
        assert {event["Event"] for event in more} == {"progress"}
        assert (first["Status"], first["Reason"], first["DisconnectTimestamp"]) == (0, "", None)
        assert first["Timestamp"] == first["ConnectTimestamp"]
        # The wall clock is read for each batch.
        connected = [datetime.fromisoformat(event["ConnectTimestamp"]) for event in (first, *more, last)]
        assert max(connected) - min(connected) < timedelta(milliseconds=100)
        assert [more[0][name] for name in ("ClientBytes", "ClientBytesSince", "OriginBytesSince")] == [5, 5, 0]
        assert {event["ClientIP"] for event in (first, *more, last)} == {
            "192.0.2.1" if how == "proxied" else "127.0.0.1"
        }


# --- connections ahead of sessions ------------------------------------------------------------------------------------


def test_connections_are_opened_ahead_of_sessions(make, free_port, origin):
    port = free_port()
    with listening() as other:
        plane = make({"x": body(port, origin, ", origin_preconnect: 2")})
        counts = {}

        def counted(sock, **expected):
            taken = plane.plane.take_measures().get("x")
            for name, measures in taken.origins.items() if taken else ():
                mine = counts.setdefault(name, {})
                for what, count in measures.preconnects.items():
                    mine[what] = mine.get(what, 0) + count
            return counts.get(f"127.0.0.1:{port_of(sock)}") == expected

        with plane.running(), connect(port) as client:
            ahead = [origin.accept()[0] for _ in range(3)]
            client.sendall(b"x")
            eventually(lambda: counted(origin, opened=3, used=1) or counted(origin, opened=2))
        plane.apply({"x": body(port, other, ", origin_preconnect: 1")})
        with plane.running():
            eventually(lambda: counted(other, opened=1))
            assert counts[f"127.0.0.1:{port_of(origin)}"]["closed"] == 2
        plane.apply({"x": body(port, other)})
        assert counted(other, opened=1, closed=1)
        plane.apply({"x": body(port, other, ", origin_preconnect: 1")})
        with plane.running():
            eventually(lambda: counted(other, opened=2, closed=1))
            plane.plane.stop_accepting()
            assert counted(other, opened=2, closed=2)
        for one in ahead:
            one.close()


def test_no_connection_waits_for_an_origin_that_is_down(make, free_port, origin):
    port = free_port()
    plane = make(
        {"x": f"protocol: tcp/{port}, edge_ips: [127.0.0.1], load_balancer: lb, origin_preconnect: 1"},
        more=balanced(origin),
    )
    (number,) = plane.parts.balancers.origins
    with plane.running():
        with origin.accept()[0] as ahead:
            plane.parts.balancers.take_standings({number: Standing(False)})
            plane.plane.preconnect()
            ahead.settimeout(5)
            assert ahead.recv(1) == b""
        plane.parts.balancers.take_standings({number: Standing(True)})
        plane.plane.preconnect()
        origin.accept()[0].close()


class Blocked:
    """A relay with sessions that rules block, in all but every third place."""

    def __init__(self, places):
        self.places, self.closed, self.asked = places, [], []

    def blocked(self, first, count):
        self.asked.append(first)
        last = min(first + count, self.places)
        names = [name for name in range(first, last) if name % 3 and name not in self.closed]
        return names, last if last < self.places else 0

    def close(self, name, reason, reset):
        assert reason is Reason.ATTACK and reset
        self.closed.append(name)


async def test_sessions_that_are_blocked_end_a_few_at_a_time():
    plane = TcpPlane(Loop(), lambda *_: None, Parts().balancers)
    plane.relay = relay = Blocked(40)
    plane.end_blocked()
    assert len(relay.closed) < 10
    plane.end_blocked()  # other rules: from the beginning again, once it is through
    await asyncio.sleep(0.2)
    assert sorted(relay.closed) == [name for name in range(40) if name % 3]
    assert relay.asked == [0, 8, 16, 24, 32] * 2
    plane.end_blocked()
    await asyncio.sleep(0.2)
    assert len(relay.asked) == 15
