"""The privileged helper over the life of the daemon; no configuration changes it."""

import os
from collections.abc import Callable
from contextlib import ExitStack

from spectrum.control.configuration.actor import Actor, Jobs
from spectrum.control.processes.helper import Helper
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.pins import PinError
from spectrum.link.succession import Handover, SuccessionError
from spectrum.tasks import Tasks, in_thread


def enlarger(helper: Helper, tasks: Tasks) -> Callable[[list[int]], None]:
    """Return a function that lets a helper enlarge the receive buffers of a worker's sockets, and then closes the
    descriptors.
    """

    async def ask(sockets: list[int]) -> None:
        try:
            await in_thread(helper.enlarge, sockets)
        finally:
            close_all(sockets)

    def enlarge(sockets: list[int]) -> None:
        tasks.start(ask(sockets), "enlarge queues")

    return enlarge


class HelperActor(Actor):
    """Hands the helper over.

    Args:
        helper: The privileged helper.
    """

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    async def inherit(self, handover: Handover) -> None:
        """Use the helper of the previous daemon, if this one cannot start one."""
        if handover.helper is not None:
            await in_thread(self._helper.adopt, handover.helper)

    def jobs(self) -> Jobs:
        """Log its end."""
        return {"watch the helper": self._helper.watch}

    async def give(self, handover: Handover, opened: ExitStack) -> None:
        """Give the successor a link to it, if it needs one."""
        try:
            handover.helper = await in_thread(self._helper.another)
        except PinError as exc:
            raise SuccessionError(str(exc)) from exc
        if handover.helper is not None:
            opened.callback(os.close, handover.helper)

    async def close(self) -> None:
        """Close the link to it."""
        await in_thread(self._helper.close)
