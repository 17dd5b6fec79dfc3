"""Long work lets the engine go on, not more often than it has to."""

import time
from itertools import pairwise

from spectrum.plane.loop_yield import PACE, PIECE_S, LoopYield, paced


def test_the_engine_continues_while_work_takes_long():
    done = []
    breath = LoopYield(lambda: done.append(time.monotonic()))
    breath.is_held = False
    breath.begin()
    began = time.monotonic()
    while time.monotonic() < began + 20 * PIECE_S:
        breath.take()
    assert 2 <= len(done) <= 20
    assert all(later - earlier >= PIECE_S for earlier, later in pairwise(done))


def test_short_work_is_not_disturbed():
    done = []
    breath = LoopYield(lambda: done.append(1))
    breath.is_held = False
    late = 0
    for _ in range(100):
        began = time.monotonic()
        breath.begin()
        breath.take()
        late += time.monotonic() - began >= PIECE_S  # this test waited for a processor meanwhile
    assert len(done) <= late < 100


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
