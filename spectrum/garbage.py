"""When the collector of reference cycles runs, in a process that keeps many objects for as long as it lives."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Generations 1 and 2, in collections of the one below: what is in use when those below are collected waits for them.
# What is frozen is in none of them.
_OLDER = (5, 5)


def collect_every(objects: int) -> None:
    """Collect after so many objects more than were freed, in place of Python's 700."""
    gc.set_threshold(objects, *_OLDER)


def freeze() -> None:
    """Take what there is now out of later collections: it lives long, and they need not look at it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # A full collection waits until there are a quarter more objects than the last one left (gc.set_threshold); after
    # this one that is a quarter of what is not frozen.
    gc.collect()


@contextmanager
def pausing() -> Iterator[None]:
    """Have no collection meanwhile, in any thread."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def freezing() -> Iterator[None]:
    """Take what is made meanwhile out of later collections, and have none meanwhile: nothing waits for one.

    Cycles that nothing refers to any more stay until the next `freeze`, so there should be none.
    """
    with pausing():
        yield
        gc.freeze()
