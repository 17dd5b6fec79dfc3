"""Replaces the plan that is served by another. The order of steps is defined in `core/life/rollout.py`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from spectrum.control.configuration.actor import Actor, Change, Plan
from spectrum.control.configuration.served import Served
from spectrum.core.life.rollout import RolloutCommand, RolloutLife
from spectrum.core.snapshot import Snapshot
from spectrum.tasks import in_background

log = logging.getLogger(__name__)

# Shorter steps are not listed for a slow change.
MIN_STEP_NS = 100_000
# A step, its beginning and its end, in nanoseconds since 1970.
Step = tuple[str, int, int]


class Rollout:
    """Carries out rollouts, one at a time.

    Args:
        served: What is served.
        actors: The actors, in the order in which they prepare and commit.
        fit: Fits a snapshot to the sockets that are open.

    Attributes:
        steps: The slow steps of the last rollout.
    """

    def __init__(self, served: Served, actors: Sequence[Actor], fit: Callable[[Snapshot], Snapshot]) -> None:
        self._served = served
        self._actors = actors
        self._fit = fit
        self.steps: list[Step] = []

    def note(self, name: str, began_ns: int) -> None:
        """Note a step that ends now; the thread that reads files may call it."""
        ended_ns = time.time_ns()
        if ended_ns - began_ns >= MIN_STEP_NS:
            self.steps.append((name, began_ns, ended_ns))

    async def run(self, read: Callable[[], Awaitable[Plan]]) -> Change:
        """Serve the plan that `read` returns, everywhere or nowhere; return what changed.

        Raises:
            RolloutError: If it is refused; everything is as before. The same holds for any other exception, such as one
                of `read` or a cancellation.
        """
        life, fault, change = RolloutLife(len(self._actors)), None, Change(self._served.plan, self._served.plan)
        self.steps = []
        while not life.ended:
            command, began_ns = life.command, time.time_ns()
            actor = self._actors[life.place] if command is not RolloutCommand.READ else None
            try:
                if actor is None:
                    plan = await read()
                    change = Change(self._served.plan, replace(plan, snapshot=self._fit(plan.snapshot)))
                    if not change.is_small:
                        await in_background(getattr, change, "difference")
                else:
                    await _carry_out(command, actor, change)
                    self.note(f"{command.value} {type(actor).__name__}", began_ns)
            except BaseException as exc:
                if command in (RolloutCommand.ABORT, RolloutCommand.RELEASE):
                    _tell_left(command, exc)
                if command is not RolloutCommand.RELEASE and (fault is None or isinstance(exc, asyncio.CancelledError)):
                    fault = exc  # A rollout that is cancelled after all have committed is not refused.
                life.go_on(succeeded=False)
            else:
                life.go_on(succeeded=True)
        if fault is not None:
            raise fault
        return change


async def _carry_out(command: RolloutCommand, actor: Actor, change: Change) -> None:
    match command:
        case RolloutCommand.PREPARE:
            await actor.prepare(change)
        case RolloutCommand.COMMIT:
            await actor.commit(change)
        case RolloutCommand.ABORT:
            await actor.abort(change)
        case RolloutCommand.RELEASE:
            await actor.release(change)


def _tell_left(command: RolloutCommand, exc: BaseException) -> None:
    if command is RolloutCommand.ABORT:
        log.error("after a refused reload not everything was restored", exc_info=exc)
    else:
        log.error("after a reload some resources of the former configuration were not released", exc_info=exc)
