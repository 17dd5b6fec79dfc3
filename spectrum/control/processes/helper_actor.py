"""The privileged helper over the life of the daemon; no configuration changes it."""

import os
from collections.abc import Callable
from contextlib import ExitStack

from spectrum.control.configuration.actor import Actor, Jobs
from spectrum.control.processes.helper import Helper
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.pins import PinError
from spectrum.link.succession import Heritage, SuccessionError
from spectrum.tasks import Tasks, in_thread


def enlarger(helper: Helper, tasks: Tasks) -> Callable[[list[int]], None]:
    """Return what has a helper make the queues of a worker's sockets longer, and closes the descriptors then."""

    async def ask(sockets: list[int]) -> None:
        try:
            await in_thread(helper.enlarge, sockets)
        finally:
            close_all(sockets)

    def enlarge(sockets: list[int]) -> None:
        tasks.start(ask(sockets), "enlarge queues")

    return enlarge


class HelperActor(Actor):
    """Hands the helper on.

    Args:
        helper: Who changes the kernel's tables.
    """

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    async def inherit(self, heritage: Heritage) -> None:
        """Ask the helper of the daemon before this one, where this one can have none of its own."""
        if heritage.helper is not None:
            await in_thread(self._helper.adopt, heritage.helper)

    def jobs(self) -> Jobs:
        """Tell when it has ended."""
        return {"watch the helper": self._helper.watch}

    async def give(self, heritage: Heritage, opened: ExitStack) -> None:
        """Give a line to it, where the successor needs one."""
        try:
            heritage.helper = await in_thread(self._helper.another)
        except PinError as exc:
            raise SuccessionError(str(exc)) from exc
        if heritage.helper is not None:
            opened.callback(os.close, heritage.helper)

    async def close(self) -> None:
        """Leave it."""
        await in_thread(self._helper.close)
