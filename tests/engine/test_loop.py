"""The engine's loop: its parts, and the busy poll."""

import time

import pytest

from spectrum.engine.loop import Loop
from spectrum.engine.relay import Relay
from tests.engine.harness import Recorder, add, client, listening, target


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
