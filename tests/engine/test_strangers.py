"""The program that drops strangers' datagrams, in the kernel."""

import socket
from ipaddress import ip_address

import pytest

from spectrum.engine.strangers import Strangers
from tests.engine.harness import is_filtered
from tests.engine.test_datagrams import datagrams

SENT = 4_000


def mapped(text):
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def received(edge, source, count=100, family=socket.AF_INET):
    """Send datagrams from a source, and return how many came out of the queue."""
    came = 0
    edge.setblocking(False)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        for _ in range(count):
            sock.sendto(b"x", ("::1" if family == socket.AF_INET6 else "127.0.0.1", edge.getsockname()[1]))
            try:
                edge.recv(10)
                came += 1
            except BlockingIOError:
                pass
    return came


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_sources_in_use_pass_and_one_in_so_many_strangers(host):
    strangers = Strangers()
    strangers.note_source(mapped("127.0.0.5"), 1)
    with datagrams(host) as edge:
        strangers.filter(edge.fileno(), 16)
        assert received(edge, "127.0.0.5") == 100
        assert SENT / 32 < received(edge, "127.0.0.6", SENT) < SENT / 8
        strangers.filter(edge.fileno(), 1)
        assert not is_filtered(edge)
        assert received(edge, "127.0.0.6") == 100


def test_sources_of_ipv6():
    strangers = Strangers()
    with datagrams("::1") as edge:
        strangers.filter(edge.fileno(), 1 << 16)
        assert received(edge, "::1", family=socket.AF_INET6) < 10
        strangers.note_source(mapped("::2"), 1)  # of the same /64
        strangers.filter(edge.fileno(), 1 << 16)
        assert received(edge, "::1", family=socket.AF_INET6) == 100


def test_none_of_many_sources_is_taken_for_a_stranger():
    strangers = Strangers()
    sources = [f"127.{number >> 8}.{number & 255}.7" for number in range(3_000)]
    for source in sources:
        strangers.note_source(mapped(source), 1)
    with datagrams() as edge:
        strangers.filter(edge.fileno(), 1 << 16)
        assert all(received(edge, source, 1) for source in sources)
        # A table of 16,384 bits: every sixth.
        others = sum(received(edge, f"127.{number >> 8}.{number & 255}.8", 1) for number in range(3_000))
        assert 300 < others < 800


def test_sources_that_are_no_longer_in_use_become_strangers():
    strangers = Strangers()
    one, other = mapped("192.0.2.1"), mapped("192.0.2.2")
    step = 700_000_000_000
    strangers.note_source(one, step)
    strangers.note_source(other, 2 * step)
    assert strangers.has_source(one)
    assert strangers.has_source(other)
    strangers.note_source(other, 3 * step)
    assert not strangers.has_source(one)
    assert strangers.has_source(other)


def test_what_the_kernel_refuses():
    with pytest.raises(OSError, match="the filter of a socket cannot be set"):
        Strangers().filter(-1, 16)
