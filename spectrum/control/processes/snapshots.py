"""Sends workers what to serve, and collects their answers."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import ExitStack
from functools import partial

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.listeners import ListenerBank
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.workers import Outcome, WorkerProcess
from spectrum.core.difference import Difference
from spectrum.core.life.worker import WorkerEvent
from spectrum.core.snapshot import ListenerKey
from spectrum.garbage import free
from spectrum.kernel.descriptors import memory_file
from spectrum.link.snapshots import encode_difference, encode_snapshot
from spectrum.tasks import in_background, start_in_background

log = logging.getLogger(__name__)

# Deadline of a reload for the answer of a worker. A worker applies a snapshot of 10,000 apps in less than 2 s.
ANSWER_TIMEOUT_S = 10.0


class Snapshots:
    """Sends workers what to serve.

    Args:
        served: What is served.
        bank: Owns the sockets.
        workers: The number of workers.

    Attributes:
        actors: The actors, each of which may send a worker data beside a snapshot.
    """

    def __init__(self, served: Served, bank: ListenerBank, workers: int) -> None:
        self._served = served
        self._bank = bank
        self._workers = workers
        self.actors: Sequence[Actor] = ()
        # The one that workers are told next.
        self._prepared: _Prepared | None = None

    async def prepare(self, plan: Plan, workers: Iterable[WorkerProcess]) -> None:
        """Prepare a plan that workers will get as a whole: with thousands of apps that would block the loop."""
        self.forget()
        self._prepared = _Prepared(plan)
        await in_background(self._prepared.have_whole, [worker.known for worker in workers])

    def forget(self) -> None:
        """Forget the encoded snapshot."""
        if self._prepared is not None:
            start_in_background(free, self._prepared.close())
            self._prepared = None

    def tell(self, workers: Iterable[WorkerProcess], change: Change | None = None) -> list["asyncio.Future[Outcome]"]:
        """Send workers a change, or what is served now; return the outcome for each. Workers that serve the state
        before the change get a small difference as such. A worker that owes an answer is sent it after that answer.

        Raises:
            OSError: If sending fails: no descriptors or no memory.
        """
        plan = change.after if change is not None else self._served.plan
        differing = change.difference if change is not None else None
        outcomes: list[asyncio.Future[Outcome]] = []
        is_prepared = self._prepared is not None and self._prepared.plan is plan
        told = self._prepared if self._prepared is not None and is_prepared else _Prepared(plan)
        try:
            for worker in workers:
                if not worker.life.may_be_told:
                    worker.life.handle(WorkerEvent.DEFERRED)
                    continue
                sockets = partial(self._bank.descriptors, worker=worker.number, workers=self._workers)
                if differing is not None and worker.serves(differing.before):
                    for actor in self.actors:
                        actor.tell_difference(worker, differing)
                    outcome = worker.change(differing, told.of_difference(differing), sockets)
                else:
                    for actor in self.actors:
                        actor.tell(worker)
                    snapshot = plan.snapshot
                    fresh = told.lacking(worker.known)
                    outcome = worker.configure(
                        snapshot.generation, told.listeners(), fresh, told.of_snapshot(), sockets
                    )
                if plan is self._served.plan:
                    outcome.add_done_callback(partial(_insist, worker))
                outcomes.append(outcome)
        finally:
            if not is_prepared:
                told.close()
        return outcomes


class _Prepared:
    """A plan in the form of messages to workers. Parts are made on demand; all workers read the same files.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._opened = ExitStack()
        self._listeners: frozenset[ListenerKey] | None = None
        self._lacking: list[tuple[Set[ListenerKey], Sequence[ListenerKey]]] = []
        self._snapshot: list[int] = []
        self._difference: list[int] = []

    def have_whole(self, known: Iterable[Set[ListenerKey]]) -> None:
        """Make what workers need that are told the whole, and have the `known` listeners."""
        for some in known:
            self.lacking(some)
        self.of_snapshot()

    def listeners(self) -> frozenset[ListenerKey]:
        """Return all listeners."""
        if self._listeners is None:
            self._listeners = frozenset(self.plan.snapshot.listener_keys())
        return self._listeners

    def lacking(self, known: Set[ListenerKey]) -> Sequence[ListenerKey]:
        """Return the listeners that are not among the `known` ones of a worker, which stay the same meanwhile."""
        for some, found in self._lacking:
            if some is known:
                return found
        found = list(self.listeners() - known)
        self._lacking.append((known, found))
        return found

    def of_snapshot(self) -> list[int]:
        """Return the files of the snapshot and of the table of access rules."""
        if not self._snapshot:
            snapshot = self._file("snapshot", encode_snapshot(self.plan.snapshot))
            self._snapshot = [snapshot, self._file("prefixes", self.plan.prefixes)]
        return self._snapshot

    def of_difference(self, difference: Difference) -> list[int]:
        """Return the file of a difference."""
        if not self._difference:
            self._difference = [self._file("difference", encode_difference(difference))]
        return self._difference

    def _file(self, name: str, data: bytes) -> int:
        file = memory_file(name, data)
        self._opened.callback(os.close, file)
        return file

    def close(self) -> list[ListenerKey]:
        """Close the files; return the listeners that workers had before, which the caller may be the last to have."""
        self._opened.close()
        former = [key for some, _ in self._lacking for key in some]
        self._lacking.clear()
        return former


def _insist(worker: WorkerProcess, outcome: "asyncio.Future[Outcome]") -> None:
    """Replace a worker that does not serve what all others do."""
    if (why := outcome.result()) and worker.life.generation != worker.life.told:
        log.error("%s cannot serve generation %d and is replaced: %s", worker, worker.life.told, why)
        worker.kill()


class WorkersActor(Actor):
    """Lets all workers serve a plan. At a start they get it after everything else is ready.

    Args:
        fleet: The workers.
        snapshots: Sends it.
        is_stopping: Returns whether they are about to end.
    """

    def __init__(self, fleet: Fleet, snapshots: Snapshots, is_stopping: Callable[[], bool]) -> None:
        self._fleet = fleet
        self._snapshots = snapshots
        self._is_stopping = is_stopping
        self._told: list[WorkerProcess] = []

    async def prepare(self, change: Change) -> None:
        """Wait until workers have answered earlier messages.

        Raises:
            RolloutError: If one does not in time.
        """
        self._told = []
        if not change.is_first and (silent := await self._fleet.settle(ANSWER_TIMEOUT_S)):
            raise RolloutError("\n".join(f"{worker} does not answer; nothing has changed" for worker in silent))
        if not change.is_first and change.difference is None:
            await self._snapshots.prepare(change.after, self._fleet.workers.values())

    async def commit(self, change: Change) -> None:
        """Let all serving workers use the new plan. A worker that ends meanwhile is replaced, and its replacement gets
        the plan afterwards.

        Raises:
            RolloutError: If one refuses it, or does not answer in time.
        """
        self._told = [] if change.is_first else self._fleet.serving()
        if not self._told:
            return
        outcomes = dict(zip(self._told, self._snapshots.tell(self._told, change), strict=True))
        await asyncio.wait(outcomes.values(), timeout=ANSWER_TIMEOUT_S)
        faults = []
        for worker, outcome in outcomes.items():
            if not outcome.done():
                faults.append(f"{worker} has not answered within {ANSWER_TIMEOUT_S:g} s")
            elif why := outcome.result():
                faults.append(f"{worker} refuses: {why}")
        if not faults and all(outcome.result() is None for outcome in outcomes.values()):
            faults = ["all workers ended when they received it; see the log"]
        if faults:
            former = change.before.snapshot.generation
            raise RolloutError("\n".join([*faults, f"all workers continue with generation {former}"]))

    async def abort(self, change: Change) -> None:
        """Let workers serve the former plan again; everything else that they were sent is restored by now."""
        self._snapshots.forget()
        if self._told and not self._is_stopping():
            outcomes = self._snapshots.tell(one for one in self._fleet.workers.values() if one in self._told)
            if outcomes:
                await asyncio.wait(outcomes, timeout=ANSWER_TIMEOUT_S)

    async def release(self, change: Change) -> None:
        """Send it to workers that started meanwhile."""
        if not change.is_first:
            for worker in self._fleet.workers.values():
                if worker.life.told != change.after.snapshot.generation:
                    self._fleet.bring_up_to_date(worker)
        self._snapshots.forget()
