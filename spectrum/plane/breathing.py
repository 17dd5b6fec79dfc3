"""Long work in steps, between which the engine handles its events: no session waits for the whole."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# The longest time that a session should wait for a step; a look for ready events costs some microseconds.
PIECE_S = 0.0005
# What is done with so many items between takes far less than that.
PACE = 64


class Breath:
    """Called between steps of long work, it has the engine handle ready events if the last time was not just now.

    What the engine calls meanwhile finds every app either as it was or as it will be. Callbacks of asyncio wait until
    the work is done, so no other message of the supervisor comes in between.

    Args:
        process: Handles what is ready, and returns.

    Attributes:
        is_held: Nothing is handled between. So it is until the flows of the worker before are known: a datagram that
            waits for this worker would begin a flow of its own beside the one that it belongs to.
    """

    def __init__(self, process: Callable[[], None]) -> None:
        self._process = process
        self._due = 0.0
        self.is_held = True

    def begin(self) -> None:
        """Begin long work: the engine has handled its events until now."""
        self._due = time.monotonic() + PIECE_S

    def take(self) -> None:
        """Have the engine handle ready events, if it has waited long enough.

        First whatever else is ready on this processor has its turn: another worker may have a session that waits, and
        the kernel would let it wait for one or more of its ticks, of 4 ms.
        """
        if not self.is_held and time.monotonic() >= self._due:
            os.sched_yield()
            self._process()
            self._due = time.monotonic() + PIECE_S


def paced(items: Iterable[T], breathe: Callable[[], None]) -> Iterator[T]:
    """Yield items of which there may be one for each app, and let the engine go on between."""
    for place, item in enumerate(items):
        if not place % PACE:
            breathe()
        yield item
