"""The daemon's life cycle: signals, an upgrade in progress, and why the configuration cannot be changed now."""

import asyncio

from spectrum.control.configuration.served import Served
from spectrum.control.processes.succession import Successor


class Life:
    """The daemon's life cycle.

    Args:
        served: What is served.

    Attributes:
        stopping: The daemon was told to end.
        successor: The successor that has received everything and follows this daemon.
        upgrading: A successor that has not yet.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self.stopping = asyncio.Event()
        self.successor: Successor | None = None
        self.upgrading: Successor | None = None

    def busy_with(self) -> str:
        """Return why the configuration cannot be changed now; "" if it can."""
        if not self._served.is_live:
            return "the daemon is not serving yet"
        if self.successor is not None:
            return "the daemon is being upgraded"
        return "the daemon is stopping" if self.stopping.is_set() else ""

    def refuses_changes(self) -> str:
        """Return why the API can change nothing now; "" if it can. It does not wait for a successor to start."""
        return self.busy_with() or ("the daemon is being upgraded" if self.upgrading is not None else "")

    def pass_on(self, number: int) -> bool:
        """Pass a signal to the successor, if there is one: it takes effect there."""
        if self.successor is None or not self.successor.lives:
            return False
        self.successor.signal(number)
        return True

    def stop(self) -> None:
        """End; a successor that has not received everything ends first."""
        if self.upgrading is not None:
            self.upgrading.kill()
        self.stopping.set()

    def stay(self) -> None:
        """Continue: the successor is gone."""
        self.successor = None
        self.stopping.clear()
