"""Long work in pieces, between which the engine goes on: no session waits for the whole of it."""

import time
from collections.abc import Callable

# A session waits at most about so long for a piece of work; looking for what is ready costs some microseconds.
PIECE_S = 0.001


class Breath:
    """Called between pieces of long work, it has the engine handle what is ready, if that was not done lately.

    What the engine calls meanwhile finds every app either as it was or as it will be. Callbacks of asyncio wait until
    the work is done, so no other message of the supervisor comes in between.

    Args:
        process: Handles what is ready, and returns.
    """

    def __init__(self, process: Callable[[], None]) -> None:
        self._process = process
        self._due = 0.0

    def begin(self) -> None:
        """Begin work: the engine was at work until now."""
        self._due = time.monotonic() + PIECE_S

    def take(self) -> None:
        """Let the engine go on, where it has waited for long enough."""
        if time.monotonic() >= self._due:
            self._process()
            self._due = time.monotonic() + PIECE_S
