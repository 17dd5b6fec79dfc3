"""All objects of file and store in memory, and the one writer through which they change.

Whoever changes something waits for: the supervisor, which checks and serves it, then the store, which keeps it. What
waits at the same time goes together (group commit). Each change stands or falls by itself.
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

# Changes of one rollout: a rollout of many takes longer, and everybody in it waits.
MAX_GROUPS = 100
# A client that has its answer sends its next change within so long, or is not waited for.
GATHER_S = 0.01
# After so long without a change nobody is waited for.
AT_REST_S = 0.05


@dataclass(frozen=True, slots=True)
class ObjectFault:
    """What a check says of a change.

    Attributes:
        place: As in the file: ("apps", NAME, "origin_direct", 0).
        message: What is wrong there.
    """

    place: tuple[str | int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Cause:
    """What a change comes from, for the audit log.

    Attributes:
        author: Who makes it.
        method: Of the HTTP request.
        path: Of the HTTP request.
        request_id: What the answer's headers call the request.
        steps: Gets what took how long; None where nobody looks at it.
    """

    author: Author
    method: str = ""
    path: str = ""
    request_id: str = ""
    steps: Steps | None = None


class ChangeError(Exception):
    """A change that was not carried out: everything is as it was."""


class ChangeRefused(ChangeError):
    """Checks refuse it.

    Attributes:
        faults: What they say.
    """

    def __init__(self, faults: Sequence[ObjectFault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


class Conflict(ChangeError):
    """It was made for another state of an object, or for a name that another one has.

    Attributes:
        is_stale: The object has another revision.
    """

    def __init__(self, message: str, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class ReadOnly(ChangeError):
    """It is about an object of the file."""


class NotLive(ChangeError):
    """It could not be carried out; the message says why.

    Attributes:
        is_for_now: The same may be possible in a moment.
        is_unknown: It may be served all the same: nobody has said.
    """

    def __init__(self, message: str, is_for_now: bool = False, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_for_now = is_for_now
        self.is_unknown = is_unknown


class Rollouts(Protocol):
    """What the catalogue needs of the supervisor."""

    async def change(
        self, groups: Sequence[tuple[str, Sequence[ObjectChange]]], steps: Steps | None = None
    ) -> Sequence[Sequence[ObjectFault]]:
        """Check and serve changes; return the faults of each group: one without any is live.

        Args:
            groups: Who makes them, and the changes.
            steps: Gets what took how long.

        Raises:
            NotLive: If nothing was tried, or nobody knows.
        """
        ...

    async def check(self, groups: Sequence[tuple[str, Sequence[ObjectChange]]]) -> Sequence[Sequence[ObjectFault]]:
        """Return the faults that `change` would return; nothing is changed.

        Raises:
            NotLive: If nobody answers.
        """
        ...


class Keeper(Protocol):
    """What the catalogue needs of the store."""

    def commit(self, changes: Sequence[ObjectChange], audit: Sequence[AuditEntry], now: float) -> list[StoredObject]:
        """Keep changes and their lines of the audit log, all or none; it blocks."""
        ...


@dataclass(eq=False, slots=True)
class _WaitingChange:
    """A change that waits."""

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
        path: What people call the file.
        clock: Returns the time, in seconds since 1970.
        diverged: Called when something may be served that is not kept. The process has to end: the daemon then serves
            what is kept.

    Attributes:
        path: What people call the file.
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
        """Have all objects anew, between two changes; `fill` fetches them and calls the method of that name."""
        self._refill = fill
        self._wake.set()

    async def change(
        self,
        changes: Sequence[ObjectChange],
        cause: Cause,
        expected: Mapping[str, int] | None = None,
    ) -> list[StoredObject]:
        """Carry out changes, all or none; return the objects as they are now, without those that are deleted.

        When it returns, they are served and on disk.

        Args:
            changes: In their order.
            cause: What they come from.
            expected: The revisions that objects must have now, by id; others may be overwritten.

        Raises:
            ReadOnly: If one is about an object of the file.
            Conflict: If an object has another revision, or its name is taken.
            ChangeRefused: If checks refuse it.
            NotLive: If it cannot be served or kept at the moment.
        """
        done: asyncio.Future[list[StoredObject]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingChange(changes, expected or {}, cause, done))
        self._wake.set()
        return await done

    async def check(self, change: ObjectChange, author: Author) -> None:
        """Return when a change could be carried out as things are; nothing is changed.

        Raises:
            ReadOnly: If it is about an object of the file.
            Conflict: If its name is taken.
            ChangeRefused: If checks refuse it.
            NotLive: If nobody answers.
        """
        before = self._before(change, {})
        one = _WaitingChange([change], {}, Cause(author), asyncio.get_running_loop().create_future(), [before])
        (faults,) = await self._rollouts.check([(described(author), _renamed(one))])
        if faults:
            raise ChangeRefused(faults)

    async def write(self) -> None:
        """Carry out what waits, for as long as the process runs."""
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
        """Wait a moment for as many changes as were under way: who was answered just now may send the next one.

        A rollout of many changes takes little longer than that of one. Without this, half of the clients would wait for
        the rollout of the other half, in turns (commit_delay of PostgreSQL).
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
        """Return what goes together: the oldest changes up to one about the same object as another."""
        batch: list[_WaitingChange] = []
        touched: set[tuple[str, str]] = set()
        while self._waiting and len(batch) < MAX_GROUPS and touched.isdisjoint(self._waiting[0].touched()):
            one = self._waiting.pop(0)
            touched |= one.touched()
            if one.done.done():  # its client is gone, and it has not begun
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
        if before is not None and before.is_in_file:
            raise ReadOnly(f"{before.name} is read-only here: it is defined in {self.path}")
        if change.id in expected and (before is None or before.revision != expected[change.id]):
            what = "changed" if before else "deleted"
            raise Conflict(f"{change.name} was {what} meanwhile", is_stale=True)
        other = self.named(change.section, change.name)
        if change.value is not None and other is not None and other.id != change.id:
            if other.is_in_file:
                raise ReadOnly(f"{other.name} is read-only here: it is defined in {self.path}")
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
        """Have served what was served before."""
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
    """Note what is done within for those of whom somebody wants to know it."""
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
    """Return changes as the supervisor takes them, who knows no ids: an old name goes before the new one comes."""
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
