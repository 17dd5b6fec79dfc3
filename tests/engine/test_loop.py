"""The engine's loop: its parts, and the busy poll."""

import errno
import threading
import time

import pytest

from spectrum.engine.loop import Loop
from spectrum.engine.relay import Relay
from spectrum.engine.sessions import Outcome
from tests.engine.harness import (
    LOOPBACK,
    Recorder,
    add,
    client,
    eventually,
    listening,
    port_of,
    refuse_watches,
    target,
    unwatch,
    watched,
)


def test_busy_poll_answers_and_is_accounted():
    with listening() as edge, listening() as origin:
        _ask_quickly(edge, origin)


def _ask_quickly(edge, origin):
    recorder = Recorder([target(origin)], busy_poll_us=1000)
    assert recorder.loop.busy_poll_us == 1000
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o:
            for _ in range(2000):
                c.sendall(b"?")
                assert o.recv(1) == b"?"
        assert recorder.loop.busy_poll_ns > 0
        spent = recorder.loop.busy_poll_ns
        time.sleep(0.3)  # nothing to wait for: it must not go on
        assert recorder.loop.busy_poll_ns - spent < 50_000_000
        recorder.loop.busy_poll_us = 0
        assert recorder.loop.busy_poll_us == 0


def test_bulk_is_not_polled_for():
    with listening() as edge, listening() as origin:
        recorder = Recorder([target(origin)], busy_poll_us=1000)
        add(recorder, edge)
        with recorder.running(), client(edge) as c:
            o, _ = origin.accept()
            with o:
                for size, most_s in ((1, 10.0), (40_000, 0.005)):
                    time.sleep(0.05)  # what is under way is accounted when it is over
                    spent = recorder.loop.busy_poll_ns
                    for _ in range(300):
                        c.sendall(bytes(size))
                        received = 0
                        while received < size:
                            received += len(o.recv(size))
                    polled_s = (recorder.loop.busy_poll_ns - spent) / 1e9
                    assert 0 <= polled_s < most_s
                    assert size > 1 or polled_s > 0


def test_a_loop_has_room_for_its_parts_only():
    loop = Loop()
    relays = [Relay(loop, object()) for _ in range(2)]
    assert relays[0].loop is loop
    with pytest.raises(ValueError, match="at most 2 parts"):
        Relay(loop, object())


# --- what is watched --------------------------------------------------------------------------------------------------


def in_refused_thread(call):
    """Call a function in a thread for which the kernel watches nothing more."""

    def run():
        refuse_watches()
        call()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def assert_served(connected, origin):
    connected.sendall(b"x")
    with origin.accept()[0] as accepted:
        assert accepted.recv(1) == b"x"


def test_a_descriptor_is_one_listeners_at_a_time(sockets):
    edge, _ = sockets
    recorder = Recorder()
    number = add(recorder, edge)
    with pytest.raises(ValueError, match="another listener's"):
        add(recorder, edge)
    recorder.relay.remove_listener(number)
    assert edge.fileno() not in watched(recorder.loop)
    add(recorder, edge)
    assert recorder.relay.check_listeners() == []


def test_a_listener_that_is_not_watched_is_noticed(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    number = add(recorder, edge)
    assert recorder.relay.check_listeners() == []
    unwatch(recorder.loop, edge)
    with client(edge) as c:
        assert recorder.relay.check_listeners() == [number]
        assert recorder.relay.check_listeners() == []
        with recorder.running():
            assert_served(c, origin)


def test_listeners_are_looked_at_in_turn():
    recorder = Recorder()
    socks = [listening() for _ in range(5)]
    numbers = [add(recorder, sock) for sock in socks]
    recorder.relay.remove_listener(numbers[0])
    recorder.relay.add_listener(-1, 0, LOOPBACK, 1)  # without a descriptor
    for sock in socks[1:]:
        unwatch(recorder.loop, sock)
    found = [recorder.relay.check_listeners(2) for _ in range(3)]
    assert [len(mended) for mended in found] == [2, 2, 0]
    assert sorted(found[0] + found[1]) == numbers[1:]
    for sock in socks:
        sock.close()


def test_a_stalled_listener_is_not_deaf(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], max_sessions=0)
    number = add(recorder, edge)
    with client(edge), recorder.running():
        eventually(lambda: recorder.relay.stalled)
    assert edge.fileno() not in watched(recorder.loop)
    assert recorder.relay.check_listeners() == []
    assert recorder.relay.deaf == {}
    recorder.relay.max_sessions = 10
    assert recorder.relay.check_listeners() == []
    assert edge.fileno() in watched(recorder.loop)
    recorder.relay.remove_listener(number, False)


def test_a_listener_that_cannot_be_watched_is_deaf_until_it_can(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    numbers = []
    in_refused_thread(lambda: numbers.append(add(recorder, edge)))
    assert recorder.relay.deaf == {numbers[0]: errno.ENOSPC}
    in_refused_thread(lambda: recorder.relay.check_listeners())
    assert recorder.relay.deaf == {numbers[0]: errno.ENOSPC}
    with client(edge) as c:
        assert recorder.relay.check_listeners(0) == numbers
        assert recorder.relay.deaf == {}
        with recorder.running():
            assert_served(c, origin)
    in_refused_thread(
        lambda: numbers.append(recorder.relay.add_listener(origin.fileno(), 0, LOOPBACK, port_of(origin)))
    )
    recorder.relay.remove_listener(numbers[1])
    assert recorder.relay.deaf == {}


@pytest.mark.parametrize("begin", ["connect", "read_header"])
def test_a_session_that_cannot_be_watched_ends_with_a_reason(sockets, begin):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    if begin == "read_header":
        recorder.accepted = lambda batch: [recorder.relay.read_header(name, 10_000) for name, *_ in batch]
    add(recorder, edge)
    with client(edge) as c, recorder.running(refuse_watches), pytest.raises(ConnectionResetError):
        c.recv(1)
    if begin == "connect":
        assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ENOSPC)]
        assert recorder.failures == [(port_of(origin), errno.ENOSPC)]
    else:
        assert recorder.outcomes() == [(Outcome.NO_WATCH, errno.ENOSPC)]
    assert recorder.relay.active == 0
