import os
import socket

import pytest

from spectrum.control import listeners
from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.loader import load_text
from spectrum.control.listeners import ListenerBank, ListenersActor, sockets_per_listener
from spectrum.core.features import compile_snapshot
from spectrum.core.snapshot import ListenerKey
from spectrum.kernel.sockets import ListenError, open_listeners
from tests.control.plans import change, first


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
    assert bank.open(first.apps, 2) == first.listener_keys()
    both = snapshot(one, two)
    assert [key.port for key in bank.open(both.apps, 2)] == [two]
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
    bank.open(wanted.apps, 1)
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
    enlarged = []
    bank = ListenerBank(enlarged.append)
    bank.open(wanted.apps, 2)
    assert list(bank.descriptors([key], 2, 3)) == [key]
    assert [len(sockets) for sockets in enlarged] == [2, 1], "those of the third worker too"
    assert [workers for workers, _ in placed] == [1, 2]
    assert len({secret for _, secret in placed}) == 1
    bank.close([key])

    def refuse(*_):
        raise OSError(22, "invalid argument")

    monkeypatch.setattr(listeners, "place_datagrams", refuse)
    bank.open(wanted.apps, 2)
    assert "by its own hash (invalid argument)" in caplog.text
    bank.close([key])


def test_a_udp_listener_with_one_socket_is_one_workers(free_port):
    port = free_port()
    text = f"apps: {{a: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:1']}}}}"
    wanted = compile_snapshot(load_text(text, "x"), 1)
    bank = ListenerBank()
    bank.open(wanted.apps, 1)
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
    assert bank.open(wanted.apps, now) == [key]
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
            bank.open(snapshot(one, two, three).apps, 1)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [f"app a{two}", f"app a{three}"]
    assert [fault.path for fault in caught.value.faults] == [("apps", f"a{port}", "protocol") for port in (two, three)]
    assert caught.value.faults[0].message.startswith(f"127.0.0.1:{two}: already in use by another process")
    assert bank.keys() == set()


EVERY = ()
MOVES = [
    (("127.0.0.1",), EVERY),
    (("::1",), EVERY),
    (("0.0.0.0",), EVERY),
    (("::",), EVERY),
    (("127.0.0.1", "::1"), ("0.0.0.0", "::")),
    (("127.0.0.1",), ("0.0.0.0",)),
    (("0.0.0.0", "::1"), EVERY),
    (EVERY, ("0.0.0.0",)),
    (EVERY, ("::",)),
    (EVERY, ("127.0.0.1", "::1")),
    (EVERY, ("0.0.0.0", "::")),
]


def on(transport, port, addresses):
    where = f"edge_ips: [{', '.join(repr(one) for one in addresses)}], " if addresses else ""
    text = f"apps: {{a: {{protocol: {transport}/{port}, {where}origin_direct: ['{transport}://192.0.2.1:1']}}}}"
    return compile_snapshot(load_text(text, "x"), 1)


def reached(transport, port, address):
    """Tell whether a socket of the bank takes what is sent to an address."""
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
        client.settimeout(2)
        try:
            client.connect((address, port))
            if transport == "udp":  # where nobody listens, ICMP says so to the second send
                client.send(b"x")
                client.send(b"x")
        except OSError:
            return False
    return True


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("before", "after"), MOVES)
def test_a_port_moves_to_addresses_that_overlap(free_port, transport, before, after, count):
    port = free_port()
    bank = ListenerBank()
    bank.open(bank.fit(on(transport, port, before)).apps, count)
    wanted = bank.fit(on(transport, port, after))
    bank.open(wanted.apps, count)
    bank.tune(wanted.apps)
    keys = wanted.listener_keys()
    bank.close(bank.keys() - set(keys))
    for address, family in (("127.0.0.1", "0.0.0.0"), ("127.0.0.9", "0.0.0.0"), ("::1", "::")):
        expected = not after or address in after or family in after
        assert reached(transport, port, address) == expected, address
    for key in keys:
        for descriptor in bank.descriptors([key], port % count, count).values():
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == (count > 1)
    # The same again changes nothing.
    assert bank.open(bank.fit(on(transport, port, after)).apps, count) == []
    bank.close(bank.keys())


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_move_to_a_port_that_another_process_has_in_part_changes_nothing(free_port, transport):
    port = free_port()
    bank = ListenerBank()
    before = on(transport, port, ("127.0.0.1",))
    bank.open(before.apps, 1)
    with socket.socket(type=socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.7", port))
        if transport == "tcp":
            other.listen()
        with pytest.raises(ListenError, match="already in use by another process"):
            bank.open(on(transport, port, EVERY).apps, 1)
    assert bank.keys() == set(before.listener_keys())
    assert not bank.first(before.listener_keys()[0]).getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    bank.close(bank.keys())


def passed(transport, port, family, dual=False):
    sock = socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    sock.bind(("", port))
    if transport == "tcp":
        sock.listen()
    return sock


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("families", "dual"),
    [
        ([socket.AF_INET], False),
        ([socket.AF_INET6], False),
        ([socket.AF_INET, socket.AF_INET6], False),
        ([socket.AF_INET6], True),
    ],
)
def test_an_app_on_every_address_uses_what_systemd_passed(free_port, transport, families, dual):
    port = free_port()
    bank = ListenerBank()
    given = [passed(transport, port, family, dual) for family in families]
    numbers = {os.fstat(sock.fileno()).st_ino for sock in given}
    kept_by_systemd = [sock.dup() for sock in given]
    bank.adopt_passed(given)
    wanted = bank.fit(on(transport, port, EVERY))
    bank.open(wanted.apps, 1)
    bank.drop_adopted()
    keys = wanted.listener_keys()
    assert len(keys) == (1 if dual else 2)
    served = {os.fstat(bank.first(key).fileno()).st_ino for key in keys}
    assert numbers <= served
    for sock in kept_by_systemd:
        sock.close()
    bank.close(keys)


def test_a_family_that_cannot_be_opened_beside_a_passed_socket_is_reported(free_port, caplog):
    port = free_port()
    bank = ListenerBank()
    bank.adopt_passed([passed("tcp", port, socket.AF_INET)])
    with passed("tcp", port, socket.AF_INET6):  # another process
        wanted = bank.fit(on("tcp", port, EVERY))
    assert [key.address for key in wanted.listener_keys()] == ["0.0.0.0"]
    assert "app a listens on 0.0.0.0 only, which was open already: :: may not be opened beside it" in caplog.text
    assert f"ListenStream={port}" in caplog.text
    bank.drop_adopted()


async def test_an_address_of_another_machine_is_a_fault_of_edge_ips():
    text = "apps: {a: {protocol: tcp/2000, edge_ips: [127.0.0.1, 192.0.2.1], origin_direct: ['tcp://192.0.2.9:2000']}}"
    with pytest.raises(RolloutError) as caught:
        await ListenersActor(ListenerBank(), 1).prepare(first(text))
    (fault,) = caught.value.faults
    assert fault.path == ("apps", "a", "edge_ips", 1)
    assert fault.message == "192.0.2.1:2000: not an address of this machine; `ip address` lists them"


def test_a_range_that_cannot_be_opened_is_one_line(free_port, monkeypatch):
    def full(address, port, *_):
        raise ListenError(f"{address}:{port}", "the limit of 20000 descriptors is reached")

    monkeypatch.setattr(listeners, "open_listeners", full)
    text = "apps: {a: {protocol: tcp/2000-4000, edge_ips: [127.0.0.1], origin_direct: ['tcp://192.0.2.1:2000-4000']}}"
    with pytest.raises(ListenError) as caught:
        ListenerBank().open(compile_snapshot(load_text(text, "x"), 1).apps, 1)
    assert str(caught.value) == (
        "app a: 127.0.0.1:2000 to 127.0.0.1:4000 (2001 listeners): the limit of 20000 descriptors is reached"
    )


async def test_an_actor_that_aborts_leaves_the_listeners_as_they_were(free_port):
    def text(port, idle):
        app = f"{{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://192.0.2.1:1']"
        return f"apps: {{x: {app}, keepalive: {{idle: {idle}}}}}}}\n"

    bank = ListenerBank()
    actor = ListenersActor(bank, 2)
    old, new = free_port(), free_port()
    await actor.prepare(first(text(old, 20)))
    keys = bank.keys()
    assert [len(sockets) for sockets in bank._sockets.values()] == [2]

    def idle(key):
        return bank.first(key).getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)

    (key,) = keys
    for after in (text(new, 20), text(old, 50)):
        one = change(text(old, 20), after)
        await actor.prepare(one)
        await actor.abort(one)
        assert (bank.keys(), idle(key)) == (keys, 20)
    with socket.create_server(("127.0.0.1", new)), pytest.raises(RolloutError, match=r"^app x: .*already in use"):
        await actor.prepare(change(text(old, 20), text(new, 20)))
    await actor.abort(change(text(old, 20), text(new, 20)))
    assert bank.keys() == keys
    one = change(text(old, 20), text(new, 50))
    await actor.prepare(one)
    await actor.release(one)
    assert {key.port for key in one.after.snapshot.listener_keys()} == {new}
    assert bank.keys() == set(one.after.snapshot.listener_keys())
    bank.close(bank.keys())
