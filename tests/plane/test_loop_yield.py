"""Long work lets the engine go on, not more often than it has to."""

from types import SimpleNamespace

import pytest

from spectrum.plane import loop_yield
from spectrum.plane.loop_yield import PACE, LoopYield, paced


@pytest.fixture
def clock(monkeypatch):
    """The time as the test has it, in pieces of work: how long a test waits for a processor does not matter."""
    made = SimpleNamespace(now=1000.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(loop_yield, "time", made)
    monkeypatch.setattr(loop_yield, "PIECE_S", 1.0)
    return made


def test_the_engine_continues_while_work_takes_long(clock):
    done = []
    breath = LoopYield(lambda: done.append(clock.now))
    breath.is_held = False
    breath.begin()
    for _ in range(80):
        clock.now += 0.25
        breath.take()
    assert done == [1000 + number for number in range(1, 21)]


def test_short_work_is_not_disturbed(clock):
    done = []
    breath = LoopYield(lambda: done.append(1))
    breath.is_held = False
    for _ in range(10):
        breath.begin()
        clock.now += 0.75
        breath.take()
    assert done == []


def test_nothing_is_handled_before_the_flows_of_the_worker_before_are_known():
    done = []
    breath = LoopYield(lambda: done.append(1))
    breath.take()  # due for ever so long
    assert done == []
    breath.is_held = False
    breath.take()
    assert done == [1]


def test_many_items_have_pauses():
    done = []
    assert list(paced(range(2 * PACE + 1), lambda: done.append(1))) == list(range(2 * PACE + 1))
    assert len(done) == 3
