"""All objects of file and store in memory, and the one writer that changes them.

A change waits first for the supervisor, which checks and serves it, then for the store, which keeps it. Changes that
wait at the same time are applied together (group commit); each succeeds or fails by itself.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from spectrum.api.caller import described
from spectrum.api.holdings import Holdings
from spectrum.api.steps import Steps
from spectrum.store.audit import AuditEntry, Author
from spectrum.store.errors import StoreError
from spectrum.store.objects import ObjectChange, StoredObject
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

# Changes of one rollout. A larger rollout takes longer, and each of its callers waits for all of it.
MAX_GROUPS = 100
# A client that sends changes one after the other sends the next one within this time after its answer.
GATHER_S = 0.01
# After this time without a change, the writer does not wait for further ones.
AT_REST_S = 0.05


@dataclass(frozen=True, slots=True)
class ObjectFault:
    """A fault that a check finds in a change.

    Attributes:
        place: The place in the file: ("apps", NAME, "origin_direct", 0).
        message: The fault.
        taken_by: The app whose listener is in the way; empty for other faults.
    """

    place: tuple[str | int, ...]
    message: str
    taken_by: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """The origin of a change, for the audit log.

    Attributes:
        author: The author.
        method: The method of the HTTP request.
        path: The path of the HTTP request.
        request_id: The request's id in the headers of the answer.
        steps: Collects the duration of each step; None without a trace.
    """

    author: Author
    method: str = ""
    path: str = ""
    request_id: str = ""
    steps: Steps | None = None


class ChangeError(Exception):
    """A change was not applied; nothing has changed."""


class ChangeRefused(ChangeError):
    """Checks refuse a change.

    Attributes:
        faults: The faults that they found.
    """

    def __init__(self, faults: Sequence[ObjectFault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


class Conflict(ChangeError):
    """A change was made for another revision of an object, or for a name that is taken.

    Attributes:
        is_stale: Whether the object has another revision.
    """

    def __init__(self, message: str, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class ReadOnly(ChangeError):
    """A change is about an object of the file."""


class NotLive(ChangeError):
    """A change could not be applied; the message has the cause.

    Attributes:
        is_for_now: Whether the change may succeed if it is sent again soon.
        is_unknown: Whether the change may be served all the same: the supervisor did not answer.
    """

    def __init__(self, message: str, is_for_now: bool = False, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_for_now = is_for_now
        self.is_unknown = is_unknown


class Rollouts(Protocol):
    """The part of the supervisor that the catalogue uses."""

    async def change(
        self, groups: Sequence[tuple[str, Sequence[ObjectChange]]], steps: Steps | None = None
    ) -> Sequence[Sequence[ObjectFault]]:
        """Check and serve changes; return the faults of each group: a group without faults is live.

        Args:
            groups: The author of each group, and its changes.
            steps: Collects the duration of each step.

        Raises:
            NotLive: If nothing was tried, or the result is unknown.
        """
        ...

    async def check(self, groups: Sequence[tuple[str, Sequence[ObjectChange]]]) -> Sequence[Sequence[ObjectFault]]:
        """Return the faults that `change` would return; nothing is changed.

        Raises:
            NotLive: If the supervisor does not answer.
        """
        ...


class Keeper(Protocol):
    """The part of the store that the catalogue uses."""

    def commit(self, changes: Sequence[ObjectChange], audit: Sequence[AuditEntry], now: float) -> list[StoredObject]:
        """Save changes and their lines of the audit log, all or none; it blocks."""
        ...


@dataclass(eq=False, slots=True)
class _WaitingChange:
    """A change that waits for the writer."""

    changes: Sequence[ObjectChange]
    expected: Mapping[str, int]
    cause: Cause
    done: asyncio.Future[list[StoredObject]]
    befores: list[StoredObject | None] = field(default_factory=list)
    began_ns: int = field(default_factory=time.time_ns)

    def touched(self) -> set[tuple[str, str]]:
        ids = {("id", change.id) for change in self.changes}
        return ids | {(change.section, change.name) for change in self.changes}


class Catalogue(Holdings):
    """The objects.

    Args:
        rollouts: Checks and serves changes.
        store: Keeps them.
        path: The name of the file in messages.
        clock: Returns the time, in seconds since 1970.
        diverged: Called when changes may be served that are not saved. The process must end: the daemon then serves
            the saved objects.

    Attributes:
        path: The name of the file in messages.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        store: Keeper,
        path: str,
        clock: Callable[[], float] = time.time,
        diverged: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._diverged = diverged
        self._rollouts = rollouts
        self._store = store
        self.path = path
        self._clock = clock
        self._waiting: list[_WaitingChange] = []
        self._wake = asyncio.Event()
        self._refill: Callable[[], Awaitable[None]] | None = None

    def refill(self, fill: Callable[[], Awaitable[None]]) -> None:
        """Replace all objects, between two changes; `fill` fetches them and calls the method of that name."""
        self._refill = fill
        self._wake.set()

    async def change(
        self,
        changes: Sequence[ObjectChange],
        cause: Cause,
        expected: Mapping[str, int] | None = None,
    ) -> list[StoredObject]:
        """Apply changes, all or none; return the objects as they are now, without deleted ones.

        When it returns, the changes are served and on disk.

        Args:
            changes: The changes, in order.
            cause: Their origin.
            expected: The revisions that objects must have now, by id; other objects are overwritten.

        Raises:
            ReadOnly: If a change is about an object of the file.
            Conflict: If an object has another revision, or its name is taken.
            ChangeRefused: If checks refuse a change.
            NotLive: If the changes cannot be served or saved now.
        """
        done: asyncio.Future[list[StoredObject]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingChange(changes, expected or {}, cause, done))
        self._wake.set()
        return await done

    def refuse_of_file(self, one: StoredObject) -> None:
        """Return if an object may be changed.

        Raises:
            ReadOnly: If it is an object of the file.
        """
        if one.is_in_file:
            raise ReadOnly(f"{one.name} is read-only here: it is defined in {self.path}")

    async def check(self, change: ObjectChange, author: Author) -> None:
        """Return if a change could be applied now; nothing is changed.

        Raises:
            ReadOnly: If it is about an object of the file.
            Conflict: If its name is taken.
            ChangeRefused: If checks refuse it.
            NotLive: If the supervisor does not answer.
        """
        before = self._before(change, {})
        one = _WaitingChange([change], {}, Cause(author), asyncio.get_running_loop().create_future(), [before])
        (faults,) = await self._rollouts.check([(described(author), _renamed(one))])
        if faults:
            raise ChangeRefused(faults)

    async def write(self) -> None:
        """Apply waiting changes until cancelled."""
        under_way, ended = 0, 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if time.monotonic() - ended > AT_REST_S:
                under_way = 0
            while self._waiting or self._refill:
                await self._gather(under_way)
                await self._fill_again()
                batch = self._batch()
                under_way = len(batch) + len(self._waiting)
                try:
                    await self._carry_out(batch)
                except BaseException as exc:
                    _answer_all(batch, NotLive("the change failed; the log has more"))
                    if not isinstance(exc, Exception):
                        _answer_all(self._waiting, NotLive("the API is ending", is_for_now=True))
                        raise
                    log.exception("changes of the API failed")
                ended = time.monotonic()

    async def _gather(self, under_way: int) -> None:
        """Wait a moment for as many changes as were just applied: their callers may send the next ones now.

        A rollout of many changes takes little longer than that of one. Without this wait, half of the clients would
        wait for the rollout of the other half, in turns (commit_delay of PostgreSQL).
        """
        while 0 < len(self._waiting) < under_way:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), GATHER_S)
            except TimeoutError:
                return
            except asyncio.CancelledError:
                _answer_all(self._waiting, NotLive("the API is ending", is_for_now=True))
                raise

    async def _fill_again(self) -> None:
        fill, self._refill = self._refill, None
        if fill is not None:
            try:
                await fill()
            except (NotLive, StoreError) as exc:
                log.error("the API does not know the file's objects since its last reload: %s", exc)

    def _batch(self) -> list[_WaitingChange]:
        """Return the changes of the next rollout: the oldest ones, up to the second change of one object."""
        batch: list[_WaitingChange] = []
        touched: set[tuple[str, str]] = set()
        while self._waiting and len(batch) < MAX_GROUPS and touched.isdisjoint(self._waiting[0].touched()):
            one = self._waiting.pop(0)
            touched |= one.touched()
            if one.done.done():  # its client disconnected before it began
                continue
            try:
                one.befores = [self._before(change, one.expected) for change in one.changes]
            except ChangeError as exc:
                one.done.set_exception(exc)
            else:
                batch.append(one)
        return batch

    def _before(self, change: ObjectChange, expected: Mapping[str, int]) -> StoredObject | None:
        before = self.get(change.section, change.id)
        if before is not None:
            self.refuse_of_file(before)
        if change.id in expected and (before is None or before.revision != expected[change.id]):
            what = "changed" if before else "deleted"
            raise Conflict(f"{change.name} was {what} meanwhile", is_stale=True)
        other = self.named(change.section, change.name)
        if change.value is not None and other is not None and other.id != change.id:
            self.refuse_of_file(other)
            raise Conflict(f"there is another object named {change.name} in {change.section}")
        return before

    async def _carry_out(self, batch: Sequence[_WaitingChange]) -> None:
        if batch:
            with _noted(batch) as steps:
                await self._carry_out_noted(batch, steps)

    async def _carry_out_noted(self, batch: Sequence[_WaitingChange], steps: Steps | None) -> None:
        groups = [(described(one.cause.author), _renamed(one)) for one in batch]
        try:
            faults = await self._rollouts.change(groups, steps)
        except NotLive as exc:
            _answer_all(batch, exc)
            if exc.is_unknown:
                self._diverged()
            return
        accepted = []
        for one, found in zip(batch, faults, strict=True):
            if found:
                _answer(one, ChangeRefused(found))
            else:
                accepted.append(one)
        if not accepted:
            return
        changes = [change for one in accepted for change in one.changes]
        began_ns = time.time_ns()
        try:
            audit = [entry for one in accepted for entry in self._audit(one)]
            kept = await in_thread(self._store.commit, changes, audit, self._clock())
        except Exception as exc:
            is_ours = not isinstance(exc, StoreError)
            log.error("changes of the API cannot be saved, and are undone: %s", exc, exc_info=is_ours)
            await self._take_back(accepted)
            why = "the log has more" if is_ours else exc
            _answer_all(accepted, NotLive(f"the change cannot be saved: {why}"))
            return
        if steps is not None:
            steps.note("commit to the store", began_ns)
        by_id = {one.id: one for one in kept}
        self.apply(changes, by_id)
        for one in accepted:
            if not one.done.done():
                one.done.set_result([by_id[change.id] for change in one.changes if change.value is not None])

    async def _take_back(self, accepted: Iterable[_WaitingChange]) -> None:
        """Roll back to the objects that were served before."""
        inverse = [change for one in reversed([*accepted]) for change in _inverse(one)]
        try:
            faults = await self._rollouts.change([("the API, which could not keep it", inverse)])
        except NotLive as exc:
            log.error("a change that is not saved may still be served: %s", exc)
            self._diverged()
            return
        for fault in faults[0]:
            log.error("a change that is not saved is still served: %s", fault.message)
            self._diverged()

    def _audit(self, one: _WaitingChange) -> Iterator[AuditEntry]:
        cause = one.cause
        owners = self.owners_after(one.changes, one.befores)
        for change, before, (account, zone) in zip(one.changes, one.befores, owners, strict=True):
            yield AuditEntry(
                cause.author,
                "delete" if change.value is None else "update" if before else "create",
                change.section,
                change.id,
                change.name,
                before.value if before else None,
                change.value,
                self._id_after("accounts", account, one.changes),
                self._id_after("zones", zone, one.changes),
                method=cause.method,
                path=cause.path,
                status=200,
                request_id=cause.request_id,
            )

    def _id_after(self, section: str, name: str, changes: Sequence[ObjectChange]) -> str:
        known = self.named(section, name)
        made = (change.id for change in changes if (change.section, change.name) == (section, name))
        return known.id if known else next(made, "")


@contextmanager
def _noted(batch: Iterable[_WaitingChange]) -> Iterator[Steps | None]:
    """Record the duration of a step for those changes that have a trace."""
    noted = [one.cause.steps for one in batch if one.cause.steps is not None]
    for one in batch:
        if one.cause.steps is not None:
            one.cause.steps.note("wait for the writer", one.began_ns)
    steps = Steps() if noted else None
    try:
        yield steps
    finally:
        for some in noted:
            some.add(steps.all if steps else ())


def _renamed(one: _WaitingChange) -> list[ObjectChange]:
    """Return changes in the form of the supervisor, which knows no ids: a renamed object is deleted and created."""
    changes = []
    for change, before in zip(one.changes, one.befores, strict=True):
        if before is not None and before.name != change.name:
            changes.append(ObjectChange(change.section, change.id, before.name, None))
        changes.append(change)
    return changes


def _inverse(one: _WaitingChange) -> list[ObjectChange]:
    changes = []
    for change, before in reversed([*zip(one.changes, one.befores, strict=True)]):
        if change.value is not None and (before is None or before.name != change.name):
            changes.append(ObjectChange(change.section, change.id, change.name, None))
        if before is not None:
            changes.append(ObjectChange(change.section, change.id, before.name, before.value))
    return changes


def _answer(one: _WaitingChange, exc: ChangeError) -> None:
    if not one.done.done():
        one.done.set_exception(exc)


def _answer_all(waiting: Iterable[_WaitingChange], exc: ChangeError) -> None:
    for one in waiting:
        _answer(one, exc)
