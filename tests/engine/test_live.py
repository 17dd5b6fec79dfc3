"""The counts themselves: each kind is seen while it is there, and gone after it."""

import pytest

from spectrum.engine.census import Census
from spectrum.engine.loop import Loop
from spectrum.engine.target import Target
from tests.engine.live import is_counted, live, nothing_left


def test_held_objects_are_counted():
    before = live()
    if not is_counted():  # in another build than the debug one only what Python and the kernel know of is
        held = Loop()
        assert {what for what, count in (live() - before).items() if count} <= {"objects of Loop", "descriptors"}
        del held
        return
    target = Target(bytes([127, 0, 0, 1]), 1, "127.0.0.1", sources=(bytes([127, 0, 0, 2]),))
    loop, census = Loop(), Census()
    more = live() - before
    assert more["objects of Loop"] == 1 and more["mapped bytes"] >= 4096 and more["descriptors"] >= 1
    assert [count for what, count in more.items() if what.startswith("blocks of spectrum/engine/target.pyx")] == [1]
    del target, loop, census
    assert live() == before


def test_leaks_are_reported():
    kept = []
    with pytest.raises(AssertionError, match=r"left behind: .*'descriptors': "), nothing_left():
        kept.append(Loop())
