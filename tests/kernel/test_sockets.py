import errno
import os
import resource
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from spectrum.kernel import sockets
from spectrum.kernel.sockets import (
    ListenError,
    add_listener,
    bind_unix,
    descriptor_limit,
    keepalive_options,
    local_addresses,
    may_bind,
    may_listen,
    open_descriptors,
    open_listeners,
    raise_descriptor_limit,
)


def close(*listeners):
    for sock in listeners:
        sock.close()


def test_sockets_share_a_port_and_are_not_inherited(free_port):
    port = free_port()
    opened = open_listeners("127.0.0.1", port, 3)
    more = add_listener("127.0.0.1", port)
    for sock in [*opened, more]:
        assert sock.getsockname() == ("127.0.0.1", port)
        assert not sock.getblocking()
        assert not sock.get_inheritable()
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: already in use"):
        open_listeners("127.0.0.1", port, 3)
    close(*opened, more)


def test_accepted_sockets_inherit_their_options(free_port):
    port = free_port()
    (listener,) = open_listeners("127.0.0.1", port, 1)
    keepalive_options(listener, 7, 3, 2, 12_500)
    with socket.create_connection(("127.0.0.1", port)):
        accepted, _ = listener.accept()
        options = (
            socket.TCP_NODELAY,
            socket.TCP_KEEPIDLE,
            socket.TCP_KEEPINTVL,
            socket.TCP_KEEPCNT,
            socket.TCP_USER_TIMEOUT,
        )
        assert [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [1, 7, 3, 2, 12_500]
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        close(accepted, listener)


def test_every_address_of_both_families(free_port):
    port = free_port()
    (listener,) = open_listeners("", port, 1)
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()
        listener.accept()[0].close()
    close(listener)


def test_ipv6_only_where_an_address_says_so(free_port):
    port = free_port()
    six, four = open_listeners("::", port, 1) + open_listeners("0.0.0.0", port, 1)
    close(six, four)


def test_not_an_address_of_this_machine(free_port):
    with pytest.raises(ListenError, match="not an address of this machine"):
        open_listeners("192.0.2.1", free_port(), 1)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EACCES, "CAP_NET_BIND_SERVICE"), (errno.EMFILE, "descriptors"), (errno.EIO, "input/output")],
)
def test_errors_say_what_to_do(monkeypatch, number, says):
    def fail(address, transport):
        raise OSError(number, "")

    monkeypatch.setattr(sockets, "_socket", fail)
    with pytest.raises(ListenError, match=says):
        open_listeners("127.0.0.1", 80, 1)
    with pytest.raises(ListenError, match=says):
        add_listener("127.0.0.1", 80)


def test_without_ipv6_a_wildcard_is_ipv4(monkeypatch, free_port):
    real = socket.socket

    def no_ipv6(family, kind):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "")
        return real(family, kind)

    port = free_port()
    monkeypatch.setattr(sockets.socket, "socket", no_ipv6)
    (listener,) = open_listeners("", port, 1)
    assert listener.family == socket.AF_INET
    close(listener)


def test_descriptor_limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
        assert raise_descriptor_limit() == hard
        assert descriptor_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = open_descriptors()
    with socket.socket():
        assert open_descriptors() == before + 1


def test_local_addresses():
    assert {ip_address("127.0.0.1"), ip_address("::1")} <= local_addresses()


def test_nothing_was_passed():
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "OTHER": "x"}
    assert sockets.passed_sockets(environment) == []
    assert environment == {"OTHER": "x"}
    assert sockets.passed_sockets({}) == []


@pytest.mark.parametrize(
    ("family", "kind", "address", "found"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", ("127.0.0.1", "tcp")),
        (socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0", ("0.0.0.0", "udp")),
        (socket.AF_INET6, socket.SOCK_STREAM, "::", ("", "tcp")),
        (socket.AF_INET6, socket.SOCK_DGRAM, "::1", ("::1", "udp")),
        (socket.AF_INET6, socket.SOCK_STREAM, "::ffff:127.0.0.1", ("127.0.0.1", "tcp")),
    ],
)
def test_listeners_that_others_opened(family, kind, address, found):
    with socket.socket(family, kind) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            assert sockets.adapt_listener(sock) is None  # it does not listen yet
            sock.listen()
        assert sockets.adapt_listener(sock) == (found[0], sock.getsockname()[1], found[1])
        assert not sock.getblocking()


def test_a_unix_socket_is_no_listener_of_an_app():
    with socket.socket(socket.AF_UNIX) as sock:
        assert sockets.adapt_listener(sock) is None


@pytest.mark.parametrize(
    ("address", "ancillary"), [("", True), ("0.0.0.0", True), ("127.0.0.1", False), ("::1", False)]
)
def test_datagrams_to_a_wildcard_tell_their_address(free_port, address, ancillary):
    (listener,) = open_listeners(address, free_port(), 1, "udp")
    six = listener.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if six else (socket.IPPROTO_IP, sockets.IP_PKTINFO)
    assert bool(listener.getsockopt(level, option)) is ancillary
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 200_000
    assert sockets.is_wildcard(address) is ancillary
    close(listener)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_transparent_datagrams_tell_where_they_were_sent(free_port, address):
    if os.geteuid() != 0:
        pytest.skip("IP_TRANSPARENT needs root")
    (listener,) = open_listeners(address, free_port(), 1, "udp", transparent=True)
    if ":" in address:
        level, options = socket.IPPROTO_IPV6, (sockets.IPV6_TRANSPARENT, sockets.IPV6_RECVORIGDSTADDR)
    else:
        level, options = socket.IPPROTO_IP, (sockets.IP_TRANSPARENT, sockets.IP_RECVORIGDSTADDR)
    assert [listener.getsockopt(level, option) for option in options] == [1, 1]
    close(listener)


def test_a_port_that_is_taken_may_be_bound_and_a_low_one_needs_a_right(free_port):
    port = free_port()
    first = open_listeners("127.0.0.1", port, 1)
    assert may_bind(port)
    close(*first)
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit == 0 or os.geteuid() != 0:
        pytest.skip("every port is free to use, or no right can be dropped")
    code = "from spectrum.kernel.sockets import may_bind; print(may_bind(1), may_bind(50_000))"
    run = [sys.executable, "-c", code]
    told = subprocess.run(
        ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-all", *run],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout == "False True\n", told


def test_one_that_listens_is_joined_by_one_beside_it(free_port):
    port = free_port()
    first = open_listeners("127.0.0.1", port, 1)
    assert not may_listen("127.0.0.1", port)
    assert may_listen("127.0.0.1", port, beside=first)
    assert not first[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    close(*first)
    assert may_listen("127.0.0.1", port)


def test_a_unix_socket_takes_the_place_of_a_dead_ones_alone(tmp_path):
    path = tmp_path / "x.sock"
    with bind_unix(path, 0o660) as sock:
        assert path.stat().st_mode & 0o777 == 0o660
        sock.listen()
        with pytest.raises(OSError, match="another process answers there") as raised:
            bind_unix(path, 0o600)
        assert raised.value.errno == errno.EADDRINUSE
    bind_unix(path, 0o600).close()
    path.unlink()
    path.touch()
    with pytest.raises(FileExistsError, match="it exists and is not a socket"):
        bind_unix(path, 0o600)
    with pytest.raises(FileNotFoundError):
        bind_unix(tmp_path / "nowhere/x.sock", 0o600)
    assert path.exists()
