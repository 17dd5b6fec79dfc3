import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.engine.shared import MAX_NUMBER, Affinities, Loads
from spectrum.engine.target import Target

HOUR = 3600


def memory(size):
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, size)
    return descriptor


def table(entries=64):
    descriptor = memory(Affinities.bytes_for(entries))
    made = Affinities(descriptor, entries)
    os.close(descriptor)
    return made


def test_nobody_is_counted_at_first():
    loads = Loads()
    assert (loads.open(5), loads.waiting(MAX_NUMBER)) == (0, 0)
    assert Target(b"\0\0\0\0", 1, "x", number=5).number == 5
    loads.clear(0)


@pytest.mark.parametrize(("workers", "worker"), [(1, 1), (2, -1)])
def test_no_such_worker(workers, worker):
    with pytest.raises(ValueError, match=f"worker {worker} of {workers}"):
        Loads(-1, workers, worker)
    with pytest.raises(ValueError, match="worker 3 of 1"):
        Loads().clear(3)


def test_invalid_memory():
    with pytest.raises(OSError, match="cannot be mapped"):
        Loads(0x7FFFFFF0)
    with pytest.raises(OSError, match="cannot be mapped"):
        Affinities(0x7FFFFFF0, 8)


def test_how_full_a_table_is():
    affinities = table(8)
    assert affinities.share(1000, HOUR) == 0
    affinities.remember(1, 7, 1000)
    affinities.remember(2, 7, 2000)
    assert affinities.share(2000, HOUR) == 0.25
    assert affinities.share(1000 + HOUR, HOUR) == 0.125


def test_affinities_live_as_long_as_they_are_used():
    affinities = table()
    assert affinities.find(1, 1000, HOUR) == 0
    affinities.remember(1, 0xFFFFFFFFFF, 1000)
    assert affinities.find(1, 1000 + HOUR - 1, HOUR, touch=False) == 0xFFFFFFFFFF
    assert affinities.find(1, 1000 + HOUR, HOUR, touch=False) == 0
    assert affinities.find(1, 1000 + HOUR // 2, HOUR) == 0xFFFFFFFFFF  # a use
    assert affinities.find(1, 1000 + HOUR + HOUR // 4, HOUR) == 0xFFFFFFFFFF
    affinities.remember(1, 7, 2000)
    assert affinities.find(1, 2000, HOUR) == 7
    affinities.forget(1)
    affinities.forget(1)
    assert affinities.find(1, 2000, HOUR) == 0


def test_the_clock_of_stamps_wraps():
    affinities = table()
    affinities.remember(1, 7, 2**24 - 10)
    assert affinities.find(1, 2**24 + 10, HOUR) == 7
    assert affinities.find(1, 2**24 + HOUR, HOUR, touch=False) == 0


def test_a_full_bucket_gives_up_its_oldest():
    affinities = table(4)
    for key in range(1, 5):
        affinities.remember(key, key, 1000 + key)
    affinities.find(1, 1000 + HOUR // 2, HOUR)
    affinities.remember(5, 5, 1000 + HOUR // 2)
    assert [affinities.find(key, 1000 + HOUR // 2, HOUR) for key in range(1, 6)] == [1, 0, 3, 4, 5]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**40 - 1)), max_size=40))
def test_what_is_found_was_remembered(pairs):
    affinities, remembered = table(1024), {}
    for key, tag in pairs:
        affinities.remember(key, tag, 5)
        remembered[key] = tag
    assert all(affinities.find(key, 6, HOUR) == tag for key, tag in remembered.items())


def _key(number):
    """Return a key that differs from others in more than a value may differ from another one, as hashes do."""
    return number << 40


def _write(descriptor, first):
    affinities = Affinities(descriptor, 4)
    for round_ in range(20_000):
        number = first + round_ % 3
        affinities.remember(_key(number), number + 1, round_ // 100)
        assert affinities.find(_key(number) + 2**32, round_ // 100, HOUR) == 0


def test_writers_without_locks():
    """Two processes fight for the same bucket; whoever finds a key finds its own tag."""
    descriptor = memory(Affinities.bytes_for(4))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(descriptor, first)) for first in (10, 20)]
    for writer in writers:
        writer.start()
    affinities = Affinities(descriptor, 4)
    found = 0
    while any(writer.is_alive() for writer in writers):
        for number in (*range(10, 13), *range(20, 23)):
            tag = affinities.find(_key(number), 100, HOUR, touch=False)
            assert tag in (0, number + 1)
            found += tag > 0
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert found
    os.close(descriptor)


def test_workers_count_apart_and_are_seen_together():
    descriptor = memory(Loads.bytes_for(3))
    every = [Loads(descriptor, 3, worker) for worker in range(3)]
    os.close(descriptor)
    # Written as a worker's engine would: cells of 8 bytes, one block of 65,536 for each worker.
    assert Loads.bytes_for(3) == 3 * 65536 * 8
    assert [loads.open(9) for loads in every] == [0, 0, 0]
    every[0].clear(2)
