"""Cancels a question whose client is gone, from another thread than the one that answers it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancellation:
    """Is set once; registered interrupts are called, at once if it is already set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None
        self.is_set = False

    def set(self) -> None:
        """End the question."""
        with self._lock:
            self.is_set = True
            if self._interrupt is not None:
                self._interrupt()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Within this context, call a function when it is set; at once if it is already.

        Args:
            interrupt: May be called from another thread, and only within the context.
        """
        with self._lock:
            self._interrupt = interrupt
            if self.is_set:
                interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
