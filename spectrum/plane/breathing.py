"""Long work in steps, between which the engine handles its events: no session waits for the whole."""

import time
from collections.abc import Callable

# The longest time that a session should wait for a step; a look for ready events costs some microseconds.
PIECE_S = 0.001


class Breath:
    """Called between steps of long work, it has the engine handle ready events if the last time was not just now.

    What the engine calls meanwhile finds every app either as it was or as it will be. Callbacks of asyncio wait until
    the work is done, so no other message of the supervisor comes in between.

    Args:
        process: Handles what is ready, and returns.
    """

    def __init__(self, process: Callable[[], None]) -> None:
        self._process = process
        self._due = 0.0

    def begin(self) -> None:
        """Begin long work: the engine has handled its events until now."""
        self._due = time.monotonic() + PIECE_S

    def take(self) -> None:
        """Have the engine handle ready events, if it has waited long enough."""
        if time.monotonic() >= self._due:
            self._process()
            self._due = time.monotonic() + PIECE_S
