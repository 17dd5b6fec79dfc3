"""What workers are told where they show packets to detection, and what their rules count."""

import os
import struct
import time
from ipaddress import ip_network

import pytest

from spectrum.control.ddos.worker_detection import WorkerDetection
from spectrum.core.configuration.config import Config
from spectrum.core.filter_rules import FilterRule, SetTerm
from spectrum.kernel.filter.rules import Slot, masked, pack_rule, pack_sets
from spectrum.kernel.pins import PinError
from spectrum.link.detector import DetectorRule
from spectrum.link.messages import Watching
from tests.control.ddos.parts import FakeWorker, descriptors
from tests.control.ddos.test_detection import APPS, FILTER


def config(**given):
    return Config.model_validate({"ddos": {**given}, **APPS})


def rule(name, **given):
    made = FilterRule(idle=True, expires_ns=time.monotonic_ns() + 10**10, **given)
    return DetectorRule(name, pack_rule(made), pack_sets({"x": made}).get("x", []), name, made.expires_ns, b"")


@pytest.fixture
def world():
    before = descriptors()
    workers = [FakeWorker(0), FakeWorker(1)]
    one = WorkerDetection(2, lambda: workers)
    yield one, workers
    one.close()
    assert descriptors() == before


def count(one, worker, number, packets, size):
    os.pwrite(one.looks[worker], struct.pack("=QQ", packets, size), 64 + 16 * number)


def numbers(worker):
    return [Slot.unpacked(found.slot).number for found in worker.rules.rules]


def test_workers_show_packets_while_attacks_are_looked_for_without_the_filter(world):
    one, workers = world
    one.apply(Config.model_validate(APPS))
    one.apply(Config.model_validate({"ddos": {}, **FILTER, **APPS}))
    assert not one.is_on and not workers[0].told
    one.tell(workers[0])
    assert workers[0].told == [Watching()]
    one.apply(config(guard=["192.0.2.0/24"]))
    assert one.is_on and len(one.looks) == 2
    for worker in workers:
        assert worker.told[-1].idle_one_in == one.one_in[0] and worker.files == 3
        assert worker.rules.rules == [] and worker.rules.guard == [masked(ip_network("192.0.2.0/24"))]
    told = len(workers[0].told)
    one.apply(config(guard=["192.0.2.0/24"]))
    assert len(workers[0].told) == told, "nothing has changed"
    one.sample(0, 4)
    assert (workers[1].told[-1].idle_one_in, workers[1].told[-1].used_one_in) == (1, 4)
    one.apply(Config.model_validate(APPS))
    assert not one.is_on and workers[1].told[-1] == Watching()


def test_rules_are_numbered_and_counted(world):
    one, workers = world
    one.write([rule("early")])
    one.apply(config())
    one.write([rule("a"), rule("b", sets=(SetTerm("source", frozenset({5})),))])
    assert [bool(found.sets) for found in workers[0].rules.rules] == [False, True]
    first, second = numbers(workers[0])
    assert numbers(workers[1]) == [first, second] and first != second
    count(one, 0, first, 5, 500)
    count(one, 1, first, 2, 200)
    assert one.counts() == {"a": (7, 700), "b": (0, 0)} and one.lost == 0
    # A number comes again last of all, and what it had counted is not the new rule's.
    one.write([rule("b")])
    for n in range(127):
        one.write([rule("b"), rule(f"x{n}")])
    assert numbers(workers[0]) == [second, first] and one.counts() == {"b": (0, 0), "x126": (0, 0)}
    count(one, 0, first, 6, 600)
    assert one.counts()["x126"] == (1, 100)
    # A worker that follows another one gets the same.
    new = FakeWorker(1)
    one.tell(new)
    assert new.rules == workers[1].rules


def test_invalid_rules_change_nothing(world):
    one, workers = world
    one.apply(config())
    one.write([rule("a")])
    with pytest.raises(PinError, match="a rule has 208 bytes"):
        one.write([DetectorRule("b", b"x", [], "", 1, b"")])
    assert one.counts() == {"a": (0, 0)} and len(workers[0].rules.rules) == 1


def test_without_memory_it_is_not_on(world, monkeypatch):
    one, _ = world

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr("spectrum.control.ddos.worker_detection.AllLooks", fail)
    with pytest.raises(OSError, match="no room"):
        one.apply(config())
    assert not one.is_on
