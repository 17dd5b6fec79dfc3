"""Filters of listening sockets by rules, as rules and listeners come and go."""

import asyncio
import errno
import logging
import socket
import time
from types import SimpleNamespace

import pytest

from spectrum.core.filter_rules import FilterRule
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.syn_filter import PASSED_ONE_IN, BlockRule
from spectrum.plane import syn_filters
from spectrum.plane.syn_filters import SynFilters

LIMITED = FilterRule(action="limit", packets_per_second=9)


def rule(**fields):
    return BlockRule(pack_rule(FilterRule(**fields)), [])


class Kernel:
    """Which sockets have a filter, by descriptor."""

    def __init__(self):
        self.filters = {}
        self.calls = 0
        self.refuses = False

    def attach(self, descriptor, instructions):
        self.calls += 1
        if self.refuses:
            raise OSError(errno.ENOMEM, "cannot allocate memory")
        self.filters[descriptor] = instructions

    def detach(self, descriptor):
        self.calls += 1
        self.filters.pop(descriptor, None)


class Thinned:
    """A lookout that keeps what it is told."""

    places: frozenset = frozenset()

    def thin(self, places, one_in):
        assert one_in == PASSED_ONE_IN
        self.places = frozenset(places)


def listener(descriptor, trusted=None):
    return SimpleNamespace(
        app=SimpleNamespace(trusted=trusted), descriptor=descriptor, holds=descriptor >= 0, removed=False
    )


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel()
    monkeypatch.setattr(syn_filters, "attach", made.attach)
    monkeypatch.setattr(syn_filters, "detach", made.detach)
    return made


@pytest.fixture
def thinned():
    return Thinned()


async def test_rules_that_block_filter_the_listeners_of_clients(kernel, thinned):
    listeners = {0: listener(10), 1: listener(11, trusted=["192.0.2.0/24"]), 2: listener(-1), 3: listener(13)}
    listeners[3].removed = True
    filters = SynFilters(listeners, thinned)
    filters.take([BlockRule(pack_rule(LIMITED), []), rule()], [])
    assert kernel.filters.keys() == {10}
    assert thinned.places == {1}
    filters.take([], [])
    assert kernel.filters == {}
    assert thinned.places == frozenset()


async def test_listeners_that_come_are_filtered_and_what_a_former_worker_left_is_removed(kernel, thinned):
    kernel.filters = {10: "of a former worker"}
    listeners = {0: listener(10)}
    filters = SynFilters(listeners, thinned)
    filters.look()
    assert kernel.filters == {}
    calls = kernel.calls
    filters.look()
    assert kernel.calls == calls  # thousands of listeners cost nothing
    filters.take([rule()], [])
    listeners[1] = listener(11)
    filters.look()
    assert kernel.filters.keys() == {10, 11}
    listeners[1].app.trusted = ["192.0.2.0/24"]
    filters.look()
    assert kernel.filters.keys() == {10}
    del listeners[1]
    filters.take([], [])
    assert kernel.filters == {}


async def test_the_same_rules_with_a_later_end_change_no_socket(kernel, thinned):
    filters = SynFilters({0: listener(10)}, thinned)
    filters.take([rule(expires_ns=time.monotonic_ns() + 10**10)], [])
    calls = kernel.calls
    filters.take([rule(expires_ns=time.monotonic_ns() + 2 * 10**10)], [])
    assert kernel.calls == calls
    assert thinned.places == {0}
    filters.take([], [])


async def test_a_filter_ends_with_its_rule(kernel, thinned):
    filters = SynFilters({0: listener(10)}, thinned)
    filters.take([rule(expires_ns=time.monotonic_ns() + 50_000_000)], [])
    assert kernel.filters
    await asyncio.sleep(0.3)
    assert kernel.filters == {}
    assert thinned.places == frozenset()


async def test_where_the_kernel_refuses_all_is_left_to_the_engine(kernel, thinned, caplog):
    filters = SynFilters({0: listener(10), 1: listener(11)}, thinned)
    kernel.refuses = True
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            filters.take([rule()], [])
        assert kernel.filters == {}
        assert thinned.places == frozenset()
    assert [record.getMessage() for record in caplog.records] == [
        "SYNs of attacks are not dropped at listening sockets, only refused: [Errno 12] cannot allocate memory"
    ]


async def test_a_real_socket(thinned):
    with socket.create_server(("127.0.0.1", 0)) as edge:
        filters = SynFilters({0: listener(edge.fileno())}, thinned)

        def refused():
            with socket.socket() as client:
                client.settimeout(0.2)
                try:
                    client.connect(edge.getsockname())
                except TimeoutError:
                    return True
                return False

        filters.take([rule()], [])
        assert any(refused() for _ in range(4))
        filters.take([], [])
        assert not any(refused() for _ in range(4))
