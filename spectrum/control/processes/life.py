"""Whether the daemon goes on: signals, an upgrade that is under way, and why what is served cannot be changed."""

import asyncio

from spectrum.control.configuration.served import Served
from spectrum.control.processes.succession import Successor


class Life:
    """Whether the daemon goes on.

    Args:
        served: What is served.

    Attributes:
        stopping: It is told to end.
        successor: The daemon that has all that it needs and follows this one.
        upgrading: One that has not yet.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self.stopping = asyncio.Event()
        self.successor: Successor | None = None
        self.upgrading: Successor | None = None

    def busy_with(self) -> str:
        """Say why what is served cannot be changed now; "" where it can."""
        if not self._served.is_live:
            return "the daemon is not serving yet"
        if self.successor is not None:
            return "the daemon is being upgraded"
        return "the daemon is stopping" if self.stopping.is_set() else ""

    def refuses_changes(self) -> str:
        """Say why the API can change nothing now; "" where it can. For a successor to start it does not wait."""
        return self.busy_with() or ("the daemon is being upgraded" if self.upgrading is not None else "")

    def pass_on(self, number: int) -> bool:
        """Give a signal to the daemon that follows this one, once there is one: it takes effect there."""
        if self.successor is None or not self.successor.lives:
            return False
        self.successor.signal(number)
        return True

    def stop(self) -> None:
        """End; a successor that has not all yet ends first."""
        if self.upgrading is not None:
            self.upgrading.kill()
        self.stopping.set()

    def stay(self) -> None:
        """Go on: the successor is gone."""
        self.successor = None
        self.stopping.clear()
