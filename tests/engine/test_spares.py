"""Connections that are open ahead of sessions, against plain sockets."""

import socket
import time

import pytest

from spectrum.engine.shared import Loads
from spectrum.engine.spares import MAX_WANTED
from tests.engine.harness import Recorder, add, client, closed_port, eventually, full_listener, listening, target
from tests.engine.test_dialer import engine_socket

OPENED, USED, LOST, CLOSED, FAILED = range(5)


class Keeper(Recorder):
    """Keeps connections open to its targets."""

    def __init__(self, edge, *targets, **options):
        super().__init__(targets, **options)
        self.counts = [[0] * 5 for _ in targets]
        add(self, edge)

    def keep(self, count, most=0, timeout_ms=2000):
        self.relay.preconnect([(one, count, most, timeout_ms) for one in self.targets] if count else [])

    def counted(self, place=0):
        """What was counted of a target so far."""
        self.counts[place] = [a + b for a, b in zip(self.counts[place], self.targets[place].take_spares(), strict=True)]
        return self.counts[place]


def test_a_session_uses_the_connection_that_was_opened_last(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin), header=b"PROXY ")
    assert not keeper.targets[0].has_spares
    keeper.keep(2)
    with keeper.running():
        ahead = [origin.accept()[0] for _ in range(2)]
        eventually(lambda: keeper.counted()[OPENED] == 2)
        with client(edge) as c:
            c.sendall(b"hello")
            ahead[1].settimeout(5)
            got = b""
            while len(got) < 11:  # the header is the first that the origin gets
                got += ahead[1].recv(100)
            assert got == b"PROXY hello"
            ahead[1].sendall(b"answer")
            assert c.recv(6) == b"answer"
            ahead.append(origin.accept()[0])  # it is replaced
            ahead[1].close()
        eventually(lambda: keeper.reports)
        assert keeper.failures == []
        eventually(lambda: keeper.counted() == [3, 1, 0, 0, 0])
    for one in ahead:
        one.close()
    assert keeper.targets[0].take_connected() == 1


def test_what_an_origin_says_first_is_the_sessions(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin))
    keeper.keep(1)
    with keeper.running():
        with origin.accept()[0] as served:
            served.sendall(b"220 ready")
            eventually(lambda: keeper.counted()[OPENED] == 1)
            with client(edge) as c:
                assert c.recv(9) == b"220 ready"
        keeper.keep(0)


def test_one_that_the_origin_has_closed_is_no_sessions(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin))
    keeper.keep(1)
    with keeper.running():
        gone, _ = origin.accept()
        eventually(lambda: keeper.counted()[OPENED] == 1)
        gone.sendall(b"bye")
        gone.close()
        with client(edge) as c:  # before the next look, or after it
            c.sendall(b"x")
            served, _ = origin.accept()
            with served:
                assert served.recv(1) == b"x"
        eventually(lambda: keeper.counted()[LOST] == 1)
        assert keeper.counted()[USED] == 0


def test_those_that_the_origin_closes_are_replaced_after_a_pause(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin))
    keeper.keep(2)
    with keeper.running():
        for served in [origin.accept()[0] for _ in range(2)]:
            served.close()
        eventually(lambda: keeper.counted()[LOST] == 2)
        began = time.monotonic()
        again = [origin.accept()[0] for _ in range(2)]
        assert time.monotonic() - began > 0.5
        eventually(lambda: keeper.counted() == [4, 0, 2, 0, 0])
    for served in again:
        served.close()


def test_an_origin_that_refuses_is_asked_again_later(sockets):
    edge, _ = sockets
    keeper = Keeper(edge, target(closed_port()))
    keeper.keep(3)
    with keeper.running():
        eventually(lambda: keeper.counted()[FAILED])
        failed = keeper.counted()[FAILED]
        assert failed <= 3
        time.sleep(0.3)
        assert keeper.counted() == [0, 0, 0, 0, failed]


def test_one_that_takes_too_long_is_given_up(sockets):
    edge, _ = sockets
    full, fillers = full_listener()
    with full:
        keeper = Keeper(edge, target(full))
        keeper.keep(1, timeout_ms=100)
        with keeper.running():
            eventually(lambda: keeper.counted()[FAILED] == 1)
    for filler in fillers:
        filler.close()


def test_sessions_and_spare_connections_stay_below_the_bound(sockets):
    edge, origin = sockets
    loads = Loads()
    keeper = Keeper(edge, target(origin, place=5), loads=loads)
    keeper.keep(4, most=3)
    with keeper.running():
        served = [origin.accept()[0] for _ in range(3)]
        eventually(lambda: keeper.counted()[OPENED] == 3)
        with client(edge), client(edge):
            eventually(lambda: loads.open(5) == 2)
            time.sleep(0.2)
            assert keeper.counted() == [3, 2, 0, 0, 0]
            for one in served[1:]:
                one.close()
        served.append(origin.accept()[0])
    for one in served:
        one.close()


def test_workers_share_what_is_left(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin, place=5), loads=Loads(workers=2))
    keeper.keep(4, most=5)
    with keeper.running():
        served = [origin.accept()[0] for _ in range(2)]
        eventually(lambda: keeper.counted()[OPENED] == 2)
        time.sleep(0.2)
        assert keeper.counted() == [2, 0, 0, 0, 0]
    for one in served:
        one.close()


def test_what_is_not_wanted_any_more_is_closed(sockets):
    edge, origin = sockets
    with listening() as other:
        keeper = Keeper(edge, target(origin), target(other))
        keeper.keep(2)
        with keeper.running():
            served = [one.accept()[0] for one in (origin, origin, other, other)]
            eventually(lambda: keeper.counted(0)[OPENED] == keeper.counted(1)[OPENED] == 2)
        keeper.relay.preconnect([(keeper.targets[0], 1, 0, 2000)])
        with keeper.running():
            eventually(lambda: keeper.counted(0) == [2, 0, 0, 1, 0])
            assert keeper.counted(1) == [2, 0, 0, 2, 0]
            for one in served[2:]:
                one.settimeout(5)
                assert one.recv(1) == b""
        keeper.keep(0)
        assert keeper.counted(0) == [2, 0, 0, 2, 0]
    for one in served:
        one.close()


def test_all_of_them_together_leave_descriptors_to_sessions(sockets):
    edge, origin = sockets
    origin.listen(100)
    keeper = Keeper(edge, target(origin), max_sessions=20)
    keeper.keep(MAX_WANTED + 1)
    with keeper.running():
        eventually(lambda: keeper.counted()[OPENED] == 5)
        time.sleep(0.2)
        assert keeper.counted()[OPENED] == 5


def test_nobody_connects_ahead_from_a_clients_address(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin, transparent=True))
    with pytest.raises(ValueError, match="which is not known in advance"):
        keeper.keep(1)


def test_keepalive_is_on(sockets):
    edge, origin = sockets
    keeper = Keeper(edge, target(origin, keepalive=(60, 10, 3)))
    keeper.keep(1)
    with keeper.running():
        served, address = origin.accept()
        eventually(lambda: keeper.counted()[OPENED] == 1)
        with engine_socket(address) as one:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    served.close()
