"""What is frozen stays, and cycles that come later are collected."""

import gc
import subprocess
import sys

import pytest

from spectrum.garbage import freezing, pausing

PROGRAM = """
import gc, weakref
from spectrum.garbage import collect_every, freeze

class Ring:
    def __init__(self):
        self.self = self

lasting = [Ring() for _ in range(200_000)]
collect_every(1000)
freeze()
assert gc.get_threshold() == (1000, 5, 5) and gc.get_freeze_count() > 200_000
freeze()
assert gc.get_freeze_count() > 200_000 and gc.isenabled()

# As old as can be: only a full collection finds it, and 200,000 frozen objects do not put that off.
ring = Ring()
gone = weakref.ref(ring)
gc.collect(1)
del ring
made = 0
while gone() is not None:
    assert made < 1_000_000, "it was never collected"
    Ring()
    made += 1
print("ok")
"""


def test_a_full_collection_does_not_wait_for_a_quarter_of_what_is_frozen():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


def test_pausing_and_freezing_leave_the_collector_as_it_was():
    frozen = gc.get_freeze_count()
    try:
        with pausing():
            assert not gc.isenabled()
            with pausing():
                assert not gc.isenabled()
            assert not gc.isenabled()
        assert gc.isenabled()
        with freezing():
            made = [[] for _ in range(1000)]
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(made)
        with pytest.raises(ValueError, match="x"), freezing():
            raise ValueError("x")
        assert gc.isenabled()
    finally:
        gc.unfreeze()
