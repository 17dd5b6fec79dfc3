"""Dialling, against plain sockets: order, races, deadlines, source addresses, counts."""

import errno
import gc
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spectrum.engine.retry_budget import RetryBudget
from spectrum.engine.sessions import Outcome
from spectrum.engine.shared import Loads
from spectrum.kernel.tcp import TCP_NOTSENT_LOWAT
from tests.engine.harness import (
    LOOPBACK,
    Recorder,
    add,
    client,
    closed_port,
    engine_socket,
    eventually,
    full_listener,
    in_thread,
    listening,
    port_of,
    read_all,
    reset,
    suppressed,
    target,
)


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
    assert recorder.reports[0][5] is recorder.targets[1]
    assert recorder.reports[0][7] == 0


def test_the_origin_that_is_named_is_the_one_that_failed_last(sockets):
    """It is the reason's: a staggered attempt may have begun after it."""
    edge, _ = sockets
    full, fillers = full_listener()
    nobody = target(closed_port(), staggered=True)
    with full:
        slow = target(full)
        recorder = Recorder([slow, nobody], connect_timeout_ms=800)
        add(recorder, edge)
        with recorder.running(), client(edge) as c:
            with pytest.raises(ConnectionResetError):
                c.recv(1)
            eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ETIMEDOUT)]
    assert recorder.failures[0][1] == errno.ECONNREFUSED
    assert recorder.reports[0][5] is slow
    for filler in fillers:
        filler.close()


def test_further_targets_are_within_the_retry_budget(sockets):
    edge, origin = sockets
    budget = RetryBudget(0, 0.2)  # two in ten seconds
    nobody = closed_port()
    recorder = Recorder([target(nobody, retries=budget), target(origin, retries=budget)])
    add(recorder, edge)
    with recorder.running():
        for _ in range(2):
            with client(edge):
                origin.accept()[0].close()
        with pytest.raises(ConnectionResetError), client(edge) as c:
            c.recv(1)
        eventually(lambda: len(recorder.reports) == 3)
    assert recorder.outcomes()[-1] == (Outcome.OVER_BUDGET, errno.ECONNREFUSED)
    assert recorder.reports[-1][5] is recorder.targets[0]
    assert len(recorder.failures) == 3


def test_an_attempt_beside_a_slow_one_is_within_the_retry_budget(sockets):
    """Without a budget for it the slow one is awaited."""
    edge, origin = sockets
    full, fillers = full_listener()
    with full:
        slow, quick = target(full, retries=RetryBudget(0, 0)), target(origin, staggered=True, retries=RetryBudget(0, 0))
        recorder = Recorder([slow, quick], connect_timeout_ms=600)
        add(recorder, edge)
        with recorder.running(), client(edge) as c:
            with pytest.raises(ConnectionResetError):
                c.recv(1)
            eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.ETIMEDOUT)]
    origin.setblocking(False)
    with pytest.raises(BlockingIOError):
        origin.accept()
    for filler in fillers:
        filler.close()


def test_the_handler_says_that_a_budget_is_spent(sockets):
    edge, _ = sockets
    recorder = Recorder([target(closed_port())])
    recorder.others = [None]
    recorder.exhausted = lambda *_: None
    add(recorder, edge)
    with recorder.running():
        with pytest.raises(ConnectionResetError), client(edge) as c:
            c.recv(1)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.OVER_BUDGET, errno.ECONNREFUSED)]


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
        assert time.monotonic() - began > 0.07  # half of the time is the second one's
    assert recorder.failures == [(port_of(full) if full.fileno() >= 0 else recorder.failures[0][0], errno.ETIMEDOUT)]
    for filler in fillers:
        filler.close()


@pytest.mark.parametrize("sent", [b"", b"question"])
def test_a_dial_ends_with_its_client(sockets, sent):
    edge, origin = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full), target(origin)], connect_timeout_ms=600)
    add(recorder, edge)
    with full, recorder.running(), client(edge) as c:
        c.sendall(sent)
        eventually(lambda: recorder.relay.active)
        reset(c)
        eventually(lambda: recorder.reports)
        assert recorder.failures == []  # long before the first attempt is given up
    assert recorder.outcomes() == [(Outcome.ERROR_CLIENT, errno.ECONNRESET)]
    for filler in fillers:
        filler.close()


def test_a_dial_continues_for_a_client_that_half_closed(sockets):
    edge, origin = sockets
    full, fillers = full_listener()
    recorder = Recorder([target(full), target(origin)], connect_timeout_ms=200)
    add(recorder, edge)
    with full, recorder.running(), client(edge) as c:
        eventually(lambda: recorder.relay.active)
        c.sendall(b"question")
        c.shutdown(socket.SHUT_WR)
        with origin.accept()[0] as o:
            assert read_all(o) == b"question"
            o.sendall(b"answer")
            assert c.recv(100) == b"answer"
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.EOF_CLIENT, 0)]
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
    assert 0.35 < time.monotonic() - began < 1.5  # with a deadline for each there would be four times 0.4
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


def test_ports_of_all_source_addresses(require):
    """In a namespace with four ports: each source address has four sessions with an origin, then none is free."""
    require("ip", "unshare")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", FEW_PORTS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"8 sessions, then [({int(Outcome.CONNECT_FAILED)}, {errno.EADDRNOTAVAIL})]\n"


def test_a_source_address_that_is_not_ours(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin, sources=(b"\xc0\0\2\1",))])
    add(recorder, edge)
    with recorder.running():
        with pytest.raises(ConnectionResetError), client(edge) as c:
            c.recv(1)
        eventually(lambda: recorder.reports)
    assert recorder.outcomes() == [(Outcome.CONNECT_FAILED, errno.EADDRNOTAVAIL)]


def test_how_the_kernel_sends_to_the_origin(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin, congestion_control=b"bbr", notsent_lowat=65536)])
    add(recorder, edge)
    with recorder.running(), client(edge):
        o, address = origin.accept()
        with o, engine_socket(address) as leg:
            assert leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"bbr"
            assert leg.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 65536


@pytest.mark.parametrize(("header", "segments"), [(b"HEADER ", 2), (b"", 3)])
def test_a_header_completes_the_handshake(sockets, header, segments):
    """SYN and data, if there are bytes to send at once; otherwise an ACK between them, so that the origin may speak."""
    edge, origin = sockets
    recorder = Recorder([target(origin)], header=header)
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        if not header:
            eventually(lambda: select.select([origin], [], [], 0)[0])
            c.sendall(b"hello")
        o, _ = origin.accept()
        with o:
            assert o.recv(100)
            # tcpi_segs_in, u32 at offset 140 of TCP_INFO (linux/tcp.h)
            info = o.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
            assert struct.unpack_from("I", info, 140)[0] == segments


@pytest.mark.parametrize("more", [b"more", bytes(1 << 23)], ids=["later", "beyond what is taken"])
def test_only_the_first_bytes_to_an_origin_may_wait_for_others(sockets, more):
    edge, origin = sockets
    recorder = Recorder([target(origin)], header=b"HEADER ")
    add(recorder, edge)
    with recorder.running(), client(edge) as c:
        o, address = origin.accept()
        with o, engine_socket(address) as leg:
            assert o.recv(100) == b"HEADER "
            assert not leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer = threading.Thread(target=c.sendall, args=(more,))
            writer.start()
            eventually(lambda: leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            got = 0
            while got < len(more):
                got += len(o.recv(1 << 20))
            writer.join()


def test_first_bytes_that_an_origin_does_not_take_whole_are_not_delayed(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    add(recorder, edge)
    with client(edge) as c:
        writer = threading.Thread(target=lambda: suppressed(lambda: c.sendall(bytes(1 << 23))))
        writer.start()
        with recorder.running():
            o, address = origin.accept()
            with o, engine_socket(address) as leg:
                eventually(lambda: leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                got = 0
                while got < 1 << 23:
                    got += len(o.recv(1 << 20))
                writer.join()


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
