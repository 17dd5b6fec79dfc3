"""Has the kernel drop SYNs at listening sockets as rules of detection say, so that a flood takes no time of the worker.

Rules stay in the engine as well, which refuses what passes (`PASSED_ONE_IN`) and counts each for as many.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from itertools import takewhile

from spectrum.engine.lookout import Lookout
from spectrum.kernel.syn_filter import PASSED_ONE_IN, BlockRule, Guard, SynFilter, attach, detach, syn_filter
from spectrum.plane.apps import RunningListener

log = logging.getLogger(__name__)

# The kernel's clock of rules and the loop's are the same; the timer must not come before its time.
_AFTER_S = 0.01
_NS = 1_000_000_000


class SynFilters:
    """The filters of the listeners of a worker.

    Args:
        listeners: The TCP listeners, by the engine's number.
        lookout: Has the rules.
    """

    def __init__(self, listeners: dict[int, RunningListener], lookout: Lookout) -> None:
        self._listeners = listeners
        self._lookout = lookout
        self._rules: Sequence[BlockRule] = ()
        self._guard: Sequence[Guard] = ()
        self._filter: SynFilter | None = None
        # Those that were looked at, and whether each is filtered. A former worker may have left a filter.
        self._seen: dict[int, bool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_told = False
        self._last = -1

    def take(self, rules: Sequence[BlockRule], guard: Sequence[Guard]) -> None:
        """Filter by the rules that the lookout has from now on; `guard` are addresses and masks that none matches."""
        self._rules, self._guard = rules, guard
        self._make()

    def look(self) -> None:
        """Filter new listeners, after a snapshot or a difference; without rules this takes no time for the others."""
        if self._filter is not None:
            self._apply(self._listeners)
        else:
            # Their numbers only grow.
            self._apply(list(takewhile(lambda number: number > self._last, reversed(self._listeners))))

    def _make(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        before, self._filter = self._filter, syn_filter(self._rules, self._guard, time.monotonic_ns())
        made = self._filter
        if made is not None and made.expires_ns:
            delay = (made.expires_ns - time.monotonic_ns()) / _NS + _AFTER_S
            self._timer = asyncio.get_running_loop().call_later(delay, self._make)
        if made is None or before is None or made.instructions != before.instructions:
            # What is filtered has to be filtered by another program, or no longer.
            self._seen = {one: is_on for one, is_on in self._seen.items() if not is_on and one in self._listeners}
        self._apply(self._listeners)

    def _apply(self, numbers: Iterable[int]) -> None:
        try:
            for number in numbers:
                self._filter_one(number, self._listeners[number])
        except OSError as exc:
            self._give_up(exc)
        self._lookout.thin(self._filter.rules if self._filter is not None else (), PASSED_ONE_IN)

    def _filter_one(self, number: int, listener: RunningListener) -> None:
        self._last = max(self._last, number)
        # Clients of an app with `accept_proxy_protocol` are not those who send the SYNs.
        wanted = self._filter if listener.app.trusted is None else None
        if not listener.holds or listener.removed or self._seen.get(number) == (wanted is not None):
            return
        if wanted is not None:
            attach(listener.descriptor, wanted.instructions)
        else:
            detach(listener.descriptor)
        self._seen[number] = wanted is not None

    def _give_up(self, exc: OSError) -> None:
        """Leave all to the engine: what is counted must not depend on which listener has a filter."""
        if not self._is_told:
            log.warning("SYNs of attacks are not dropped at listening sockets, only refused: %s", exc)
        self._is_told = True
        self._filter = None
        self._seen.clear()
        for number, listener in self._listeners.items():
            self._filter_one(number, listener)
