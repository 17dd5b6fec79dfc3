"""All workers of a node: one for each number, replaced when it dies, and those of a previous supervisor. They are
started, queried, counted and ended here; the supervisor decides what they serve.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spectrum.control.listeners import ListenerBank
from spectrum.control.processes.former_workers import FormerWorker, take_all
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.records.totals import Totals
from spectrum.core.life.former_worker import FormerWorkerCommand, FormerWorkerEvent
from spectrum.core.life.worker import WorkerCommand, WorkerEvent, WorkerLife, WorkerState
from spectrum.kernel import installation, signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.installation import PackageChanged
from spectrum.link.messages import Message, OutcomesReport
from spectrum.link.succession import GivenWorker
from spectrum.link.takeover import Events, FoundSessions, Measures, Names
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# Interval of the check whether a worker has begun.
SETTLE_STEP_S = 0.01

# A worker that has not answered within this time is counted from its last regular report, a second old at most.
ANSWER_TIMEOUT_S = 1.0
# How long an upgrade waits for workers that have just been started.
HOLD_TIMEOUT_S = 5.0
# How long workers that are to end at once may take to report their sessions.
LAST_RECORDS_S = 2.0
LOOK_EVERY_S = 1.0
# Workers report each second. One that has not reported for this long is not ready.
SILENT_S = 5.0
# A worker that has not reported yet may start slowly on a busy machine, and its replacement would start no faster.
START_SILENCE_S = 30.0
# A worker that served shorter than SHORT_LIFE_S counts as one strike, shorter than STEADY_S as a part of one; a longer
# life clears them. From the first whole strike on, replacements wait, each time twice as long.
SHORT_LIFE_S = 1.0
STEADY_S = 10.0
PART_OF_STRIKE = 0.25
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 30.0


def _seen(silent_s: float, limit_s: float) -> WorkerEvent:
    """Return the state of a worker that has been silent for this long; after `limit_s`, if not 0, it hangs."""
    if limit_s and silent_s >= limit_s:
        return WorkerEvent.HUNG
    return WorkerEvent.SILENT if SILENT_S <= silent_s < SILENT_S + LOOK_EVERY_S else WorkerEvent.LOOK


def patience(life: WorkerLife, limit_s: float) -> float:
    """Return after what silence a worker counts as hung, if the limit for a serving one is `limit_s`; 0 for never."""
    return max(limit_s, START_SILENCE_S) if limit_s and life.state is WorkerState.STARTING else limit_s


def pause_after(strikes: float) -> float:
    """Return for how many seconds a worker number stays empty after these strikes, see `STEADY_S`."""
    return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(strikes - 1.0, 16.0)) if strikes >= 1 else 0.0


class Fleet:
    """The workers.

    Args:
        control: The path of the control socket.
        count: The number of workers.
        memory: The memory that they share.
        totals: What they count goes there.
        serve: Called with workers that have started, or are to change, to send them what to serve.
        heard: Called with records of sessions, lists of open ones, and results of sessions at origins.
        handover_s: Returns how long the sessions of relieved workers may last, 0 for ever.
        silence_s: Returns after how long without a heartbeat a worker is killed and replaced; 0 for never.

    Attributes:
        workers: The workers of this supervisor, by number.
        ends: How the last worker of each number ended.
        failed_starts: How often a worker could not be started.
        closing: Whether workers that end are not replaced.
        empty: Set when the last one has ended while closing.
        inherited_names: The addresses of names that workers of the previous supervisor had.
    """

    def __init__(
        self,
        control: Path,
        count: int,
        memory: SharedMemory,
        totals: Totals,
        serve: Callable[[Sequence[WorkerProcess]], object],
        heard: Callable[[Events | OutcomesReport | FoundSessions], None],
        handover_s: Callable[[], float],
        silence_s: Callable[[], float] = lambda: 0.0,
        enlarge: Callable[[list[int]], None] = close_all,
    ) -> None:
        self.count = count
        self.workers: dict[int, WorkerProcess] = {}
        self.ends: dict[int, str] = {}
        self.failed_starts = 0
        self.closing = False
        self.empty = asyncio.Event()
        self.inherited_names: dict[str, tuple[str, ...]] = {}
        self._control = control
        self._memory = memory
        self._totals = totals
        self._serve = serve
        self._tell = heard
        self._handover_s = handover_s
        self._silence_s = silence_s
        self._enlarge = enlarge
        # Workers of the previous supervisor.
        self._former_workers: list[FormerWorker] = []
        # The flows of each worker are kept here after its end.
        self._flow_files: dict[int, int] = {}
        self._is_open = True
        self._begins_at: dict[int, float] = {}
        self._hurries = False
        self._may_replace = asyncio.Event()
        self._may_replace.set()
        self._given: set[int] = set()
        self._asked = 0
        self._answers: dict[int, tuple[set[WorkerProcess], asyncio.Event]] = {}

    # --- the workers ----------------------------------------------------------------------------------------------

    def serving(self) -> list[WorkerProcess]:
        """Return the workers of this supervisor that serve."""
        return [worker for worker in self.workers.values() if worker.life.serves]

    def begun(self) -> list[WorkerProcess]:
        """Return the workers of this supervisor that run, whether they serve or not."""
        return [worker for worker in self.workers.values() if worker.life.has_begun]

    def answering(self) -> list[WorkerProcess]:
        """Return the workers of this supervisor that serve and have responded recently."""
        return [worker for worker in self.serving() if worker.silent_s < SILENT_S]

    def listening(self) -> list[WorkerProcess]:
        """Return those of them that serve on all of their listeners."""
        return [worker for worker in self.answering() if not worker.deaf]

    def all(self) -> list[WorkerProcess | FormerWorker]:
        """Return all workers, those of the previous supervisor included."""
        return [*self.workers.values(), *self._former_workers]

    def has_former_workers(self) -> bool:
        """Return whether there are workers of the previous supervisor."""
        return bool(self._former_workers)

    def status(self) -> list[dict[str, Any]]:
        """Return the part of `spectrum status` about each worker."""
        answering = self.answering()
        return [
            {
                "number": worker.number,
                "pid": worker.pid,
                "ready": worker in answering,
                "generation": worker.life.generation,
                "silent_s": worker.silent_s,
                "refusal": worker.refusal or None,
                "sessions": worker.sessions,
                "stalled": worker.stalled,
                "deaf": worker.deaf,
                "offloaded": worker.offloaded,
            }
            for _, worker in sorted(self.workers.items())
        ] + [
            {
                "number": former.place,
                "pid": former.pid,
                "ready": False,
                "generation": 0,
                "silent_s": 0.0,
                "refusal": None,
                "sessions": former.sessions,
                "stalled": False,
                "deaf": 0,
                "offloaded": former.offloaded,
                "relieved": not former.life.awaits_relief,
            }
            for former in self._former_workers
        ]

    # --- workers of the previous supervisor -----------------------------------------------------------------------

    async def take_over(self, pids: list[int], bank: ListenerBank) -> None:
        """Take over the workers of a supervisor that is gone; they serve until they are relieved.

        Args:
            pids: The process ids that it left.
            bank: Gets their listening sockets.
        """
        taken = await take_all(self._control, pids, self._heard_former, self._former_gone)
        # One may have ended since, after its last session or by a kill; its state is still of use.
        self._former_workers = [former for former in taken if former.life.lives]
        for former in taken:
            if former.flows < 0:  # It was relieved by another supervisor in between.
                continue
            bank.adopt(former.place, former.sockets)
            if former.place not in self._flow_files and former.place < self.count:
                self._flow_files[former.place] = former.flows
                former.has_heir = True
            else:  # There are two of one number if a supervisor was killed during a takeover.
                os.close(former.flows)
        if taken:
            log.warning("taking over %d workers of the previous supervisor", len(taken))

    def inherit(self, given: Sequence[GivenWorker], flows: Mapping[int, int]) -> None:
        """Register the workers of a supervisor that still receives their messages, until `open`.

        Args:
            given: The workers.
            flows: The memory files of flows, by worker number, owned from here on.
        """
        for place, descriptor in flows.items():
            if place < self.count:
                self._flow_files[place] = descriptor
            else:
                os.close(descriptor)
        for one in given:
            former = FormerWorker(self._heard_former, self._former_gone)
            former.inherit(one)
            former.has_heir = one.place < self.count
            self._former_workers.append(former)
        log.warning("taking over %d workers of the previous supervisor", len(given))

    async def relieve_the_rest(self) -> None:
        """Relieve the workers whose number no longer exists."""
        for former in tuple(self._former_workers):
            if former.life.awaits_relief:
                await self._relieve(former, None)

    async def _relieve(self, former: FormerWorker, worker: WorkerProcess | None) -> None:
        """Let a worker of this supervisor take over from one of the previous supervisor."""
        former.life.handle(FormerWorkerEvent.RELIEVE)
        timeout_s = self._handover_s()
        try:
            if worker is None:
                await former.relieve(timeout_s, None)
                return
            # Not before it runs: until then clients would wait.
            await worker.started.wait()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours, theirs:
                worker.inherit(theirs.fileno())
                await former.relieve(timeout_s, ours)
        except TimeoutError:
            if former.life.handle(FormerWorkerEvent.SILENT) is FormerWorkerCommand.KILL:
                log.error("worker pid %d does not hand over its flows and is killed", former.pid)
                former.kill()

    def _heard_former(self, former: FormerWorker, message: Message) -> None:
        match message:
            case Measures(_, _, apps, own, sessions, _, held_bytes, offloaded) if former.life.counts:
                former.sessions, former.held_bytes, former.offloaded = sessions, held_bytes, offloaded
                for measures in apps.values():  # It connected before the count.
                    measures.origins.clear()
                self._totals.add(former.number, apps, own)
            case Events():
                former.source = message.source
                self._tell(message)
            case FoundSessions():
                self._tell(message)
            case Names(addresses):
                self.inherited_names |= addresses
            case _:
                pass

    def _former_gone(self, former: FormerWorker) -> None:
        if not former.pid:  # No worker was taken over.
            return
        if former in self._former_workers:
            self._former_workers.remove(former)
        lost = self._totals.lose(former.number)
        log.log(logging.ERROR if lost else logging.INFO, "worker pid %d has ended, %d sessions lost", former.pid, lost)
        self._note_empty()

    # --- workers of this supervisor -------------------------------------------------------------------------------

    def start(self, tasks: Tasks, serves: bool = True) -> None:
        """Keep a worker running at each number from now on; unless it `serves`, `open` sends it what to serve."""
        self._is_open = serves
        for place in range(self.count):
            tasks.start(self._keep(place), f"worker {place}")
        tasks.keep(self._watch, "watch the workers")

    async def open(self) -> None:
        """Let the workers serve."""
        self._is_open = True
        for former in tuple(self._former_workers):
            former.begin()
        await asyncio.gather(*(self._introduce(worker) for worker in tuple(self.workers.values())))

    async def _watch(self) -> None:
        """Replace workers that no longer respond. Silence is counted in checks, not by the clock: while this process is
        stopped it receives nothing, and checks nothing.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for worker in () if self.closing else tuple(self.workers.values()):
                if worker.life.is_heard:
                    worker.silent_s += LOOK_EVERY_S
                    self._look_at(worker, patience(worker.life, self._silence_s()))

    def _look_at(self, worker: WorkerProcess, limit_s: float) -> None:
        match worker.life.handle(_seen(worker.silent_s, limit_s)):
            case WorkerCommand.KILL:
                log.error("%s has not responded for %g s and is killed", worker, worker.silent_s)
                self._totals.workers_killed += 1
                worker.kill()
            case WorkerCommand.WARN:
                log.warning("%s has not responded for %g s", worker, worker.silent_s)
            case WorkerCommand.TELL:
                self.bring_up_to_date(worker)

    def bring_up_to_date(self, worker: WorkerProcess) -> None:
        """Send a worker what to serve now, soon."""
        try:
            self._serve([worker])
        except Exception:  # Out of descriptors or memory: again at the next check.
            worker.life.handle(WorkerEvent.DEFERRED)
            log.exception("%s cannot be sent what to serve", worker)

    async def _keep(self, place: int) -> None:
        """Run a worker, and a replacement whenever it ends, until closing."""
        strikes, replaces = 0.0, False
        while not self.closing:
            served_s, ran = 0.0, False
            try:
                if replaces:
                    await asyncio.to_thread(installation.verify)
                served_s = await self._run(place)
                replaces = ran = True
            except (OSError, PackageChanged) as exc:  # Out of processes, memory or descriptors.
                self.failed_starts += 1
                self.ends[place] = f"it cannot be started: {exc}"
                log.error("worker %d cannot be started: %s", place, exc)
            except Exception as exc:
                self.failed_starts += 1
                self.ends[place] = f"it cannot be started: {type(exc).__name__}: {exc}"
                log.exception("worker %d cannot be started", place)
            strikes = 0.0 if served_s >= STEADY_S else strikes + (PART_OF_STRIKE if served_s >= SHORT_LIFE_S else 1.0)
            if ran and self._is_open and strikes >= 2 and served_s < SHORT_LIFE_S and place in self._flow_files:
                # The file of its flows may be the cause of its end.
                os.close(self._flow_files.pop(place))
            await self._pause(place, pause_after(strikes), "ends repeatedly" if ran else "cannot be started")

    async def _run(self, place: int) -> float:
        """Run a worker until it ends; return how long it served.

        Raises:
            OSError: If it cannot be started.
        """
        await self._may_replace.wait()
        worker = WorkerProcess(place, self._heard, self._exited, self._control, self.bring_up_to_date, self._enlarge)
        if place not in self._flow_files:
            self._flow_files[place] = os.memfd_create(f"spectrum-flows-{place}", os.MFD_CLOEXEC)
        worker.start(self._flow_files[place], self._memory)
        self.workers[place] = worker
        if self._is_open:
            await self._introduce(worker)
        await worker.wait()
        return worker.lived_s

    async def _introduce(self, worker: WorkerProcess) -> None:
        """Send a new worker what to serve, after it has the flows of the one that it relieves."""
        try:
            if former := self._served_before(worker.number):
                await self._relieve(former, worker)
            if not self.closing:  # Otherwise it was told to end already.
                self._serve([worker])
        except Exception:
            log.exception("%s cannot be sent what to serve", worker)
            worker.kill()

    def _served_before(self, place: int) -> FormerWorker | None:
        """Return the worker of the previous supervisor whose flows a new worker takes over."""
        found = (one for one in self._former_workers if one.life.awaits_relief and one.has_heir and one.place == place)
        return next(found, None)

    async def _pause(self, place: int, pause_s: float, why: str) -> None:
        if not pause_s or self.closing:
            return
        if pause_s >= LOOK_EVERY_S:
            log.error("worker %d is started again in %.1f s, as it %s", place, pause_s, why)
        self._begins_at[place] = asyncio.get_running_loop().time() + pause_s
        try:
            await asyncio.sleep(pause_s)
        finally:
            del self._begins_at[place]

    def pauses(self) -> dict[int, float]:
        """Return the numbers without a worker because the last ones ended soon, and for how many seconds more."""
        now = asyncio.get_running_loop().time()
        return {place: max(0.0, begins_at - now) for place, begins_at in sorted(self._begins_at.items())}

    def _exited(self, worker: WorkerProcess, status: int) -> None:
        self.workers.pop(worker.number, None)
        for number in tuple(self._answers):
            self._answered(number, worker)
        lost = self._totals.lose(worker.number)
        self._memory.forget(worker.number)
        if self.closing:
            self._note_empty()
            return
        self._totals.worker_restarts += 1
        self._totals.worker_ended_at = time.time()
        how = signals.how_ended(status)
        if said := worker.last_words or (worker.refusal if not worker.life.generation else ""):
            how = f"{how}: {said}"
        self.ends.pop(worker.number, None)
        self.ends[worker.number] = how  # The last one comes last.
        log.error("worker %d (pid %d) ended: %s; %d sessions lost, replacing it", worker.number, worker.pid, how, lost)

    def _note_empty(self) -> None:
        if self.closing and not self.workers and not self._former_workers:
            self.empty.set()

    def _heard(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Measures(number, last, apps, own, sessions, stalled, held_bytes, offloaded, deaf):
                if stalled and not worker.stalled:
                    log.warning(
                        "worker %d has no free descriptors and accepts nothing more: %d sessions",
                        worker.number,
                        sessions,
                    )
                worker.sessions, worker.stalled, worker.held_bytes = sessions, stalled, held_bytes
                worker.offloaded, worker.deaf = offloaded, deaf
                self._totals.add(worker.number, apps, own)
                if last:
                    self._answered(number, worker)
            case Events():
                worker.source = message.source
                self._tell(message)
            case OutcomesReport() | FoundSessions():
                self._tell(message)
            case _:
                pass

    def tell_kept(self, ends: Mapping[str, int]) -> None:
        """Tell workers which of their records are journaled: those before a number, by source."""
        for worker in self.all():
            if end := ends.get(worker.source):
                worker.tell_kept(end)

    # --- counters -------------------------------------------------------------------------------------------------

    async def ask(self) -> None:
        """Get the latest measures of serving workers."""
        if silent := await self._ask(self.answering(), ANSWER_TIMEOUT_S):
            log.warning("no report from worker %s in time", ", ".join(str(worker.number) for worker in silent))

    async def settle(self, timeout_s: float) -> set[WorkerProcess]:
        """Wait until all have processed what they were sent; return those that have not in time. This includes workers
        that do not serve yet: until they answer they may hold listeners that are gone.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            silent = await self._ask(self.serving(), deadline - loop.time())
            if silent:
                return silent
            while (owing := self._owing()) and not any(worker.life.serves for worker in owing):
                if loop.time() >= deadline:
                    return owing
                await asyncio.sleep(SETTLE_STEP_S)  # There is nothing to ask.
            if not owing:
                return set()

    def _owing(self) -> set[WorkerProcess]:
        return {worker for worker in self.workers.values() if worker.life.owes}

    async def _ask(self, workers: Iterable[WorkerProcess], timeout_s: float) -> set[WorkerProcess]:
        """Request the latest measures; return the workers that did not answer in time."""
        waiting = set(workers)
        if not waiting:
            return waiting
        self._asked += 1
        number, done = self._asked, asyncio.Event()
        self._answers[number] = (waiting, done)
        for worker in tuple(waiting):
            worker.ask(number)
        try:
            await asyncio.wait_for(done.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            del self._answers[number]
        return waiting

    def _answered(self, number: int, worker: WorkerProcess) -> None:
        if number in self._answers:
            waiting, done = self._answers[number]
            waiting.discard(worker)
            if not waiting:
                done.set()

    # --- shutdown -------------------------------------------------------------------------------------------------

    def drain(self, timeout_s: float) -> None:
        """Let all workers end their sessions, and exit; `empty` is set when they have."""
        self.closing = True
        for worker in self.all():
            worker.drain(timeout_s)

    def hurry(self) -> None:
        """Let draining workers end their sessions at once, and report them; if called again, or without effect, kill
        them.
        """
        if self._hurries:
            self.kill()
            return
        self._hurries = True
        for worker in self.all():
            worker.drain(0.0)
        asyncio.get_running_loop().call_later(LAST_RECORDS_S, self.kill)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.all():
            worker.kill()

    async def hold(self) -> None:
        """Wait, within a time, until a worker serves at each number; then none begins before `keep`. A worker that
        begins to serve after `give` would have clients that no supervisor knows of, and would be ended with them.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HOLD_TIMEOUT_S
        while loop.time() < deadline:
            later = sum(begins_at > deadline for begins_at in self._begins_at.values())
            if len(self.serving()) + later >= self.count:
                break
            await asyncio.sleep(SETTLE_STEP_S)
        self._may_replace.clear()
        for worker in tuple(self.workers.values()):
            if not worker.life.serves:
                log.warning("%s does not serve yet, and is ended before the upgrade", worker)
                worker.kill()

    def give(self, opened: ExitStack) -> list[GivenWorker]:
        """Return the state of serving workers for another supervisor, after `hold`.

        Args:
            opened: Closes descriptors that are opened for it.

        Raises:
            OSError: If that fails.
        """
        relieved = [one for one in self._former_workers if not one.life.awaits_relief]
        offers = [*(worker.give(opened) for worker in self.serving()), *(former.give() for former in relieved)]
        given = [one for one in offers if one]
        self._given = {one.pid for one in given}
        return given

    @property
    def flows(self) -> dict[int, int]:
        """The memory files of flows, by worker number."""
        return dict(self._flow_files)

    def keep(self) -> None:
        """Continue with all workers: the takeover did not happen."""
        self._given.clear()
        self._may_replace.set()

    def detach(self) -> None:
        """Leave the workers to the supervisor that received what `give` returned; end the others, none of which serves
        after `hold`.

        None of these serves: `hold` saw to that.
        """
        for worker in self.all():
            if worker.pid in self._given:
                worker.detach()
            else:
                worker.kill()

    async def end(self, ends_former_workers: bool) -> None:
        """End all workers and wait for those of this supervisor; those of the previous one wait for another supervisor,
        unless `ends_former_workers`.
        """
        self.closing = True
        await asyncio.gather(*(worker.end() for worker in tuple(self.workers.values())))
        for former in tuple(self._former_workers):
            if ends_former_workers:
                former.kill()
            else:
                former.disown()

    def close(self) -> None:
        """Close the files of flows."""
        for descriptor in self._flow_files.values():
            os.close(descriptor)
