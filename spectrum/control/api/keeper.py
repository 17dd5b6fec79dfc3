"""Keeps one process of the control API running, the only writer of its store. While there is none, connections wait in
the backlog of the listening sockets, which belong to the supervisor.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.control.api.process import NAME, Answerer, ApiProcess
from spectrum.control.processes.keeper import ProcessKeeper


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """Parameters of a process; when they change, the process is replaced.

    Attributes:
        store: The folder of its store.
        user: The user that it runs as; empty for the current one.
        listeners: Descriptors of its listening sockets.
        traces: Whether it sends traces: the libraries for that are imported before it drops privileges.
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
        answer: Answers its requests.
        settings: Returns the settings that it needs before it serves.
        restore: Serves the contents of the store, while no process writes to it.
    """

    def __init__(self, answer: Answerer, settings: Callable[[], Any], restore: Callable[[], Awaitable[None]]) -> None:
        def make(place: ApiPlace) -> ApiProcess:
            return ApiProcess(answer, place.store, place.user, place.listeners, place.analytics)

        super().__init__(NAME, make, settings, restore)

    @property
    def store(self) -> Path | None:
        """The folder of the store that it serves; None if there is no process."""
        return self.process.store if self.process is not None else None

    @property
    def has_writer(self) -> bool:
        """Whether a process is running that may write to the store."""
        return self.process is not None and self.process.lives
