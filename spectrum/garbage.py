"""The schedule of the cyclic garbage collector, in processes that keep many objects for their whole life."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Thresholds of generations 1 and 2, in collections of the younger one: young objects that are in use when the younger
# ones are collected wait for these. Frozen objects are in no generation.
_OLDER = (5, 5)
# It takes less than half a millisecond to free so many objects.
_FREED_AT_ONCE = 250


def collect_every(objects: int) -> None:
    """Collect after this number of objects more than were freed, in place of Python's 700."""
    gc.set_threshold(objects, *_OLDER)


def freeze() -> None:
    """Exclude the present objects from later collections: they are long-lived, and need not be scanned."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # A full collection waits until there are a quarter more objects than the last one left (gc.set_threshold); after
    # this one that is a quarter of the objects that are not frozen.
    gc.collect()


def free(parts: list[Any]) -> None:
    """Free thousands of objects that nothing else refers to, some at a time. To be called in a thread: the lock of the
    interpreter is not released while many are freed at once.
    """
    while parts:
        del parts[-_FREED_AT_ONCE:]


@contextmanager
def pausing() -> Iterator[None]:
    """Return a context without collections, in any thread."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def freezing() -> Iterator[None]:
    """Return a context without collections, whose new objects are excluded from later ones.

    Unreachable cycles stay until the next `freeze`, so there should be none.
    """
    with pausing():
        yield
        gc.freeze()
