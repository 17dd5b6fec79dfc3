"""What the engine holds: memory by the line that took it (a debug build alone, live.h), objects, and descriptors.

A test of the engine that leaves something behind fails in a debug build, by the fixture `leaves_nothing`.
"""

import ctypes
import gc
import os
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES

import pytest


class _Place(ctypes.Structure):
    """struct live_place of live.h."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("what", ctypes.c_char_p),
        ("line", ctypes.c_int),
        ("count", ctypes.c_long),
    )


@cache
def _places(path: str) -> list[_Place]:
    """Return where a compiled module counts; nowhere in a build without counts."""
    try:
        find = ctypes.CDLL(path).live_place
    except AttributeError:
        return []
    find.argtypes, find.restype = (ctypes.c_long,), ctypes.POINTER(_Place)
    found = []
    while place := find(len(found)):
        found.append(place.contents)
    return found


def _modules() -> list[str]:
    compiled = [(name, getattr(module, "__file__", None) or "") for name, module in sys.modules.copy().items()]
    return [
        path for name, path in compiled if name.startswith("spectrum.") and path.endswith(tuple(EXTENSION_SUFFIXES))
    ]


def is_counted() -> bool:
    """Tell whether this is a debug build."""
    return any(_places(path) for path in _modules())


def live() -> Counter[str]:
    """Return how much there is of each kind, of what is still in use."""
    gc.collect()
    found: Counter[str] = Counter()
    for path in _modules():
        for place in _places(path):
            what = place.what.decode()
            where = f" of {place.file.decode()}:{place.line}" if what == "blocks" else ""
            found[what + where] += place.count
    for one in gc.get_objects():
        if str(type(one).__module__).startswith("spectrum.engine."):
            found[f"objects of {type(one).__name__}"] += 1
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    return found


@contextmanager
def nothing_left():
    """Raise AssertionError with what there is more of, or less, than before."""
    gc.collect()
    gc.freeze()  # else each look would go through all that was ever imported
    frozen, before = gc.get_freeze_count(), live()
    yield
    after = live()
    if gc.get_freeze_count() != frozen:  # a worker in this process has frozen others: these are not to be compared
        before, after = (
            Counter({what: n for what, n in found.items() if not what.startswith("objects")})
            for found in (before, after)
        )
    changed = {what: after[what] - before[what] for what in after | before if after[what] != before[what]}
    assert not changed, f"left behind: {changed}"


@pytest.fixture(autouse=True)
def leaves_nothing(request):
    """Fail a test that leaves something of the engine behind, where that is counted."""
    exempt = request.node.get_closest_marker("stands_for_a_process")
    with nothing_left() if is_counted() and exempt is None else nullcontext():
        yield
        request.node.funcargs.clear()  # the values of other fixtures, which have ended
