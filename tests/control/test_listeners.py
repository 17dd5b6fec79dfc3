import os
import socket

import pytest

from spectrum.control import listeners
from spectrum.control.listeners import ListenerBank, sockets_per_listener
from spectrum.control.loader import load_text
from spectrum.core.snapshot import ListenerKey, compile_snapshot
from spectrum.kernel.sockets import ListenError, open_listeners


def snapshot(*ports):
    apps = "".join(
        f"  a{p}: {{protocol: tcp/{p}, edge_ips: [127.0.0.1], origin_direct: [tcp://192.0.2.1:1]}}\n" for p in ports
    )
    return compile_snapshot(load_text("apps:\n" + apps, "x"), 1)


@pytest.mark.parametrize(
    ("count", "workers", "limit", "each"),
    [(2, 4, 1024, 4), (10_000, 2, 20_000, 1), (5_000, 2, 20_000, 2), (1, 1, 20_000, 1)],
)
def test_sockets_per_listener(count, workers, limit, each):
    assert sockets_per_listener(count, workers, limit) == each


def test_opens_what_is_new_and_closes_what_is_gone(free_port):
    one, two = free_port(), free_port()
    bank = ListenerBank()
    first = snapshot(one)
    assert bank.open(first, 2) == first.listener_keys()
    both = snapshot(one, two)
    assert [key.port for key in bank.open(both, 2)] == [two]
    bank.tune(both.apps)
    given = [bank.descriptors(both.listener_keys(), number, 3) for number in range(3)]
    # The third worker gets sockets of its own.
    assert len({descriptor for chosen in given for descriptor in chosen.values()}) == 6
    bank.close(first.listener_keys())
    assert [key.port for key in bank.keys() - set()] == [two]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", one))
    bank.close(bank.keys())


def test_one_socket_serves_all_workers(free_port):
    bank = ListenerBank()
    wanted = snapshot(free_port())
    bank.open(wanted, 1)
    keys = wanted.listener_keys()
    assert bank.descriptors(keys, 0, 6) == bank.descriptors(keys, 5, 6)
    bank.close(bank.keys())


def test_udp_flows_are_placed_by_a_program(free_port, monkeypatch, caplog):
    port = free_port()
    text = f"apps: {{a: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:1']}}}}"
    wanted = compile_snapshot(load_text(text, "x"), 1)
    (key,) = wanted.listener_keys()
    placed = []
    monkeypatch.setattr(listeners, "place_datagrams", lambda sock, table, secret: placed.append((max(table), secret)))
    bank = ListenerBank()
    bank.open(wanted, 2)
    assert list(bank.descriptors([key], 2, 3)) == [key]
    assert [workers for workers, _ in placed] == [1, 2]
    assert len({secret for _, secret in placed}) == 1
    bank.close([key])

    def refuse(*_):
        raise OSError(22, "invalid argument")

    monkeypatch.setattr(listeners, "place_datagrams", refuse)
    bank.open(wanted, 2)
    assert "by its own hash (invalid argument)" in caplog.text
    bank.close([key])


def test_a_udp_listener_with_one_socket_is_one_workers(free_port):
    port = free_port()
    text = f"apps: {{a: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:1']}}}}"
    wanted = compile_snapshot(load_text(text, "x"), 1)
    bank = ListenerBank()
    bank.open(wanted, 1)
    bank.tune(wanted.apps)
    given = [bank.descriptors(wanted.listener_keys(), number, 3) for number in range(3)]
    assert [len(descriptors) for descriptors in given] == [int(number == port % 3) for number in range(3)]
    bank.close(bank.keys())


@pytest.mark.parametrize(("before", "now", "opened"), [(2, 2, 0), (2, 3, 1), (3, 2, 0), (1, 3, 0)])
def test_adopted_sockets_keep_their_place(free_port, monkeypatch, before, now, opened):
    """Those of workers that are taken over; where there was one for all, it stays so."""
    port = free_port()
    wanted = snapshot(port)
    (key,) = wanted.listener_keys()
    earlier = open_listeners(key.address, key.port, before)
    numbers = [os.fstat(sock.fileno()).st_ino for sock in earlier]
    bank = ListenerBank()
    for number, sock in enumerate(earlier):
        bank.adopt(number, {key: sock})
    other = socket.socket()
    bank.adopt(0, {ListenerKey("127.0.0.9", 1): other})
    assert bank.open(wanted, now) == [key]
    bank.drop_adopted()
    assert other.fileno() == -1
    served = [bank.descriptors([key], number, now)[key] for number in range(now)]
    kept = [os.fstat(descriptor).st_ino for descriptor in served]
    if before == 1:
        assert kept == numbers * now
    else:
        assert kept[: min(before, now)] == numbers[:now]
        assert len(set(kept)) == now
        assert len(set(kept) - set(numbers)) == opened
    bank.close([key])


def test_a_failure_opens_nothing_and_names_every_app(free_port):
    one, two, three = free_port(), free_port(), free_port()
    bank = ListenerBank()
    with socket.socket() as a, socket.socket() as b:
        for sock, port in ((a, two), (b, three)):
            sock.bind(("127.0.0.1", port))
            sock.listen()
        with pytest.raises(ListenError) as caught:
            bank.open(snapshot(one, two, three), 1)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [f"app a{two}", f"app a{three}"]
    assert bank.keys() == set()
