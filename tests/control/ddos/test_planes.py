"""Whether the kernel or the workers look at packets."""

import pytest

from spectrum.control.ddos.detection import KernelDetection
from spectrum.control.ddos.planes import DetectionPlanes
from spectrum.control.ddos.worker_detection import WorkerDetection
from spectrum.control.filter.node import NodeFilter
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.kernel.pins import PinError
from spectrum.link.helper import SetDetection, SetDrops
from tests.control.ddos.parts import FakeWorker, KernelsHelper
from tests.control.ddos.test_detection import APPS, FILTER
from tests.control.ddos.test_worker_detection import rule


class World:
    """Both of them."""

    def __init__(self):
        self.helper, self.worker = KernelsHelper(), FakeWorker(0)
        self.workers = WorkerDetection(1, lambda: [self.worker])
        kernel = KernelDetection(self.helper, NodeFilter(self.helper))
        self.planes = DetectionPlanes(kernel, KernelCounts(self.helper, "filter"), self.workers)

    async def serve(self, **given):
        await self.planes.apply(Config.model_validate({**given, **APPS}))


@pytest.fixture
def world():
    one = World()
    yield one
    one.planes.close()


async def test_the_kernel_where_there_is_a_filter_else_the_workers(world):
    planes, helper, worker = world.planes, world.helper, world.worker
    await world.serve(ddos={})
    assert planes.by_workers and len(planes.looks) == 1 and not helper.asked
    await planes.write([rule("a")])
    await planes.sample(2, 3)
    assert len(worker.rules.rules) == 1 and planes.one_in == (2, 3)
    assert (await planes.counted()).rules == {"a": (0, 0)}
    planes.tell(new := FakeWorker(0))
    assert len(new.rules.rules) == 1

    await world.serve(ddos={}, **FILTER)
    assert not planes.by_workers and len(planes.looks) == 1 and not worker.rules
    await planes.write([rule("a")])
    await planes.sample(4, 5)
    assert list(helper.last(SetDrops).drops.rules) == ["a"] and helper.last(SetDetection).used_one_in == 5
    helper.counts = {"rule ddos/a": (5, 6), "rule x": (1, 1), "looks_lost": (3, 0)}
    counted = await planes.counted()
    assert counted.rules == {"a": (5, 6)} and counted.lost == 3

    await world.serve()
    assert not planes.by_workers and planes.looks == []


async def test_the_last_counts_of_rules_that_end_are_kept_for_a_while(world):
    await world.serve(ddos={}, **FILTER)
    await world.planes.write([rule("a"), rule("b")])
    world.helper.counts = {"rule ddos/a": (5, 6), "rule ddos/b": (7, 8)}
    await world.planes.write([rule("a"), rule("b.2")])
    world.helper.counts = {"rule ddos/a": (9, 9), "rule ddos/b.2": (1, 1)}
    assert (await world.planes.counted()).rules == {"a": (9, 9), "b": (7, 8), "b.2": (1, 1)}
    await world.planes.write([rule("a")])
    world.helper.counts = {"rule ddos/a": (9, 9)}
    assert (await world.planes.counted()).rules == {"a": (9, 9), "b.2": (1, 1)}


async def test_workers_that_cannot_be_told(world, monkeypatch):
    await world.serve(ddos={})

    def fail(*_):
        raise OSError("out of descriptors")

    monkeypatch.setattr(world.worker, "tell", fail)
    for refused in (world.planes.write([rule("a")]), world.planes.sample(1, 1), world.serve()):
        with pytest.raises(PinError, match="out of descriptors"):
            await refused
