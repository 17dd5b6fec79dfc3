"""Serves the source's latest revision on request, one reload at a time, each with an answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spectrum.control.configuration.actor import Change, Plan, RolloutError
from spectrum.control.configuration.plan import Planner
from spectrum.control.configuration.rollout import Rollout, Step
from spectrum.control.configuration.served import Served
from spectrum.control.configuration.source import NothingNew, Revision, Source
from spectrum.core.configuration.changes import changes
from spectrum.core.configuration.events import Occasion
from spectrum.core.configuration.faults import Fault
from spectrum.garbage import free, freezing
from spectrum.tasks import in_background, shortage, start_in_background

log = logging.getLogger(__name__)

# Limit for reading files: a million prefixes take an eighth of it if workers leave a core free, all of it if not, and a
# file system that is gone never answers.
READ_TIMEOUT_S = 60.0
# Changes that the log lists of a reload that changes thousands of apps; `spectrum reload` prints all.
MAX_CHANGES_LOGGED = 50


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of a reload: its faults, in which case nothing changed, or the changes, and the settings that require
    a restart.
    """

    errors: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServingAttempt:
    """The outcome of an attempt to serve another configuration: why it was not made or was refused; empty if it is
    served.

    Attributes:
        busy: Why it could not be made now.
        errors: Why it was refused.
        steps: Slow steps.
        faults: The same as `errors`, if each of them has a place in the file.
    """

    busy: str = ""
    errors: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    faults: Sequence[Fault] = ()


class Reloads:
    """Reloads the configuration.

    Args:
        source: The source.
        planner: Makes the plan.
        rollout: Serves it.
        served: What is served.
        busy_with: Returns why what is served cannot be changed now; "" where it can.
        begun: Called when a reload begins.
        over: Called when it is over.
        record: Records a change: its source, and a line for each object that changed.

    Attributes:
        changing: Its holder may change what is served.
        last_successful: Whether the last reload was successful.
        refusal: Why it was not; empty if it was.
        refused_at: When that was (seconds since 1970).
    """

    def __init__(
        self,
        source: Source,
        planner: Planner,
        rollout: Rollout,
        served: Served,
        busy_with: Callable[[], str],
        begun: Callable[[], None],
        over: Callable[[], None],
        record: Callable[[Occasion, Sequence[str]], None] = lambda occasion, changes: None,
    ) -> None:
        self._source = source
        self._planner = planner
        self._rollout = rollout
        self._served = served
        self._busy_with = busy_with
        self._begun = begun
        self._over = over
        self._record = record
        self.changing = asyncio.Lock()
        self.last_successful = True
        self.refusal = ""
        self.refused_at = 0.0
        # Its holder may change what is served.
        self._applying = asyncio.Lock()
        self._apply_limit = asyncio.timeout(None)
        # The thread that reads files: one at most.
        self._reader: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Serve the first configuration; nobody waits for an answer.

        Raises:
            RolloutError: If it cannot be served.
        """
        first = self._served.config

        async def read() -> Plan:
            return await in_background(self._planner.plan, first, 1)

        await self._rollout.run(read)

    def started(self) -> None:
        """Note that all workers serve the first configuration."""
        self._served.is_live = True
        self._source.took(self._served.config, was_read=True)
        self._record("configurationStarted", [f"started with {len(self._served.config.apps)} apps"])

    async def stop(self) -> None:
        """End a running reload, and wait until everything is as before it."""
        if self._applying.locked():
            self._apply_limit.reschedule(asyncio.get_running_loop().time())
        async with self._applying:
            pass

    async def reload(self, reads_source: bool = True) -> Reloaded:
        """Read the source again, or only the files that the configuration names, and serve the result if it has no
        faults.
        """
        if busy := self._busy_with():
            return Reloaded(errors=[busy])
        async with self.changing:
            if busy := self._busy_with():  # Counted from the request.
                return Reloaded(errors=[busy])
            self._begun()
            try:
                async with self._applying, asyncio.timeout(None) as self._apply_limit:
                    change = await self._rollout.run(partial(self._read, reads_source))
            except Exception as exc:
                errors = self._explained(exc)
            else:
                self.last_successful, self.refusal = True, ""
                files = self._source.took(change.after.config, reads_source, change.names is not None)
                found = await in_background(_tell, change, files)
                if change.names is None:
                    former = [*change.before.snapshot.apps, *change.before.config.apps.values()]
                    del change  # Otherwise all former apps would be freed at once, on the loop.
                    start_in_background(free, former)
                if found:
                    self._record("configurationReloaded", found)
                return Reloaded(changes=found, restart=self._served.restart_needed())
            finally:
                self._over()
        self.last_successful, self.refusal, self.refused_at = False, "; ".join(errors), time.time()
        for error in errors:
            log.error("reload refused: %s", error)
        return Reloaded(errors=errors)

    async def again(self, change: Callable[[], None], undo: Callable[[], None]) -> list[str]:
        """Serve the same configuration with a change that a feature makes beside it.

        Args:
            change: Makes the change; it may refuse with a `RolloutError`.
            undo: Undoes it if the rollout is refused.

        Returns:
            Why it is refused, a line for each reason.
        """
        async with self.changing:
            if busy := self._busy_with():
                return [busy]
            try:
                change()
            except RolloutError as exc:
                return str(exc).splitlines()
            try:
                async with self._applying, asyncio.timeout(None) as self._apply_limit:
                    await self._rollout.run(self._plan_again)
            except Exception as exc:
                undo()
                return self._explained(exc)
        return []

    async def serve(self, make: Callable[[], Revision]) -> ServingAttempt:
        """Serve what `make` returns, which has no faults; it is called in a thread while nothing else changes what is
        served.

        Raises:
            NothingNew: As `make` does.
        """
        if busy := self._busy_with():
            return ServingAttempt(busy)
        async with self.changing:
            if busy := self._busy_with():
                return ServingAttempt(busy)
            try:
                async with self._applying, asyncio.timeout(None) as self._apply_limit:
                    change = await self._rollout.run(partial(self._made, make))
            except NothingNew:
                raise
            except Exception as exc:
                busy = self._busy_with()
                errors = [] if busy else self._explained(exc)
                faults = exc.faults if isinstance(exc, RolloutError) and not busy else ()
                return ServingAttempt(busy, errors, self._rollout.steps, faults)
            self._source.took(change.after.config, was_read=False, names_same=change.names is not None)
            return ServingAttempt(steps=self._rollout.steps)

    async def _made(self, make: Callable[[], Revision]) -> Plan:
        served = self._served.plan

        def plan() -> Plan:
            began_ns = time.time_ns()
            revision = make()
            self._rollout.note("check", began_ns)
            began_ns = time.time_ns()
            assert revision.config is not None, "it has no faults"
            plan = self._searched(self._planner.change(served, revision.config, revision.since))
            self._rollout.note("plan", began_ns)
            return plan

        return await self._in_time(plan)

    async def _plan_again(self) -> Plan:
        return await in_background(self._planner.again, self._served.plan)

    async def _read(self, reads_source: bool) -> Plan:
        """Return the plan of the latest revision.

        Raises:
            RolloutError: If it has faults, or reading takes too long.
        """
        plan = await self._in_time(partial(self._plan, reads_source, self._served.plan))
        if busy := self._busy_with():  # since it began to read
            raise RolloutError(busy)
        return plan

    def _plan(self, reads_source: bool, served: Plan) -> Plan:
        # Like the configuration itself, what is compiled of it lives long.
        with freezing():
            return self._searched(self._compiled(reads_source, served))

    def _compiled(self, reads_source: bool, served: Plan) -> Plan:
        revision = self._source.read() if reads_source else Revision(served.config)
        if revision.faults:
            raise RolloutError("\n".join(revision.faults))
        assert revision.config is not None, "it has no faults"
        if revision.rereads:
            return self._planner.plan(revision.config, served.snapshot.generation + 1)
        return self._planner.change(served, revision.config)

    def _searched(self, plan: Plan) -> Plan:
        if plan.since is None:  # It may name other files.
            self._source.search(plan.config)
        return plan

    async def _in_time(self, read: Callable[[], Plan]) -> Plan:
        """Return the result of a thread that reads files.

        Raises:
            RolloutError: If it takes too long. The thread goes on, and no other begins before it ends.
        """
        if self._reader is not None and not self._reader.done():
            raise RolloutError(
                "a file of the last reload is still being read: a pipe, or a file system that does not answer"
            )
        reader = start_in_background(read)
        reader.add_done_callback(lambda late: late.cancelled() or late.exception())
        self._reader = reader
        if not (await asyncio.wait([reader], timeout=READ_TIMEOUT_S))[0]:
            raise RolloutError(
                f"the file, or one that it names, is not read within {READ_TIMEOUT_S:g} s: a pipe, or a file system"
                " that does not answer"
            )
        return reader.result()

    def _explained(self, exc: Exception) -> list[str]:
        """Return the reasons for a refused reload, a line for each."""
        if lacking := shortage(exc):
            return [lacking]
        match exc:
            case RolloutError():
                return str(exc).splitlines()
            case TimeoutError() if busy := self._busy_with():
                return [busy]
            case OSError():
                log.error("a reload failed", exc_info=exc)
                return [f"system call failed: {(exc.strerror or str(exc)).lower()}"]
        log.error("a reload failed", exc_info=exc)
        return [f"internal error, its traceback is in the log: {type(exc).__name__}: {exc}"]


def _tell(change: Change, files: list[str]) -> list[str]:
    """Log what a reload changed, also of files that are named; return all of it."""
    found = changes(change.before.config, change.after.config, change.names) + files
    snapshot = change.after.snapshot
    log.info("reloaded: generation %d, %d apps", snapshot.generation, len(snapshot.apps))
    for line in found[:MAX_CHANGES_LOGGED]:
        log.info("reloaded: %s", line)
    return found
