"""Keeps a process of the control API. There is one writer of its store.

Who connects while there is none waits in the listening sockets, which are the supervisor's.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.control.api.process import NAME, Answerer, ApiProcess
from spectrum.control.processes.keeper import ProcessKeeper


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """With what a process is started; where that changes, another one is.

    Attributes:
        store: The folder of its store.
        user: What it becomes; empty where it is that already.
        listeners: Descriptors of its listening sockets.
        traces: It sends traces: the libraries for that are imported before it gives up its rights.
        analytics: The folder of the store of analytics; None for none.
    """

    store: Path
    user: str
    listeners: Sequence[int]
    traces: bool = False
    analytics: Path | None = None


class ApiKeeper(ProcessKeeper[ApiPlace, ApiProcess]):
    """Keeps one process.

    Args:
        answer: Answers what it asks.
        settings: Returns what it has to know before it serves.
        restore: Serves what is in the store, which nobody writes to meanwhile.
    """

    def __init__(self, answer: Answerer, settings: Callable[[], Any], restore: Callable[[], Awaitable[None]]) -> None:
        def make(place: ApiPlace) -> ApiProcess:
            return ApiProcess(answer, place.store, place.user, place.listeners, place.analytics)

        super().__init__(NAME, make, settings, restore)

    @property
    def store(self) -> Path | None:
        """The folder of the store that it serves; None where there is no process."""
        return self.process.store if self.process is not None else None

    @property
    def has_writer(self) -> bool:
        """Whether there is a process that may write to the store."""
        return self.process is not None and self.process.lives
