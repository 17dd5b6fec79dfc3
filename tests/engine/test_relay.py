"""The engine against plain sockets: order, half-close, resets, back-pressure, dialling, limits."""

import contextlib
import errno
import gc
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spectrum.engine.relay import Outcome, Relay
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from tests.engine.harness import (
    LOOPBACK,
    Recorder,
    add,
    client,
    eventually,
    in_thread,
    listening,
    port_of,
    read_all,
    target,
)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.fixture
def sockets():
    """The edge's and the origin's listening sockets."""
    with listening() as edge, listening() as origin:
        yield edge, origin


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


def test_the_next_target_follows_a_refused_one(sockets):
    edge, origin = sockets
    with listening() as closed:
        nobody = port_of(closed)
    recorder = Recorder([target(nobody), target(origin)])
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        c.sendall(b"hello")
        o, _ = origin.accept()
        with o:
            assert o.recv(100) == b"hello"
    assert recorder.failures == [(nobody, errno.ECONNREFUSED)]


def test_when_no_target_answers_the_client_is_reset(sockets):
    edge, _ = sockets
    with listening() as closed:
        nobody = port_of(closed)
    recorder = Recorder([target(nobody), target(nobody)])
    add(recorder, edge)
    with recorder.running():
        with pytest.raises(ConnectionResetError), client(edge) as c:
            c.recv(1)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ECONNREFUSED)]
    assert recorder.reports[0][5] is None


def closed_port():
    with listening() as sock:
        return port_of(sock)


def full_listener():
    """A listening socket whose queue is full: connects to it neither succeed nor fail."""
    sock = listening(backlog=0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port_of(sock)))
        fillers.append(filler)
    return sock, fillers


def test_connect_timeout_then_next_target(sockets):
    edge, origin = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full), target(origin)], connect_timeout_ms=200)
    add(recorder, edge)
    with full, recorder.running(), client(edge) as c:
        began = time.monotonic()
        c.sendall(b"x")
        o, _ = origin.accept()
        with o:
            assert o.recv(1) == b"x"
        assert 0.07 < time.monotonic() - began < 2  # half of the time is the second one's
    assert recorder.failures == [(port_of(full) if full.fileno() >= 0 else recorder.failures[0][0], errno.ETIMEDOUT)]
    for filler in fillers:
        filler.close()


def test_others_are_asked_for_when_none_answers(sockets):
    edge, origin = sockets
    recorder = Recorder([target(closed_port()), target(closed_port())])
    recorder.others = [target(closed_port()), target(origin), target(closed_port())]
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        c.sendall(b"x")
        o, _ = origin.accept()
        with o:
            assert o.recv(1) == b"x"
    assert recorder.exhaustions == [(recorder.targets[1].port, LOOPBACK), (recorder.failures[2][0], LOOPBACK)]
    assert [error for _, error in recorder.failures] == [errno.ECONNREFUSED] * 3
    assert len(recorder.others) == 1


@pytest.mark.parametrize("fault", ["none left", "a fault"])
def test_no_others(sockets, fault):
    edge, _ = sockets
    recorder = Recorder([target(closed_port())])
    recorder.others = [None]
    answers = {"none left": lambda *_: (), "a fault": lambda *_: 1 / 0}
    recorder.exhausted = answers[fault]
    add(recorder, edge)
    with in_thread(recorder.loop), pytest.raises(ConnectionResetError), client(edge) as c:
        c.recv(1)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ECONNREFUSED)]
    assert [type(error) for error in recorder.faults] == [ZeroDivisionError] * (fault == "a fault")


def test_one_deadline_for_all_attempts(sockets):
    edge, _ = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full)], connect_timeout_ms=400)
    recorder.others = [target(full)] * 3
    add(recorder, edge)
    began = time.monotonic()
    with full, recorder.running(), client(edge) as c, pytest.raises(ConnectionResetError):
        c.recv(1)
    assert 0.35 < time.monotonic() - began < 1
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ETIMEDOUT)]
    assert 2 <= len(recorder.failures) <= 4
    for filler in fillers:
        filler.close()


def test_sessions_are_counted_at_their_origin(sockets):
    edge, origin = sockets
    loads = Loads()
    loads.set_parent(7, 2)
    recorder = Recorder([target(closed_port(), number=3), target(origin, number=7)], loads=loads)
    add(recorder, edge)

    def counted(number):
        return loads.open(number), loads.waiting(number)

    with recorder.running():
        with client(edge) as c:
            o, _ = origin.accept()
            with o:
                eventually(lambda: counted(7) == counted(2) == (1, 0))
                c.sendall(b"question")
                assert o.recv(8) == b"question"
                assert counted(7) == counted(2) == (1, 1)
                o.sendall(b"answer")
                assert c.recv(6) == b"answer"
                assert counted(7) == (1, 0)
                c.sendall(b"and?")
                assert o.recv(4) == b"and?"
        eventually(lambda: counted(7) == counted(2) == counted(3) == (0, 0))


def test_an_engine_is_forgotten_while_it_dials(sockets):
    """In a cycle with its handler, so that the collector takes its attributes first."""
    edge, _ = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full, number=5)], loads=Loads())
    recorder.itself = recorder.relay
    add(recorder, edge)
    sessions = recorder.sessions
    with full, client(edge):
        with recorder.running():
            eventually(lambda: sessions)
        del recorder
        gc.collect()
    for filler in fillers:
        filler.close()


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


def test_staggered_targets_race(sockets):
    edge, origin = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full), target(origin, staggered=True)], connect_timeout_ms=5000)
    add(recorder, edge)
    with full, recorder.running(), client(edge) as c:
        began = time.monotonic()
        c.sendall(b"x")
        o, _ = origin.accept()
        with o:
            assert o.recv(1) == b"x"
        assert 0.2 < time.monotonic() - began < 2  # RFC 8305: after 250 ms, not after the timeout
    assert recorder.failures == []
    for filler in fillers:
        filler.close()


def test_connect_from_a_source_address(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin, sources=(b"\x7f\0\0\x05",))])
    add(recorder, edge)
    with recorder.running(), client(edge):
        o, address = origin.accept()
        o.close()
    assert address[0] == "127.0.0.5"


def test_source_addresses_take_turns(sockets):
    """One that is not ours has no port that is free: it is passed over."""
    edge, origin = sockets
    recorder = Recorder([target(origin, sources=(b"\x7f\0\0\x05", b"\xc0\0\2\1", b"\x7f\0\0\x06"))])
    add(recorder, edge)
    seen = []
    with recorder.running():
        for _ in range(5):
            with client(edge):
                o, address = origin.accept()
                o.close()
                seen.append(address[0])
    assert seen == ["127.0.0.5", "127.0.0.6", "127.0.0.5", "127.0.0.6", "127.0.0.5"]
    assert recorder.failures == []


def test_ports_of_all_source_addresses(require):
    """In a namespace with four ports: each source address has four sessions with an origin, then none is free."""
    require("ip", "unshare")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", FEW_PORTS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"8 sessions, then [({int(Outcome.CONNECT_FAILED)}, {errno.EADDRNOTAVAIL})]\n"


FEW_PORTS = """
import contextlib, socket, subprocess
from pathlib import Path
from tests.engine.test_relay import Recorder, add, target, eventually
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40003")
with socket.create_server(("127.0.0.1", 9000), backlog=100) as origin, socket.socket() as edge:
    edge.bind(("127.0.0.1", 9001))
    edge.listen(100)
    edge.setblocking(False)
    recorder = Recorder([target(origin, sources=(b"\\x7f\\0\\0\\5", b"\\x7f\\0\\0\\6"))])
    add(recorder, edge)
    clients = []
    with recorder.running():
        for number in range(9):
            with contextlib.suppress(ConnectionResetError):  # the last one
                clients.append(socket.create_connection(("127.0.0.1", 9001), 5, ("127.0.0.7", 50000 + number)))
        eventually(lambda: recorder.reports)
        print(f"{recorder.relay.active} sessions, then {recorder.outcomes()}")
"""


def test_a_source_address_that_is_not_ours(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin, sources=(b"\xc0\0\2\1",))])
    add(recorder, edge)
    with recorder.running():
        with pytest.raises(ConnectionResetError), client(edge) as c:
            c.recv(1)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.EADDRNOTAVAIL)]


def test_socket_options_of_the_origin_leg(sockets):
    """The kernel's own view (ss) of keepalive and user timeout is in /proc only as timers, so ask for their effect."""
    edge, origin = sockets
    recorder = Recorder([target(origin, keepalive=(1, 1, 2), user_timeout_ms=2500)])
    add(recorder, edge)
    with recorder.running(), client(edge):
        o, address = origin.accept()
        with o:
            time.sleep(1.3)  # armed by the first scan
            lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
            local = f"0100007F:{address[1]:04X}"
            fields = next(line.split() for line in lines if line.split()[1] == local and line.split()[3] == "01")
            assert fields[5].startswith("02")  # timer 2: keepalive is armed


# --- peers that take nothing ------------------------------------------------------------------------------------------


def narrow_client(edge):
    """A client whose kernel takes little before it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", port_of(edge)))
    return sock


def feed(origin, size):
    """Accept at an origin and send `size` bytes as far as there is room, in the background."""
    sock, _ = origin.accept()
    thread = threading.Thread(target=lambda: suppressed(lambda: sock.sendall(bytes(size))))
    thread.start()
    return sock, thread


def suppressed(call):
    with contextlib.suppress(OSError):
        call()


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
