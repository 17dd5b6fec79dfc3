"""Checks that every listener of a worker is registered in epoll, and reports those that are not."""

import errno
import logging
import os
from collections.abc import Callable, Mapping

from spectrum.engine.loop import Part
from spectrum.plane.apps import RunningListener

log = logging.getLogger(__name__)

# Listeners checked with each report, besides those known to be missing: a system call each, 0.3 µs.
AT_ONCE = 1000


class ListenerCheck:
    """Checks the listeners of one engine. Clients of a listener that is not registered wait, without any other symptom.

    Args:
        engine: The engine.
        listeners: The listeners, by the engine's number.
    """

    def __init__(self, engine: Part, listeners: Mapping[int, RunningListener]) -> None:
        self._engine = engine
        self._listeners = listeners
        self._known_deaf: set[int] = set()
        self._mended = 0

    @property
    def deaf(self) -> int:
        """The number of listeners that epoll refuses."""
        return len(self._engine.deaf)

    def look_at_all(self, between: Callable[[], None] = lambda: None) -> None:
        """Check every listener, after a snapshot; `between` is called between groups of them."""
        for _ in range(0, len(self._listeners) + 1, AT_ONCE):
            self._look(AT_ONCE)
            between()

    def look_at_deaf(self) -> None:
        """Check those that were missing, after a change of some."""
        self._look(0)

    def look_on(self) -> None:
        """Check some listeners; the next call continues."""
        self._look(AT_ONCE)

    def _look(self, most: int) -> None:
        for number in self._engine.check_listeners(most):
            self._mended += 1
            log.error(
                "%s was not registered in epoll, so its clients waited: it is registered again", self._name(number)
            )
        for number, error in self._engine.deaf.items():
            if number not in self._known_deaf:
                log.error(
                    "%s cannot be registered in epoll, so its clients wait: %s%s",
                    self._name(number),
                    os.strerror(error),
                    " (fs.epoll.max_user_watches)" if error == errno.ENOSPC else "",
                )
        self._known_deaf = set(self._engine.deaf)

    def take_mended(self) -> int:
        """Return how many listeners were registered again since the last call."""
        taken, self._mended = self._mended, 0
        return taken

    def _name(self, number: int) -> str:
        listener = self._listeners[number]
        return f"the listener {listener.key} of app {listener.app.settings.name}"
