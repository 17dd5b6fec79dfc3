import os

import pytest

from spectrum.engine.census import Census
from spectrum.plane.memory import SharedMemory


def test_what_is_shared():
    memory = SharedMemory(2, 100)
    assert len(memory.descriptors) == 4
    assert not any(os.get_inheritable(descriptor) for descriptor in memory.descriptors)
    memory.affinities.remember(1, 2, 3)
    assert memory.loads.open(1) == 0
    other = Census(memory.descriptors[2], 2, 1, secret=memory.secret)
    other.add(1, 2, bytes(4), 1)
    memory.forget(0)
    assert other.count(2) == 1
    memory.forget(1)
    assert other.count(2) == 0
    memory.close()
    memory.close()
    assert memory.affinities.find(1, 3, 10) == 2  # what is mapped stays


def test_no_such_memory():
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError):
        SharedMemory(0, 100)
    assert len(os.listdir("/proc/self/fd")) == before
