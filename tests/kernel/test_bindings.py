"""Bindings in the kernel, in a network namespace of their own: which socket gets what, against a naive reference."""

from ipaddress import ip_network

import pytest

from spectrum.kernel.bindings import Binding, Bindings, is_loaded
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

REFERENCE = """
import random, socket, sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from spectrum.kernel.bindings import Binding, Bindings, load

filesystem = Path(sys.argv[1])
load(filesystem)
rng = random.Random(int(sys.argv[2]))
bindings = Bindings(filesystem)

def owner(wanted, address, port):
    found = [b for b in wanted if address in b.prefix and b.port in (0, port)]
    return max(found, key=lambda b: (b.prefix.prefixlen, b.port != 0), default=None)

def random_address(family):
    if family == 4:
        return ip_address(0x7F000000 | rng.getrandbits(24) & 0x3030301)
    return ip_address(0xFD << 120 | rng.getrandbits(2) << 64 | rng.getrandbits(1))

def random_binding(family):
    if family == 4:
        at, bits = random_address(4), rng.choice((8, 15, 16, 24, 31, 32))
    else:
        at, bits = random_address(6), rng.choice((0, 8, 63, 64, 127, 128))
    prefix = ip_network((at, bits), strict=False)
    return Binding(rng.choice("abcd"), "udp", prefix, rng.choice((0, 0, 7001, 7002)))

sockets = {}
for label in "abc":  # d has none
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        sock = sockets[label, family] = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        sock.setblocking(False)
        assert bindings.register(label, sock) == ["ipv4" if family == socket.AF_INET else "ipv6"]
asker = {f: socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6)}
asked = 0
for _ in range(12):
    by_key = {b.key(): b for b in (random_binding(rng.choice((4, 6))) for _ in range(25))}
    wanted = list(by_key.values())
    bindings.apply(wanted)
    assert sorted(map(str, bindings.all())) == sorted(map(str, wanted))
    for _ in range(40):
        number = rng.choice((4, 6))
        family = socket.AF_INET if number == 4 else socket.AF_INET6
        address = random_address(number)
        port = rng.choice((7001, 7002, 7003))
        bound = owner(wanted, address, port)
        try:
            asker[family].sendto(b"%d" % asked, (str(address), port))
        except OSError:  # an ICMP answer to the one before: nobody was there
            asker[family].sendto(b"%d" % asked, (str(address), port))
        got = []
        for (label, of), sock in sockets.items():
            try:
                while True:
                    if sock.recv(100) == b"%d" % asked:
                        got.append((label, of))
            except BlockingIOError:
                pass
        expected = [(bound.label, family)] if bound and bound.label != "d" else []
        assert got == expected, (address, port, bound, got)
        asked += 1
counts = bindings.counts()
assert counts["lookups"] >= asked and counts["misses"] and counts["no_socket"] and not counts["bad_socket"], counts
print(asked)
"""

LIFE = """
import socket, sys, threading
from ipaddress import ip_network
from pathlib import Path
from spectrum.kernel.bindings import Binding, BindingError, Bindings, is_loaded, load
from spectrum.kernel.pins import PinError, folder_of, unload

filesystem = Path(sys.argv[1])
try:
    Bindings(filesystem)
except PinError as exc:
    assert str(exc) == "the program is not loaded"
assert load(filesystem) is False and is_loaded(filesystem)

def serve(name):
    sock = socket.create_server(("127.0.0.1", 0))
    def run():
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            connection.sendall(name + b"%d" % connection.getsockname()[1])
            threading.Thread(target=lambda: connection.sendall(connection.recv(10))).start()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return sock, thread

def ask(port=80):
    with socket.create_connection(("127.9.9.9", port), 0.3) as sock:
        return sock.recv(100)

(one, _), (other, accepting) = serve(b"one"), serve(b"other")
web = Binding("web", "tcp", ip_network("127.9.0.0/16"), 0)
with Bindings(filesystem) as bindings:
    bindings.register("web", one)
    bindings.register("shop", other)
    bindings.bind(web)
    bindings.bind(web)  # twice is once
    assert ask() == b"one80" and ask(65535) == b"one65535"
    lasting = socket.create_connection(("127.9.9.9", 81))
    assert lasting.recv(10) == b"one81"
    try:
        bindings.bind(Binding("shop", "tcp", web.prefix, 0))
        raise SystemExit("bound to two")
    except BindingError as exc:
        assert str(exc) == "127.9.0.0/16 port 0 is bound to web"
    # The address moves to another service; what is open goes on.
    assert bindings.apply([Binding("shop", "tcp", web.prefix, 0)]) == (1, 0)
    assert ask() == b"other80"
    lasting.sendall(b"still")
    assert lasting.recv(10) == b"still"
    # A replaced program keeps bindings and sockets; so do they live without us.
    assert load(filesystem) is True
assert ask() == b"other80"
with Bindings(filesystem) as bindings:
    other.shutdown(socket.SHUT_RDWR)
    accepting.join()  # accept() holds the socket until it returns
    other.close()
    try:
        print(ask())
        raise SystemExit("a bound address without a socket answers")
    except ConnectionRefusedError:  # as if nobody listened
        pass
    assert bindings.counts()["no_socket"]
    assert bindings.services() == {("web", "tcp"): (0, ["ipv4"]), ("shop", "tcp"): (1, [])}
    try:
        bindings.unbind(web)
        raise SystemExit("unbound twice")
    except BindingError as exc:
        assert str(exc) == "there is no binding web tcp 127.9.0.0/16 0"
    bindings.unbind(Binding("shop", "tcp", web.prefix, 0))
    assert bindings.all() == [] and ("shop", "tcp") not in bindings.services()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as idle:
        datagrams.bind(("127.0.0.1", 0))
        assert bindings.register("dns", datagrams) == ["ipv4"]
        try:
            bindings.register("web", idle)
            raise SystemExit("a socket that does not listen was taken")
        except PinError:
            pass
    with socket.socket(socket.AF_INET6) as both:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        both.listen()
        assert bindings.register("both", both) == ["ipv4", "ipv6"]
assert unload(folder_of(filesystem)) and not is_loaded(filesystem) and not unload(folder_of(filesystem))
try:
    ask()
    raise SystemExit("the program is still there")
except ConnectionRefusedError:
    pass
print("ok")
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_right_socket_gets_it(filesystem, seed):
    assert isolated(REFERENCE, filesystem, seed) == "480\n"


def test_a_life_of_bindings(filesystem):
    assert isolated(LIFE, filesystem) == "ok\n"


def test_without_the_program(tmp_path):
    with pytest.raises(PinError, match="the program is not loaded"):
        Bindings(tmp_path)
    assert not is_loaded(tmp_path)


def test_keys_say_what_is_bound():
    four = Binding("web", "tcp", ip_network("192.0.2.0/24"), 80)
    assert four.key() == b"\x98\0\0\0\6\0\x50\0" + bytes(10) + b"\xff\xff\xc0\0\2\0"
    six = Binding("web", "udp", ip_network("2001:db8::/32"), 0)
    assert six.key() == b"\x40\0\0\0\x11\0\0\0" + b"\x20\1\x0d\xb8" + bytes(12)
    assert str(four) == "web tcp 192.0.2.0/24 80"
