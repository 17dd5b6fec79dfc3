"""The engine against plain sockets: order, half-close, resets, back-pressure, dialling, limits."""

import errno
import os
import socket
import struct
import threading
import time

import pytest

from spectrum.engine.sessions import Outcome
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
)


def test_bytes_pass_both_ways_and_half_close(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running():
        with client(edge) as c:
            o, _ = origin.accept()
            with o:
                c.sendall(b"question")
                assert o.recv(100) == b"question"
                c.shutdown(socket.SHUT_WR)
                assert o.recv(100) == b""
                o.sendall(b"answer after the question's end")  # the other half is still open
                o.shutdown(socket.SHUT_WR)
                assert read_all(c) == b"answer after the question's end"
        eventually(lambda: recorder.reports)
    report = recorder.reports[0]
    assert report[1] == Outcome.EOF_CLIENT
    assert report[9:11] == (8, 31)
    assert report[6] <= report[7] <= report[8]


def test_origin_may_close_first(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running():
        with client(edge) as c:
            o, _ = origin.accept()
            o.sendall(b"bye")
            o.close()
            assert read_all(c) == b"bye"
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.EOF_ORIGIN, 0)]


@pytest.mark.parametrize("by_client", [True, False])
def test_a_read_that_urgent_data_ends_is_not_the_end(sockets, by_client):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with client(edge) as c:
        with recorder.running():
            o, _ = origin.accept()
        with o:  # all of it is there before the engine looks again
            speaker, hearer = (c, o) if by_client else (o, c)
            speaker.sendall(b"before")
            speaker.send(b"!", socket.MSG_OOB)  # RFC 6093: what is urgent is left out, as ever
            speaker.sendall(b"behind")
            speaker.shutdown(socket.SHUT_WR)
            with recorder.running():
                assert read_all(hearer) == b"beforebehind"
                hearer.sendall(b"answer")
                hearer.close()
                assert read_all(speaker) == b"answer"
                eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.EOF_CLIENT if by_client else Outcome.EOF_ORIGIN, 0)]


def test_header_and_first_bytes_leave_in_one_segment(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], header=b"HEADER ")
    add(recorder, edge)
    with client(edge) as c:
        c.sendall(b"first bytes")  # there before the engine looks
        with recorder.running():
            o, _ = origin.accept()
            with o:
                eventually(lambda: len(o.recv(100, socket.MSG_PEEK)) > 0)
                assert o.recv(100) == b"HEADER first bytes"
                # TCP_INFO tells how many segments brought it: tcpi_data_segs_in, u32 at offset 152 (linux/tcp.h).
                info = o.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
                assert struct.unpack_from("I", info, 152)[0] == 1


def test_header_alone_when_the_client_waits(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], header=b"HEADER ")
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o:
            o.settimeout(5)
            assert o.recv(100) == b"HEADER "
            o.sendall(b"greeting")
            assert c.recv(100) == b"greeting"


@pytest.mark.parametrize("by_client", [True, False])
def test_a_reset_is_passed_on_as_a_reset(sockets, by_client):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running():
        c = client(edge)
        o, _ = origin.accept()
        o.settimeout(5)
        c.sendall(b"x")
        assert o.recv(1) == b"x"
        leaving, staying = (c, o) if by_client else (o, c)
        reset(leaving)
        with staying, pytest.raises(ConnectionResetError):
            staying.recv(1)
        eventually(lambda: recorder.reports)
    outcome = Outcome.ERROR_CLIENT if by_client else Outcome.ERROR_ORIGIN
    assert recorder.outcomes() == [(outcome, errno.ECONNRESET)]


def test_a_reset_is_noticed_after_a_half_close(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running():
        c = client(edge)
        o, _ = origin.accept()
        o.settimeout(5)
        c.shutdown(socket.SHUT_WR)
        assert o.recv(1) == b""
        reset(c)
        # A reset after a FIN is EPIPE to the one that got both (tcp_reset of the kernel).
        with o:
            eventually(lambda: o.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE)


def test_a_slow_reader_costs_a_bounded_buffer_and_loses_nothing(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    data = os.urandom(8 << 20)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o:
            o.setblocking(False)
            sent, stuck_since = 0, time.monotonic()
            while time.monotonic() - stuck_since < 0.3 and sent < len(data):
                try:
                    sent += o.send(data[sent : sent + 65536])
                    stuck_since = time.monotonic()
                except BlockingIOError:
                    time.sleep(0.01)
            received = b""
            o.setblocking(True)
            rest = threading.Thread(target=lambda: (o.sendall(data[sent:]), o.shutdown(socket.SHUT_WR)))
            rest.start()
            received = read_all(c)
            rest.join()
        assert received == data


def test_a_busy_session_does_not_starve_a_quiet_one(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running(), client(edge) as bulk, client(edge) as quiet:
        first, _ = origin.accept()
        second, _ = origin.accept()
        first.settimeout(10)
        second.settimeout(10)
        stop = threading.Event()

        def pour():
            while not stop.is_set():
                first.sendall(bytes(1 << 20))
            first.close()

        def drink():
            while bulk.recv(1 << 20):
                pass

        threads = [threading.Thread(target=pour), threading.Thread(target=drink)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            quiet.sendall(b"?")
            assert second.recv(1) == b"?"
            second.sendall(b"!")
            assert quiet.recv(1) == b"!"
            slowest = max(slowest, time.monotonic() - began)
        stop.set()
        for thread in threads:
            thread.join()
        second.close()
    assert slowest < 2  # starved would be for ever


# --- peers that take nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [False, True])
def test_a_client_that_reads_nothing_is_stuck(sockets, ends):
    """Whether its origin has more to send, or sent its FIN already and all of it is in the kernel's queue."""
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    recorder.relay.set_app(0, 7, 1000, 1500)
    with recorder.running(), narrow_client(edge) as reader:
        o, thread = feed(origin, 60_000 if ends else 50_000_000)
        if ends:
            thread.join()
            o.shutdown(socket.SHUT_WR)
        eventually(lambda: recorder.reports, 10)
        assert recorder.outcomes() == [(Outcome.STUCK_CLIENT, 0)]
        with pytest.raises(ConnectionResetError):
            read_all(reader)
        o.close()
        thread.join()
    assert recorder.relay.held_bytes == 0


def test_an_origin_that_reads_nothing_is_stuck(sockets):
    edge, origin = sockets
    origin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    recorder.relay.set_app(0, 7, 1000, 1500)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o, pytest.raises((ConnectionResetError, BrokenPipeError)):
            c.sendall(bytes(50_000_000))
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.STUCK_ORIGIN, 0)]


@pytest.mark.parametrize(("bytes_per_read", "stuck"), [(20_000, False), (100, True)])
def test_a_slow_client_is_not_stuck_while_it_keeps_the_pace(sockets, bytes_per_read, stuck):
    """Ten reads a second; the pace is 20 kB/s, which 200 kB/s is above and 1 kB/s below."""
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    recorder.relay.set_app(0, 7, 20_000, 1500)
    with recorder.running(), narrow_client(edge) as reader:
        o, thread = feed(origin, 50_000_000)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and not recorder.reports:
            suppressed(lambda: reader.recv(bytes_per_read))
            time.sleep(0.1)
        assert recorder.outcomes() == ([(Outcome.STUCK_CLIENT, 0)] if stuck else [])
        o.close()
        reader.close()
        thread.join()


def test_a_quiet_session_is_not_stuck(sockets):
    """Nothing is unsent, so nobody is slow; a pace of 0 never ends anything."""
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    recorder.relay.set_app(0, 7, 1_000_000, 1000)
    recorder.relay.set_app(40, 8, 0, 1000)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o:
            c.sendall(b"question")
            assert o.recv(100) == b"question"
            time.sleep(3.5)
            o.sendall(b"answer")
            assert c.recv(100) == b"answer"
            assert recorder.reports == []


def test_the_kernels_patience_with_a_closed_window(sockets):
    """TCP_USER_TIMEOUT ends a connection whose peer answers every probe with no window: it is stuck, not gone."""
    edge, origin = sockets
    edge.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500)
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with recorder.running(), narrow_client(edge) as reader:
        o, thread = feed(origin, 50_000_000)
        eventually(lambda: recorder.reports, 20)
        assert recorder.outcomes() == [(Outcome.STUCK_CLIENT, 0)]
        reader.close()
        o.close()
        thread.join()


def test_idle_sessions_end(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)], idle_timeout_ms=1200)
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        with o:
            began = time.monotonic()
            time.sleep(0.7)
            c.sendall(b"x")  # activity
            assert c.recv(1) == b""
            assert time.monotonic() - began > 1.8
    assert recorder.outcomes() == [(Outcome.IDLE, 0)]


def test_peeked_header_is_consumed_and_the_rest_relayed(sockets):
    edge, origin = sockets

    class Asking(Recorder):
        def accepted(self, batch):
            for name, *_ in batch:
                self.relay.read_header(name, 2000)

        def header(self, name, listener, data, *addresses):
            super().header(name, listener, data)
            if b"\n" in data:
                self.relay.set_client(name, b"\x0a\0\0\1", 77)
                self.relay.consume(name, data.index(b"\n") + 1)
                self.relay.connect(name, self.targets, b"", 2000, 0)

    recorder = Asking([target(origin)])
    add(recorder, edge)
    with recorder.running():
        with client(edge) as c:
            c.sendall(b"HEA")
            eventually(lambda: recorder.headers)
            c.sendall(b"DER\npayload")
            o, _ = origin.accept()
            with o:
                assert o.recv(100) == b"payload"
                c.sendall(b" more")
                assert o.recv(100) == b" more"
        eventually(lambda: recorder.reports)
    assert [data for _, data in recorder.headers] == [b"HEA", b"HEADER\npayload"]
    assert recorder.reports[0][3:5] == (b"\x0a\0\0\1", 77)


class Waiting(Recorder):
    def accepted(self, batch):
        for name, *_ in batch:
            self.relay.read_header(name, 200)


def test_a_header_has_a_deadline(sockets):
    recorder = Waiting()
    add(recorder, sockets[0])
    with recorder.running():
        with client(sockets[0]) as c:
            c.sendall(b"slow")
            with pytest.raises(ConnectionResetError):
                c.recv(1)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.HEADER_TIMEOUT, 0)]


def test_a_client_that_leaves_before_its_header(sockets):
    recorder = Waiting()
    add(recorder, sockets[0])
    with recorder.running(), client(sockets[0]) as c:
        c.sendall(b"half")
        c.shutdown(socket.SHUT_WR)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CLIENT_LEFT, 0)]


@pytest.mark.parametrize("sent", [b"", b"half", b"HEADER", b"HEADER\n"])
def test_a_client_that_is_reset_before_its_header_is_read(sockets, sent):
    """The reset and what was sent before it may come as one event."""
    recorder = Waiting([target(sockets[1])])
    add(recorder, sockets[0])
    with client(sockets[0]) as c:
        recorder.loop.process()  # it is accepted
        assert recorder.relay.active == 1
        c.sendall(sent)
        reset(c)
        recorder.loop.process()
    assert recorder.outcomes() == [(Outcome.ERROR_CLIENT, errno.ECONNRESET)]
    assert recorder.headers == []


def test_refused_and_forgotten_sessions_are_reset(sockets):
    class Refusing(Recorder):
        def accepted(self, batch):
            self.sessions.extend(batch)
            if len(self.sessions) == 1:
                self.relay.refuse(batch[0][0], 42)

    recorder = Refusing()
    add(recorder, sockets[0])
    with recorder.running():
        for count in (1, 2):
            with pytest.raises(ConnectionResetError), client(sockets[0]) as c:  # some are faster than our connect
                c.recv(1)
            eventually(lambda n=count: len(recorder.reports) == n)
    assert recorder.outcomes() == [(Outcome.REFUSED, 42), (Outcome.REFUSED, 0)]


def test_a_handler_that_fails_on_a_header_refuses_the_client(sockets):
    class Broken(Waiting):
        def header(self, *arguments):
            raise RuntimeError("a fault of ours")

    recorder = Broken()
    add(recorder, sockets[0])
    with recorder.running():
        with client(sockets[0]) as c:
            c.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                c.recv(1)
        told, recorder.faults = recorder.faults, []
    assert [str(fault) for fault in told] == ["a fault of ours"]


def test_bytes_are_taken_once(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    edge.setblocking(False)
    recorder.relay.add_listener(edge.fileno(), 5, LOOPBACK, port_of(edge))
    with recorder.running(), client(edge) as c:
        o, _ = origin.accept()
        c.sendall(b"12345")
        assert o.recv(100) == b"12345"
        o.close()
    assert recorder.relay.take_bytes() == [(5, 5, 0)]
    assert recorder.relay.take_bytes() == []
    (to,) = recorder.targets
    assert [to.take_moved() for _ in range(2)] == [(5, 0), (0, 0)]


def test_a_session_that_is_held_back():
    recorder = Recorder()
    turns = []
    recorder.accepted = lambda batch: [recorder.relay.hold(name, 200) for name, *_ in batch]

    def turn_came(name):
        turns.append(time.monotonic())
        if len(turns) == 1:
            recorder.relay.connect(name, recorder.targets, b"", 1000, 0)

    recorder.turn_came = turn_came
    with listening() as edge, listening() as origin, recorder.running():
        recorder.targets = (target(origin),)
        add(recorder, edge)
        began = time.monotonic()
        with client(edge) as first:
            first.sendall(b"early")
            connection = origin.accept()[0]
            assert turns[0] - began >= 0.15
            assert connection.recv(10) == b"early"
            connection.close()
        with client(edge) as forgotten, pytest.raises(ConnectionResetError):
            forgotten.recv(1)
        eventually(lambda: len(recorder.reports) == 2)
    assert recorder.outcomes()[1] == (Outcome.REFUSED, 0)


@pytest.mark.parametrize("how", ["reset", "half-close and reset", "half-close"])
def test_a_held_session_ends_with_its_client(how):
    recorder = Recorder()
    turns = []
    recorder.accepted = lambda batch: [recorder.relay.hold(name, 100) for name, *_ in batch]
    recorder.turn_came = lambda name: (turns.append(name), recorder.relay.refuse(name, 1))
    with listening() as edge, recorder.running():
        add(recorder, edge)
        with client(edge) as c:
            eventually(lambda: recorder.relay.active)
            c.sendall(b"early")
            if how != "reset":
                c.shutdown(socket.SHUT_WR)
            if how != "half-close":
                reset(c)
            eventually(lambda: recorder.reports)
    if how == "half-close":
        assert len(turns) == 1
    else:
        assert (turns, recorder.outcomes()) == ([], [(Outcome.ERROR_CLIENT, errno.ECONNRESET)])


def test_a_held_session_may_be_refused_or_closed():
    recorder = Recorder()
    names = []

    def accepted(batch):
        for name, *_ in batch:
            names.append(name)
            recorder.relay.hold(name, 60_000)

    recorder.accepted = accepted
    with listening() as edge, recorder.running():
        add(recorder, edge)
        with client(edge) as one, client(edge) as two:
            eventually(lambda: len(names) == 2)
            for sock in (one, two):
                sock.setblocking(False)
    recorder.relay.refuse(names[0], 44)
    recorder.relay.close(names[1], 12)
    assert {outcome for outcome, _ in recorder.outcomes()} == {Outcome.REFUSED, Outcome.CLOSED}
    assert recorder.relay.active == 0
