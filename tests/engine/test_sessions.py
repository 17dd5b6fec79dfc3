"""Sessions as such, against plain sockets: accepting, limits, ends, names."""

import contextlib
import gc
import os
import resource
import select
import socket
import time

import pytest

from spectrum.core.filter_rules import FilterRule
from spectrum.engine.relay import Relay
from spectrum.engine.sessions import Outcome
from spectrum.engine.target import Target
from tests.engine.harness import (
    LOOPBACK,
    Recorder,
    add,
    client,
    eventually,
    feed,
    listening,
    narrow_client,
    port_of,
    read_all,
    reset,
    suppressed,
    target,
    watched,
)


def test_one_session_is_closed(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with client(edge) as one, client(edge) as other:
        for c in (one, other):
            c.sendall(b"x")
        with recorder.running():
            accepted = [origin.accept()[0] for _ in range(2)]
        assert recorder.relay.sessions(targets=()) == []
        names = recorder.relay.sessions(targets=recorder.targets)
        assert sorted(names) == sorted(session[0] for session in recorder.sessions)
        assert sorted(recorder.relay.sessions(listener=0)) == sorted(names)
        assert recorder.relay.sessions(listener=1) == []
        recorder.relay.close(names[0], 77)
        recorder.relay.close(names[0], 78)
        assert recorder.outcomes() == [(Outcome.CLOSED, 77)]
        assert recorder.relay.sessions(targets=recorder.targets) == names[1:]
        for o in accepted:
            o.close()


def test_above_the_memory_limit_those_that_hold_most_are_reset(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running(), contextlib.ExitStack() as stack:
        quiet = stack.enter_context(client(edge))
        quiet_origin = stack.enter_context(origin.accept()[0])
        feeds = []
        for _ in range(8):
            stack.enter_context(narrow_client(edge))
            feeds.append(feed(origin, 50_000_000))
        before = -1
        while before != recorder.relay.held_bytes:  # all are blocked, and hold what they hold
            before = recorder.relay.held_bytes
            time.sleep(0.3)
        assert before > 8 * 10_000
        recorder.relay.max_held_bytes = before
        late = stack.enter_context(narrow_client(edge))
        feeds.append(feed(origin, 50_000_000))
        eventually(lambda: recorder.reports)
        assert {outcome for outcome, _ in recorder.outcomes()} == {Outcome.NO_MEMORY}
        assert recorder.relay.held_bytes <= before
        assert 0 < len(recorder.reports) < 8
        quiet.sendall(b"still here")
        assert quiet_origin.recv(100) == b"still here"
        late.close()
        for sock, thread in feeds:
            suppressed(lambda sock=sock: sock.shutdown(socket.SHUT_RDWR))
            sock.close()
            thread.join()


def _reset_after(*sent):
    """A client that says something, maybe half-closes (None), and is reset."""

    def act(sock):
        for piece in sent:
            sock.shutdown(socket.SHUT_WR) if piece is None else sock.sendall(piece)
        reset(sock)

    return act


@pytest.mark.parametrize("act", [_reset_after(), _reset_after(b"x"), _reset_after(b"x", None), _reset_after(None)])
def test_no_work_is_begun_for_a_client_that_is_gone_before_it_is_accepted(sockets, act):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    for _ in range(100):
        act(client(edge))
    with client(edge) as c, recorder.running():
        c.sendall(b"alive")
        with origin.accept()[0] as o:
            assert o.recv(10) == b"alive"
        eventually(lambda: sum(count for *_, count in recorder.passed_over) == 100)
    assert len(recorder.sessions) == 1
    assert {gone[:2] for gone in recorder.passed_over} == {(0, LOOPBACK)}


@pytest.mark.parametrize("sent", [b"", b"question"])
def test_a_client_that_half_closed_before_it_is_accepted_is_served(sockets, sent):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with client(edge) as c:
        c.sendall(sent)
        c.shutdown(socket.SHUT_WR)
        with recorder.running(), origin.accept()[0] as o:
            assert read_all(o) == sent
            o.sendall(b"answer")
            assert c.recv(100) == b"answer"
    assert recorder.passed_over == []


def test_clients_that_are_gone_are_reported_by_listener_and_address(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    with listening() as other:
        for number, sock in enumerate((edge, other)):
            assert add(recorder, sock) == number
            for host in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
                reset(client(sock, source_address=(host, 0)))
        with recorder.running():
            eventually(lambda: sum(count for *_, count in recorder.passed_over) == 6)
    told = [(listener, socket.inet_ntoa(address), count) for listener, address, count in recorder.passed_over]
    assert sorted(told) == [
        (listener, *client) for listener in (0, 1) for client in (("127.0.0.2", 2), ("127.0.0.3", 1))
    ]


def test_a_client_that_is_reset_right_after_it_was_accepted_among_many_is_not_dialled(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    reset(client(edge, source_address=("127.0.1.1", 0)))
    recorder.loop.process()
    late = [client(edge)]
    for host in range(2, 65):  # with the first as many as are told of at once
        reset(client(edge, source_address=(f"127.0.1.{host}", 0)))

    def gone(batch):  # while `late` is accepted, and not decided on
        recorder.passed_over.extend(one[:3] for one in batch)
        while late:
            reset(late.pop())

    recorder.gone = gone

    def count():
        recorder.loop.process()
        return len(recorder.passed_over)

    eventually(lambda: count() == 65)
    assert recorder.passed_over[-1] == (0, LOOPBACK, 1)
    assert recorder.sessions == recorder.reports == []
    assert recorder.relay.active == 0
    assert len(recorder.relay.sessions()) == 0


def test_a_listener_rests_while_many_of_its_clients_are_gone(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    assert edge.fileno() in watched(recorder.loop)

    def rests():
        for _ in range(20):
            reset(client(edge))
        recorder.loop.process()
        return edge.fileno() not in watched(recorder.loop)

    eventually(rests)
    assert recorder.relay.check_listeners() == []
    with recorder.running():
        for _ in range(20):
            with client(edge) as c, origin.accept()[0] as o:
                c.sendall(b"alive")
                assert o.recv(10) == b"alive"
        eventually(lambda: edge.fileno() in watched(recorder.loop))


def test_clients_that_are_gone_are_reported_together(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    for _ in range(20):
        reset(client(edge))
        recorder.loop.process()
    with recorder.running():
        eventually(lambda: sum(count for *_, count in recorder.passed_over) == 20)
    assert len(recorder.passed_over) < 20


@pytest.mark.parametrize("close", [lambda relay: relay.close_sessions(77), lambda relay: relay.remove_listener(0)])
def test_an_undecided_client_is_decided_on_before_sessions_are_closed_or_its_listener_removed(sockets, close):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    for _ in range(20):
        reset(client(edge))
    with client(edge):
        recorder.loop.process()
        close(recorder.relay)
        assert len(recorder.sessions) == 1
        assert sum(count for *_, count in recorder.passed_over) == 20


def test_a_session_that_ends_makes_room_for_a_client_of_the_same_round(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], max_sessions=2)
    add(recorder, edge)
    first = client(edge)
    with recorder.running():
        eventually(lambda: len(recorder.sessions) == 1)
        accepted, _ = origin.accept()
    with accepted, client(edge), client(edge):  # the kernel tells of them first
        reset(first)
        recorder.loop.process()
        assert [outcome for outcome, _ in recorder.outcomes()] == [Outcome.ERROR_CLIENT]
        assert len(recorder.sessions) == 3


def test_a_drained_queue_of_clients_that_are_gone_and_one_that_is_not(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    for _ in range(80):  # more than one batch
        reset(client(edge))
    with client(edge) as c:
        recorder.relay.remove_listener(0, drain=True)
        with recorder.running(), origin.accept()[0] as o:
            c.sendall(b"alive")
            assert o.recv(10) == b"alive"
    assert sum(count for *_, count in recorder.passed_over) == 80


def test_accepting_stops_at_max_sessions_and_resumes(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], max_sessions=2)
    add(recorder, edge)
    with recorder.running():
        clients = [client(edge) for _ in range(4)]
        origins = [origin.accept()[0] for _ in range(2)]
        eventually(lambda: recorder.relay.stalled)
        time.sleep(0.2)
        assert recorder.relay.active == 2
        assert recorder.relay.stalls >= 1
        clients[0].close()
        clients[1].close()
        for sock in origins:
            sock.close()
        origins = [origin.accept()[0] for _ in range(2)]  # the waiting two come through
        for c, number in zip(clients[2:], (b"3", b"4"), strict=True):
            c.sendall(number)
        assert {sock.recv(1) for sock in origins} == {b"3", b"4"}
        for sock in [*clients, *origins]:
            sock.close()


def test_descriptor_exhaustion_neither_spins_nor_loses_sessions(sockets):
    """At the limit: what is established goes on, others wait, nothing burns processor time; then it recovers."""
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    held = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(6)]
    used = len(os.listdir("/proc/self/fd")) - 1
    try:
        with recorder.running():
            first = client(edge)
            o, _ = origin.accept()
            o.settimeout(5)
            # Leave no descriptor free: accepting must stop.
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 64, hard))
            while True:
                try:
                    held.append(os.dup(0))
                except OSError:
                    break
            for c in clients:
                c.settimeout(5)
                c.connect(("127.0.0.1", port_of(edge)))
            eventually(lambda: recorder.relay.stalled)
            spent = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - spent < 0.25
            first.sendall(b"goes on")
            assert o.recv(100) == b"goes on"
            assert recorder.relay.stalls >= 1
            for fd in held:
                os.close(fd)
            held.clear()
            accepted = [origin.accept()[0] for _ in clients]
            eventually(lambda: not recorder.relay.stalled)
            for sock in [first, o, *accepted]:
                sock.close()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for c in clients:
            c.close()


def test_the_reserve_completes_a_session_at_the_limit(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    c = client(edge)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, hard))
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        os.close(held.pop())  # one is left: for the client, none for its origin
        recorder.loop.process()
        assert recorder.relay.stalled
        assert recorder.relay.active == 1
        assert recorder.reports == []
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)  # no more of the reserve was freed than the session took
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    o, _ = origin.accept()
    with recorder.running(), o, c:
        c.sendall(b"served")
        assert o.recv(100) == b"served"
        eventually(lambda: not recorder.relay.stalled)


def test_edge_address_of_a_wildcard_listener():
    with listening(host="0.0.0.0") as edge, listening() as origin:
        recorder = Recorder([target(origin)])
        add(recorder, edge, address=b"")
        with recorder.running(), socket.create_connection(("127.0.0.3", port_of(edge)), 5):
            eventually(lambda: recorder.sessions)
    _, _, address, _, edge_address, edge_port = recorder.sessions[0]
    assert (address, edge_address) == (LOOPBACK, b"\x7f\0\0\3")
    assert edge_port > 0


def test_dual_stack_listener_unmaps():
    with socket.socket(socket.AF_INET6) as edge, listening() as origin:
        edge.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        edge.bind(("::", 0))
        edge.listen()
        recorder = Recorder([target(origin)])
        add(recorder, edge, address=b"")
        with recorder.running(), client(edge), socket.create_connection(("::1", port_of(edge)), 5):
            eventually(lambda: len(recorder.sessions) == 2)
    assert {session[2] for session in recorder.sessions} == {LOOPBACK, bytes(15) + b"\1"}
    assert {session[4] for session in recorder.sessions} == {LOOPBACK, bytes(15) + b"\1"}


def test_removed_listeners_serve_what_waits_and_keep_their_sessions(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    number = add(recorder, edge)
    waiting = [client(edge) for _ in range(100)]
    recorder.relay.remove_listener(number)
    late = client(edge)
    with recorder.running():
        origins = [origin.accept()[0] for _ in waiting]
        waiting[0].sendall(b"x")
        time.sleep(0.1)
        assert len(recorder.sessions) == 100
        assert recorder.relay.active == 100
        recorder.relay.close_sessions(12)
    assert [report[1:3] for report in recorder.reports] == [(Outcome.CLOSED, 12)] * 100
    for sock in [*waiting, *origins, late]:
        sock.close()


def test_close_sessions_of_one_listener(sockets):
    edge, origin = sockets
    with listening() as other:
        recorder = Recorder([target(origin)])
        numbers = [add(recorder, edge), add(recorder, other)]
        with client(edge) as kept, client(other) as ended:
            with recorder.running():
                origins = [origin.accept()[0] for _ in range(2)]
                eventually(lambda: recorder.relay.active == 2)
            recorder.relay.close_sessions(3, {numbers[1]})
            assert recorder.relay.active == 1
            assert ended.recv(1) == b""
            for sock in [*origins, kept]:
                sock.close()


def test_names_of_sessions_that_are_over_are_ignored(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running():
        client(edge).close()
        origin.accept()[0].close()
        eventually(lambda: recorder.reports)
    name = recorder.sessions[0][0]
    recorder.relay.connect(name, (), b"", 1, 1)
    recorder.relay.refuse(name, 1)
    recorder.relay.read_header(name, 1)
    recorder.relay.consume(name, 1)
    recorder.relay.set_client(name, LOOPBACK, 1)
    recorder.relay.connect(1 << 60, (), b"", 1, 1)
    recorder.relay.remove_listener(99)
    assert recorder.relay.active == 0


def test_listener_addresses_are_checked(sockets):
    with pytest.raises(ValueError, match="4 or 16"):
        Recorder().relay.add_listener(0, 0, b"12", 1)


def test_thousands_of_sessions_come_and_go(sockets):
    """Slots are reused under other generations; nothing is left behind."""
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    gc.collect()  # engines of earlier tests
    before = len(os.listdir("/proc/self/fd"))
    with recorder.running():
        for _ in range(10):
            clients = [client(edge) for _ in range(100)]
            origins = [origin.accept()[0] for _ in clients]
            for sock in clients + origins:
                sock.close()
        eventually(lambda: len(recorder.reports) == 1000)
    assert recorder.relay.active == 0
    assert len(os.listdir("/proc/self/fd")) == before
    assert recorder.targets[0].take_connected() == 1000


def test_an_engine_that_goes_away_closes_its_sessions(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with client(edge) as c:
        with recorder.running():
            o, _ = origin.accept()
        recorder.relay = None
        recorder.__dict__.clear()
        gc.collect()
        with o:
            assert c.recv(1) == b""


def test_a_relay_needs_its_handler():
    with pytest.raises(TypeError):
        Relay()
    assert isinstance(Target(LOOPBACK, 1, "x"), Target)


def test_open_sessions_are_looked_at_in_parts(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], idle_timeout_ms=60_000)
    add(recorder, edge)
    with client(edge) as one, client(edge) as other:
        with recorder.running():
            accepted = [origin.accept()[0] for _ in range(2)]
            one.sendall(b"12345")
            received = [o.recv(100) for o in accepted if select.select([o], [], [], 0.2)[0]]
            assert received == [b"12345"]
            eventually(lambda: len(recorder.sessions) == 2)
        seen, further = recorder.relay.look(0, 1000)
        assert further == 0
        assert {s[0] for s in seen} == {session[0] for session in recorder.sessions}
        by_port = {s[4]: s for s in seen}
        name, listener, state, address, port, edge_address, edge_port, to, age, idle, sent, got = by_port[port_of(one)]
        assert (listener, state, address, port) == (0, "relaying", LOOPBACK, port_of(one))
        assert (edge_address, edge_port, to.port) == (LOOPBACK, port_of(edge), port_of(origin))
        assert (sent, got) == (5, 0)
        assert 0 <= idle <= age + 1 < 60_000
        # In parts, each of which says where to go on.
        parts, place = [], 0
        while True:
            part, place = recorder.relay.look(place, 100)
            parts.append(part)
            if not place:
                break
        assert [s[0] for part in parts for s in part] == [s[0] for s in seen]
        assert len(parts) == 3
        assert recorder.relay.look(256, 100) == ([], 0)
        # A proxy in front may name a client of the other family.
        recorder.relay.set_client(name, b"\x20\1" + bytes(14), 7)
        (changed,) = [s for s in recorder.relay.look(0, 1000)[0] if s[0] == name]
        assert changed[3:7] == (b"\x20\1" + bytes(14), 7, LOOPBACK, port_of(edge))
        recorder.relay.close(name, 77)
        assert [s[4] for s in recorder.relay.look(0, 1000)[0]] == [port_of(other)]
        for o in accepted:
            o.close()


def test_a_session_without_an_origin_is_looked_at(sockets):
    edge, _ = sockets
    recorder = Recorder()
    recorder.accepted = lambda batch: [recorder.relay.read_header(name, 60_000) for name, *_ in batch]
    add(recorder, edge)
    with client(edge) as one:
        with recorder.running():
            eventually(lambda: recorder.relay.look(0, 256)[0])
        ((_, _, state, _, port, _, _, to, _, idle, sent, got),) = recorder.relay.look(0, 256)[0]
        assert (state, port, to, idle, sent, got) == ("header", port_of(one), None, 0, 0, 0)
    recorder.relay.close_sessions(77)


def test_rules_against_attacks_refuse_new_sessions_and_no_others(sockets, watching):
    edge, origin = sockets
    recorder = Recorder([target(origin)], lookout=watching.lookout)
    recorder.relay.set_app(0, 7)
    add(recorder, edge)
    with recorder.running(), client(edge) as before:
        with origin.accept()[0] as o:
            before.sendall(b"question")
            assert o.recv(100) == b"question"
            o.sendall(b"answer")
            assert before.recv(100) == b"answer"
            watching.rules(FilterRule(destination_port=(port_of(edge),) * 2), FilterRule(action="log"))
            for _ in range(3):
                with pytest.raises(ConnectionResetError), client(edge) as refused:
                    refused.recv(1)
            before.sendall(b"more")
            assert o.recv(100) == b"more"
        eventually(lambda: sum(count for *_, count in recorder.refused) == 3)
    assert {one[:2] for one in recorder.refused} == {(0, LOOPBACK)} and recorder.passed_over == []
    assert watching.looks.counts()[:2] == [(3, 0), (0, 0)]
    # All are shown: of a session what opens it, and that it goes on; it is in use once both have sent.
    shown = watching.rows()
    states = list(shown.packets["state"])
    assert (
        states.count(0) == 4 and states.count(1) >= 5 and states.count(2) >= 2 and set(shown.packets["protocol"]) == {6}
    )
    assert list(shown.reason).count(1) == 6 and set(shown.packets["destination_port"]) == {port_of(edge)}
    # Its source is known from then on.
    known = shown.packets["known"]
    assert known[0] == 0 and known[-1] == 1


def test_sessions_that_are_blocked_are_those_that_said_nothing(sockets, watching):
    """Of those that were admitted before the rule: the ones whose client has sent nothing, and no rule but `block`."""
    edge, origin = sockets
    recorder = Recorder([target(origin)], lookout=watching.lookout)
    recorder.relay.set_app(0, 7)
    add(recorder, edge)
    with client(edge) as silent, client(edge) as speaking:
        with recorder.running():
            kept = [origin.accept()[0] for _ in range(2)]
            speaking.sendall(b"x")
            eventually(lambda: any(seen[10] for seen in recorder.relay.look(0, 1000)[0]))
        for action in ("log", "retry"):
            watching.rules(FilterRule(action=action))
            assert recorder.relay.blocked(0, 1000) == ([], 0)
        watching.rules(FilterRule(action="limit", packets_per_second=1), FilterRule(destination_port=(1, 1)))
        assert recorder.relay.blocked(0, 1000) == ([], 0)
        watching.rules(FilterRule(protocol=(6, 6)))
        names, following = recorder.relay.blocked(0, 1000)
        assert len(names) == 1 and following == 0
        # It is counted as any that the rule refuses.
        assert watching.looks.counts()[0] == (1, 0)
        assert {*recorder.relay.blocked(0, 1)[0], *recorder.relay.blocked(1, 1)[0]} == set(names)
        assert recorder.relay.blocked(0, 1)[1] == 1
        with recorder.running():
            recorder.relay.close(names[0], 62, reset=True)
            with pytest.raises(ConnectionResetError):
                silent.recv(1)
        for one in kept:
            one.close()


def test_clients_that_proxies_tell_of_are_not_judged(sockets, watching):
    edge, origin = sockets
    recorder = Recorder([target(origin)], lookout=watching.lookout)
    recorder.relay.set_app(0, 7, told=True)
    add(recorder, edge)
    watching.rules(FilterRule())
    with recorder.running(), client(edge) as one, origin.accept()[0] as o:
        one.sendall(b"x")
        assert o.recv(1) == b"x"
    assert len(watching.rows()) == 0
