"""Long work in steps, between which the engine handles its events, so that no session waits for the whole."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# The longest time that a session may wait for a step; a check for ready events costs some microseconds.
PIECE_S = 0.0005
# Items that are processed between checks take far less than that.
PACE = 64


class LoopYield:
    """Called between steps of long work, it lets the engine handle ready events if it has not done so just before. The
    engine's callbacks see every app either in its former or in its new state. Callbacks of asyncio wait until the work
    is done, so no other message of the supervisor is processed in between.

    Args:
        process: Handles ready events, and returns.

    Attributes:
        is_held: Events are not handled in between. This applies until the flows of the former worker are known: a
            queued datagram would begin a new flow beside the one that it belongs to.
    """

    def __init__(self, process: Callable[[], None]) -> None:
        self._process = process
        self._due = 0.0
        self.is_held = True

    def begin(self) -> None:
        """Begin long work: the engine has handled all events until now."""
        self._due = time.monotonic() + PIECE_S

    def take(self) -> None:
        """Let the engine handle ready events, if it has waited long enough. Other processes on this processor run
        first: another worker may have a waiting session, which the kernel would otherwise delay by one or more of its
        ticks of 4 ms.
        """
        if not self.is_held and time.monotonic() >= self._due:
            os.sched_yield()
            self._process()
            self._due = time.monotonic() + PIECE_S


def paced(items: Iterable[T], breathe: Callable[[], None]) -> Iterator[T]:
    """Yield items, such as one for each app, and let the engine handle events in between."""
    for place, item in enumerate(items):
        if not place % PACE:
            breathe()
        yield item
