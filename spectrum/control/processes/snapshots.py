"""What workers are told to serve, and what becomes of that."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.listeners import ListenerBank
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.workers import Outcome, WorkerProcess
from spectrum.core.difference import Difference
from spectrum.core.life.worker import WorkerEvent
from spectrum.kernel.descriptors import memory_file
from spectrum.link.snapshots import encode_difference, encode_snapshot
from spectrum.tasks import in_background

log = logging.getLogger(__name__)

# A reload waits so long for the answer of a worker. One that applies a snapshot of 10,000 apps takes less than 2 s.
ANSWER_TIMEOUT_S = 10.0


class Snapshots:
    """Tells workers what to serve.

    Args:
        served: What is served.
        bank: Has the sockets.
        workers: How many workers there are.

    Attributes:
        actors: Each tells a worker what it needs beside a snapshot.
    """

    def __init__(self, served: Served, bank: ListenerBank, workers: int) -> None:
        self._served = served
        self._bank = bank
        self._workers = workers
        self.actors: Sequence[Actor] = ()
        # The last snapshot that was encoded before it is told.
        self._encoded: tuple[Plan, list[bytes]] | None = None

    async def encode(self, plan: Plan) -> None:
        """Encode a snapshot that is soon to be told as a whole; with thousands of apps it holds up the loop."""
        self._encoded = plan, await in_background(lambda: [encode_snapshot(plan.snapshot), plan.prefixes])

    def forget(self) -> None:
        """Forget it."""
        self._encoded = None

    def tell(self, workers: Iterable[WorkerProcess], change: Change | None = None) -> list["asyncio.Future[Outcome]"]:
        """Let workers serve a change, else what is served now; return what becomes of that, for each.

        Those that serve what was before the change are told what differs, where that is little. One that owes an answer
        is told when it has given it.

        Raises:
            OSError: If they cannot be told, for want of descriptors or memory.
        """
        plan = change.after if change is not None else self._served.plan
        outcomes: list[asyncio.Future[Outcome]] = []
        with ExitStack() as opened:
            encoded = self._encoded[1] if self._encoded is not None and self._encoded[0] is plan else []
            files, differing = _Files(plan, encoded, opened), change.difference if change is not None else None
            for worker in workers:
                if not worker.life.may_be_told:
                    worker.life.handle(WorkerEvent.DEFERRED)
                    continue
                sockets = partial(self._bank.descriptors, worker=worker.number, workers=self._workers)
                if differing is not None and worker.serves(differing.before):
                    for actor in self.actors:
                        actor.tell_difference(worker, differing)
                    outcome = worker.change(differing, files.of_difference(differing), sockets)
                else:
                    for actor in self.actors:
                        actor.tell(worker)
                    outcome = worker.configure(plan.snapshot, files.of_snapshot(), sockets)
                if plan is self._served.plan:
                    outcome.add_done_callback(partial(_insist, worker))
                outcomes.append(outcome)
        return outcomes


_NAMES = "snapshot", "prefixes"


class _Files:
    """Memory files that all workers read, made for the first that needs them.

    Args:
        plan: What is to be served.
        encoded: Its snapshot and table of access rules, if they are encoded already.
        opened: Closes them.
    """

    def __init__(self, plan: Plan, encoded: list[bytes], opened: ExitStack) -> None:
        self._plan = plan
        self._encoded = encoded
        self._opened = opened
        self._snapshot: list[int] = []
        self._difference: list[int] = []

    def of_snapshot(self) -> list[int]:
        """Return those of the snapshot and of the table of access rules."""
        if not self._snapshot:
            encoded = self._encoded or [encode_snapshot(self._plan.snapshot), self._plan.prefixes]
            self._snapshot = [self._file(name, data) for name, data in zip(_NAMES, encoded, strict=True)]
        return self._snapshot

    def of_difference(self, difference: Difference) -> list[int]:
        """Return that of a difference."""
        if not self._difference:
            self._difference = [self._file("difference", encode_difference(difference))]
        return self._difference

    def _file(self, name: str, data: bytes) -> int:
        file = memory_file(name, data)
        self._opened.callback(os.close, file)
        return file


def _insist(worker: WorkerProcess, outcome: "asyncio.Future[Outcome]") -> None:
    """Replace a worker that does not serve what all others do."""
    if (why := outcome.result()) and worker.life.generation != worker.life.told:
        log.error("%s cannot serve generation %d and is replaced: %s", worker, worker.life.told, why)
        worker.kill()


class WorkersActor(Actor):
    """Has all workers go on with a plan. At a start they are told when all else is there.

    Args:
        fleet: The workers.
        snapshots: Tells them.
        is_stopping: Tells whether they are about to end.
    """

    def __init__(self, fleet: Fleet, snapshots: Snapshots, is_stopping: Callable[[], bool]) -> None:
        self._fleet = fleet
        self._snapshots = snapshots
        self._is_stopping = is_stopping
        self._told: list[WorkerProcess] = []

    async def prepare(self, change: Change) -> None:
        """Wait until workers have answered what they were told before.

        Raises:
            RolloutError: If one does not in time.
        """
        self._told = []
        if not change.is_first and (silent := await self._fleet.settle(ANSWER_TIMEOUT_S)):
            raise RolloutError("\n".join(f"{worker} does not answer; nothing has changed" for worker in silent))
        if not change.is_first and change.difference is None:
            await self._snapshots.encode(change.after)

    async def commit(self, change: Change) -> None:
        """Have all workers that serve go on with the new plan.

        A worker that ends meanwhile is replaced, and its replacement is told afterwards.

        Raises:
            RolloutError: If one does not take it, or not in time.
        """
        self._told = [] if change.is_first else self._fleet.serving()
        if not self._told:
            return
        outcomes = dict(zip(self._told, self._snapshots.tell(self._told, change), strict=True))
        self._snapshots.forget()
        await asyncio.wait(outcomes.values(), timeout=ANSWER_TIMEOUT_S)
        faults = []
        for worker, outcome in outcomes.items():
            if not outcome.done():
                faults.append(f"{worker} has not answered within {ANSWER_TIMEOUT_S:g} s")
            elif why := outcome.result():
                faults.append(f"{worker} refuses: {why}")
        if not faults and all(outcome.result() is None for outcome in outcomes.values()):
            faults = ["all workers ended as they were told to serve it; the log says how"]
        if faults:
            former = change.before.snapshot.generation
            raise RolloutError("\n".join([*faults, f"all workers go on with generation {former}"]))

    async def abort(self, change: Change) -> None:
        """Have workers serve again what they did before; all else that they are told is as before by now."""
        self._snapshots.forget()
        if self._told and not self._is_stopping():
            outcomes = self._snapshots.tell(one for one in self._fleet.workers.values() if one in self._told)
            if outcomes:
                await asyncio.wait(outcomes, timeout=ANSWER_TIMEOUT_S)

    async def release(self, change: Change) -> None:
        """Tell workers that started meanwhile."""
        if not change.is_first:
            for worker in self._fleet.workers.values():
                if worker.life.told != change.after.snapshot.generation:
                    self._fleet.bring_up_to_date(worker)
