"""Counters of the kernel's programs, read through the helper with a short deadline."""

import asyncio
from collections.abc import Mapping

from spectrum.control.processes.helper import Helper
from spectrum.kernel.pins import PinError
from spectrum.link.helper import Counted, ShowCounts
from spectrum.tasks import Shared, in_thread

# A helper that carries out a long request answers later, and one that hangs after its timeout.
PATIENCE_S = 1.0


class KernelCounts:
    """The counters of one program.

    Args:
        helper: Reads them.
        program: "filter" or "bindings".
    """

    def __init__(self, helper: Helper, program: str) -> None:
        self._helper = helper
        self._program = program
        self._last: Mapping[str, tuple[int, int]] = {}
        self._ask = Shared(self._read)

    async def read(self) -> Mapping[str, tuple[int, int]]:
        """Return packets and bytes by name. If the helper is busy they are the last ones; without a helper, or with an
        earlier version of it, there are none.

        Where the helper is busy they are those of the last time; where there is none, or an earlier version of it,
        there are none.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ask()
        except TimeoutError:
            pass
        return self._last

    async def _read(self) -> None:
        try:
            answer, _ = await in_thread(self._helper.ask, ShowCounts(self._program), Counted)
        except PinError:  # The helper's state is reported by log and metric.
            self._last = {}
        else:
            self._last = answer.counts
