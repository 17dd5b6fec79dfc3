"""The addresses of origins' names, looked up again as their TTLs say, in the background. After a failure the last good
answer stays in use, and the next attempt follows with a growing delay. Each name has one look-up at a time, and names
without an answer have slots of their own: a zone whose servers do not answer delays only its own names.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from prometheus_client.core import Metric

from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.configuration.watch import FileWatch
from spectrum.control.names.report import name_metrics, names_status
from spectrum.control.names.resolver import Answer, LookupFailure, Resolver
from spectrum.control.trouble import Trouble
from spectrum.core.address import PortRange, parse_reachable_address
from spectrum.core.configuration.checks import ListenerIndex
from spectrum.core.configuration.config import Config
from spectrum.core.names import NameSettings, name_key, parse_service
from spectrum.kernel.sockets import descriptor_limit, local_addresses
from spectrum.link.succession import Handover
from spectrum.tasks import Tasks, busy_wait_for, in_background

log = logging.getLogger(__name__)

# The least interval for records with a TTL of 0 (Envoy: dns_min_refresh_rate).
MIN_PAUSE_S = 1.0
# Delay after a failure; it doubles up to the name's own bound.
FIRST_RETRY_S = 1.0
# Jitter: look-ups that began together spread out.
JITTER = 0.25
# How long the start waits for first answers; names that take longer are served once they are answered.
START_TIMEOUT_S = 3.0
# Look-ups at a time, each with one or two sockets: of names that are new or were answered last, and of those that were
# not or take longer than HASTE_S.
MAX_LOOKUPS, MAX_DOUBTFUL_LOOKUPS = 256, 64
HASTE_S = 1.0
# The share of descriptors that both together may use.
DESCRIPTOR_PART = 0.25

Refuse = Callable[[NameSettings, str], str | None]


@dataclass(slots=True, eq=False)
class WatchedName:
    """The state of a name that is looked up.

    Attributes:
        users: Its users, which differ in port and in the maximum interval.
        addresses: Addresses of the last good answer.
        answered_at: When that arrived (monotonic seconds); None for never.
        failure: Why the last look-up failed; empty if it did not.
        result: One word for how the last look-up ended: "ok", or that of the failure; empty before the first one.
        results: Number of look-ups by result.
        retry_s: The next delay after a failure.
    """

    name: str
    type: str
    users: frozenset[NameSettings] = frozenset()
    addresses: tuple[str, ...] = ()
    answered_at: float | None = None
    failure: str = ""
    result: str = ""
    results: Counter[str] = field(default_factory=Counter)
    retry_s: float = FIRST_RETRY_S
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    again: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def bound_s(self) -> float:
        """Maximum interval in seconds: the shortest `ttl` of its users."""
        return min((user.ttl_s for user in self.users), default=MIN_PAUSE_S)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last good answer; None without one."""
        return None if self.answered_at is None else time.monotonic() - self.answered_at


class NameReading(NamedTuple):
    """The readings of a name for metrics: see `WatchedName`; `addresses` is their number."""

    name: str
    type: str
    addresses: int
    age_s: float | None
    results: dict[str, int]


class NameWatch:
    """Keeps the addresses of a set of names.

    Args:
        changed: Called with changed addresses, by `core.names.name_key`.
        refuse: Returns why an address may not be an origin, or None; refused addresses are left out.
        resolver: Looks names up.

    Attributes:
        addresses: The addresses of each user of a name, by `core.names.name_key`.
        failures: Why a user of a name has no new addresses, by the same key.
    """

    def __init__(
        self, changed: Callable[[dict[str, tuple[str, ...]]], None], refuse: Refuse, resolver: Resolver | None = None
    ) -> None:
        self._changed = changed
        self._refuse = refuse
        self._resolver = resolver or Resolver()
        self._tasks = Tasks()
        self._watched: dict[tuple[str, str], WatchedName] = {}
        self._began = False
        self._room: asyncio.Semaphore
        self._doubtful_room: asyncio.Semaphore
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.failures: dict[str, str] = {}
        self._remembered: dict[str, tuple[str, ...]] = {}

    def remember(self, addresses: dict[str, tuple[str, ...]]) -> None:
        """Take the last good answers of the previous supervisor: they hold until names are answered again."""
        self._remembered |= addresses

    async def watch(self, names: frozenset[NameSettings]) -> None:
        """Watch exactly these names; wait a short while for the first answers of new ones."""
        self.follow(names)
        new = [
            watched
            for watched in self._watched.values()
            if not watched.ended.is_set() and not all(name_key(user) in self.addresses for user in watched.users)
        ]
        if new:
            try:
                await asyncio.wait_for(asyncio.gather(*(watched.ended.wait() for watched in new)), START_TIMEOUT_S)
            except TimeoutError:
                log.warning("some names of origins have no address yet; their apps serve once they have")

    def follow(self, names: frozenset[NameSettings]) -> None:
        """Watch exactly these names."""
        if names and not self._began:
            self._begin()
        users: dict[tuple[str, str], set[NameSettings]] = {}
        for name in names:
            users.setdefault((name.name, name.type), set()).add(name)
        for question in self._watched.keys() - users.keys():
            task = self._watched.pop(question).task
            assert task is not None, "it was started below"
            task.cancel()
        keys = {name_key(name) for name in names}
        for known in (self.addresses, self.failures):
            for key in known.keys() - keys:
                del known[key]
        self._recall(names)
        for question, asking in users.items():
            self._follow_for(question, frozenset(asking))

    def _recall(self, names: frozenset[NameSettings]) -> None:
        for name in names:
            known = self._remembered.pop(name_key(name), ())
            usable = tuple(address for address in known if self._why_not(name, address) is None)
            if usable:
                self.addresses.setdefault(name_key(name), usable)

    def _begin(self) -> None:
        self._began = True
        most = max(2, int(descriptor_limit() * DESCRIPTOR_PART / 2))
        self._room = asyncio.Semaphore(min(MAX_LOOKUPS, most))
        self._doubtful_room = asyncio.Semaphore(min(MAX_DOUBTFUL_LOOKUPS, most))
        files = FileWatch(lambda: self._resolver.paths, self._look_again, files=self._resolver.files)
        self._tasks.keep(files.run, "watch resolv.conf and hosts")

    def _follow_for(self, question: tuple[str, str], users: frozenset[NameSettings]) -> None:
        watched = self._watched.get(question)
        if watched is None:
            watched = self._watched[question] = WatchedName(*question, users)
            watched.task = self._tasks.start(self._follow(watched), f"look up {watched.name}")
        elif watched.users != users:
            sooner = min(user.ttl_s for user in users) < watched.bound_s
            watched.users = users
            if watched.addresses:
                self._take(watched)  # New users need not wait.
            if sooner:
                watched.again.set()

    async def _look_again(self, files: Sequence[Path]) -> None:
        """Look all names up now: the resolver's files have changed."""
        await asyncio.to_thread(self._resolver.read)
        changed = ", ".join(map(str, files))
        log.info("%s changed: looking up %d names again", changed, len(self._watched))
        for watched in self._watched.values():
            watched.retry_s = FIRST_RETRY_S
            watched.again.set()

    async def _follow(self, watched: WatchedName) -> None:
        while True:
            watched.again.clear()
            pause_s = await self._look(watched)
            watched.ended.set()
            try:
                await asyncio.wait_for(watched.again.wait(), pause_s * random.uniform(1 - JITTER, 1))
            except TimeoutError:
                pass

    async def _ask(self, watched: WatchedName) -> Answer:
        """Look a name up, first with a short time limit: slow look-ups must not use the slots of others."""
        if watched.result != "no_answer":
            try:
                async with self._room:
                    return await busy_wait_for(self._resolver.look_up(watched.name, watched.type), HASTE_S)
            except TimeoutError:
                pass
        async with self._doubtful_room:
            return await self._resolver.look_up(watched.name, watched.type)

    async def _look(self, watched: WatchedName) -> float:
        """Look a name up; return the maximum number of seconds until the next look-up."""
        try:
            answer = await self._ask(watched)
        except LookupFailure as exc:
            self._fail(watched, str(exc), exc.result)
            ttl_s = exc.ttl_s
        except Exception as exc:  # A name that is never looked up again would keep its addresses for ever.
            log.exception("look-up of %s", watched.name)
            self._fail(watched, f"the look-up itself failed: {exc}", "error")
            ttl_s = 0.0
        else:
            watched.addresses, watched.answered_at = answer.addresses, time.monotonic()
            self._count(watched, "ok")
            watched.failure, watched.retry_s = "", FIRST_RETRY_S
            self._take(watched)
            return min(max(answer.ttl_s, MIN_PAUSE_S), watched.bound_s)
        pause_s = min(max(watched.retry_s, ttl_s), watched.bound_s)
        watched.retry_s = min(watched.retry_s * 2, watched.bound_s)
        return pause_s

    def _count(self, watched: WatchedName, result: str) -> None:
        watched.result = result
        watched.results[result] += 1

    def _fail(self, watched: WatchedName, why: str, result: str) -> None:
        self._count(watched, result)
        watched.failure = why
        for user in watched.users:
            self._refused(user, why)

    def _refused(self, user: NameSettings, why: str) -> None:
        key = name_key(user)
        if self.failures.get(key) != why:
            kept = ", ".join(self.addresses.get(key, ())) or "none"
            log.warning("origin name %s: %s; addresses in use: %s", user.name, why, kept)
        self.failures[key] = why

    def _take(self, watched: WatchedName) -> None:
        """Give the users of a name those of its addresses that they may use."""
        changed = {}
        for user in watched.users:
            refused = {address: why for address in watched.addresses if (why := self._why_not(user, address))}
            usable = tuple(address for address in watched.addresses if address not in refused)
            key = name_key(user)
            if not usable:
                self._refused(user, "; ".join(refused.values()))
                continue
            if self.failures.pop(key, None) is not None:
                log.info("origin name %s: answered again: %s", user.name, ", ".join(usable))
            # Resolvers rotate answers; a change of order is not logged.
            if set(self.addresses.get(key, ())) != set(usable):
                self.addresses[key] = changed[key] = usable
        if changed:
            self._changed(changed)

    def _why_not(self, user: NameSettings, address: str) -> str | None:
        if user.type != "SRV":
            return self._refuse(user, address)
        service = parse_service(address)
        return self._refuse(replace(user, first_port=service.port, last_port=service.port), service.address)

    def stop_waiting(self) -> None:
        """Let `watch` return at once."""
        for watched in self._watched.values():
            watched.ended.set()

    def watched(self) -> list[WatchedName]:
        """Return the names that are looked up, sorted."""
        return [self._watched[question] for question in sorted(self._watched)]

    def read(self) -> tuple[NameReading, ...]:
        """Return the readings for metrics."""
        return tuple(
            NameReading(one.name, one.type, len(one.addresses), one.age_s, dict(one.results)) for one in self.watched()
        )

    async def stop(self) -> None:
        """Stop watching, and cancel open look-ups."""
        await self._tasks.stop()


class OwnListeners:
    """The listeners of this node: an origin's address must not lead back to one.

    Args:
        config: The configuration with the listeners.
    """

    def __init__(self, config: Config) -> None:
        self.take(config)

    def take(self, config: Config) -> None:
        """Use another configuration, and the current addresses of this machine. Listeners are collected at the first
        address: most configurations have few names or none.
        """
        self._config = config
        self._found: ListenerIndex | None = None

    @property
    def _index(self) -> ListenerIndex:
        if self._found is None:
            self._found = ListenerIndex(self._config.apps, local_addresses())
        return self._found

    def refuse(self, name: NameSettings, address: str) -> str | None:
        """Return why an address of a name cannot be an origin: it is unspecified, or leads back to this node."""
        try:
            found = parse_reachable_address(address)
        except ValueError as exc:
            return str(exc)
        taken = self._index.owner(name.transport, found, PortRange(name.first_port, name.last_port))
        return f"{address} port {taken[1]} is the listener of app {taken[0]}: a loop" if taken else None


def _names_differ(change: Change) -> bool:
    return change.difference is None or bool(change.difference.names())


def _listeners_differ(change: Change) -> bool:
    if change.difference is None:
        return True
    before, after = (
        {app.name: list(app.listeners()) for app in apps} for apps in (change.difference.former, change.difference.apps)
    )
    return before != after


class NamesActor(Actor):
    """Looks up the names of a configuration.

    Args:
        names: Looks them up.
        own: The listeners of the same configuration.
    """

    def __init__(self, names: NameWatch, own: OwnListeners) -> None:
        self._names = names
        self._own = own

    async def prepare(self, change: Change) -> None:
        """Look up new names beside those in use, and wait a short while for them."""
        if _listeners_differ(change):
            self._own.take(change.after.config)
        if _names_differ(change):
            before, after = change.before.snapshot, change.after.snapshot
            await self._names.watch(await in_background(lambda: before.names() | after.names()))

    async def abort(self, change: Change) -> None:
        """Look up the former names only."""
        if _listeners_differ(change):
            self._own.take(change.before.config)
        if _names_differ(change):
            self._names.follow(await in_background(change.before.snapshot.names))

    async def release(self, change: Change) -> None:
        """Look up the new names only."""
        if _names_differ(change):
            self._names.follow(await in_background(change.after.snapshot.names))

    async def inherit(self, handover: Handover) -> None:
        """Take the last good answers of the previous supervisor."""
        self._names.remember(handover.names)

    async def give(self, handover: Handover, opened: ExitStack) -> None:
        """Hand over the last good answers."""
        handover.names |= self._names.addresses

    async def status(self) -> Mapping[str, Any]:
        """Return the state of each name."""
        return {"names": names_status(self._names.watched())}

    def troubles(self) -> Iterable[Trouble]:
        """Report names whose look-up fails."""
        for one in names_status(self._names.watched()):
            if one["reason"]:
                facts = {"name": one["name"], "why": one["reason"], "addresses": one["addresses"]}
                yield Trouble("name_unresolved", "degraded" if one["addresses"] else "failed", facts=facts)

    async def metrics(self) -> Iterable[Metric]:
        """Return the state of each name, and how look-ups ended."""
        return name_metrics(self._names.read())

    def halt(self) -> None:
        """Stop waiting for answers."""
        self._names.stop_waiting()

    async def close(self) -> None:
        """Stop all look-ups."""
        await self._names.stop()
