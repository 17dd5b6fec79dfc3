"""What differs between two snapshots in apps, pools and load balancers: of a small change so much is told, not all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from spectrum.core.balancing.settings import BalancerSettings, OriginSettings, PoolSettings
from spectrum.core.identity import unlike
from spectrum.core.names import NameSettings
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot

# Of more objects the whole is told: it is decoded in parts, and the engine goes on between them.
MAX_DIFFERING = 250
# Of a whole snapshot so many apps take far less than a millisecond.
APPS_AT_ONCE = 100
_REST = tuple(one for one in Snapshot.__struct_fields__ if one not in ("generation", "apps", "pools", "balancers"))
_Named = TypeVar("_Named", AppSettings, PoolSettings, BalancerSettings)


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """The difference of two snapshots.

    Attributes:
        before: The generation of the one.
        after: That of the other.
        former: Apps that are removed, and those that have other settings, as they were.
        apps: Those that have other settings, as they are to be, and those that are added.
        former_pools, pools, former_balancers, balancers: The same of pools and load balancers.
    """

    before: int
    after: int
    former: tuple[AppSettings, ...] = ()
    apps: tuple[AppSettings, ...] = ()
    former_pools: tuple[PoolSettings, ...] = ()
    pools: tuple[PoolSettings, ...] = ()
    former_balancers: tuple[BalancerSettings, ...] = ()
    balancers: tuple[BalancerSettings, ...] = ()

    @property
    def count(self) -> int:
        """How many objects there are in it."""
        return sum(len(part) for part in msgspec.structs.astuple(self)[2:])

    def removed(self) -> list[str]:
        """Return the names of the apps that are gone."""
        kept = {app.name for app in self.apps}
        return [app.name for app in self.former if app.name not in kept]

    def involves(self, concerns: Callable[[AppSettings], object]) -> bool:
        """Tell whether something holds for an app that differs, as it was or as it is to be."""
        return any(map(concerns, (*self.former, *self.apps)))

    def origins(self) -> Iterator[OriginSettings]:
        """Yield the origins of pools that differ, as they were and as they are to be."""
        return (origin for pool in (*self.former_pools, *self.pools) for origin in pool.origins)

    def names(self) -> set[NameSettings]:
        """Return the names that lead to origins of what differs, as it was or as it is to be."""
        own = {app.origin_name for app in (*self.former, *self.apps) if app.origin_name is not None}
        return own | {origin.dns for origin in self.origins() if origin.dns is not None}

    def transports(self) -> set[str]:
        """Return the transports of the apps that differ; those that lead to a pool may be of both."""
        if self.former_pools or self.pools or self.former_balancers or self.balancers:
            return {"tcp", "udp"}
        return {app.transport for app in (*self.former, *self.apps)}

    def listeners(self, transport: str | None = None) -> dict[ListenerKey, None]:
        """Return the listeners of these apps before and after, of one transport or of both, each once."""
        apps = (app for app in (*self.former, *self.apps) if transport in (None, app.transport))
        return dict.fromkeys(key for app in apps for key, _ in app.listeners())


def difference(before: Snapshot, after: Snapshot) -> Difference | None:
    """Return what differs; None where anything else does, or too many objects.

    What is the same object is not looked at: of an unchanged app there is one (`control/configuration/plan.py`). The
    order of objects is no difference: to workers they are known by their names.
    """
    if not _same_rest(before, after):
        return None
    found = Difference(
        before.generation,
        after.generation,
        *differing_objects(before.apps, after.apps),
        *differing_objects(before.pools, after.pools),
        *differing_objects(before.balancers, after.balancers),
    )
    return found if found.count <= MAX_DIFFERING else None


def differing_objects(
    before: Sequence[_Named], after: Sequence[_Named]
) -> tuple[tuple[_Named, ...], tuple[_Named, ...]]:
    """Return what is removed or has other settings, as it was; and what is added or has them, as it is to be."""
    one, other = unlike(before, after)
    known = {item.name: item for item in one}
    names = {item.name for item in other}
    changed = [item for item in other if known.get(item.name) != item]
    replaced: list[_Named] = [known[item.name] for item in changed if item.name in known]
    removed: list[_Named] = [item for item in one if item.name not in names]
    return tuple(replaced + removed), tuple(changed)


def _same_rest(one: Snapshot, other: Snapshot) -> bool:
    pairs = ((getattr(one, field), getattr(other, field)) for field in _REST)
    return all(before is after or before == after for before, after in pairs)


class ServedApps:
    """A snapshot, kept up to date by differences.

    Args:
        snapshot: What is served at first.
        between: Called now and then while its apps are taken.

    Attributes:
        rest: The snapshot without its apps.
    """

    def __init__(self, snapshot: Snapshot, between: Callable[[], None] = lambda: None) -> None:
        self.rest = msgspec.structs.replace(snapshot, apps=())
        self._apps: dict[str, AppSettings] = {}
        self._transports: Counter[str] = Counter()
        for start in range(0, len(snapshot.apps), APPS_AT_ONCE):
            apps = snapshot.apps[start : start + APPS_AT_ONCE]
            self._apps.update((app.name, app) for app in apps)
            self._transports.update(app.transport for app in apps)
            between()

    @property
    def generation(self) -> int:
        """What is served."""
        return self.rest.generation

    def whole(self) -> Snapshot:
        """Return the snapshot."""
        return msgspec.structs.replace(self.rest, apps=tuple(self._apps.values()))

    def take(self, change: Difference) -> None:
        """Serve what a difference leads to; `before` is what is served."""
        for name in change.removed():
            del self._apps[name]
        self._transports.subtract(app.transport for app in change.former)
        self._transports.update(app.transport for app in change.apps)
        self._apps.update((app.name, app) for app in change.apps)
        self.rest = msgspec.structs.replace(
            self.rest,
            generation=change.after,
            pools=_changed(self.rest.pools, change.former_pools, change.pools),
            balancers=_changed(self.rest.balancers, change.former_balancers, change.balancers),
        )

    def let_go(self, between: Callable[[], None]) -> None:
        """Forget all apps. Where nobody else has them, to free thousands takes many milliseconds."""
        while self._apps:
            for _ in range(min(len(self._apps), APPS_AT_ONCE)):
                self._apps.popitem()
            between()

    def transports(self) -> set[str]:
        """Return the transports of its apps."""
        return {transport for transport, count in self._transports.items() if count}


def _changed(objects: tuple[_Named, ...], former: Sequence[_Named], changed: Sequence[_Named]) -> tuple[_Named, ...]:
    if not former and not changed:
        return objects
    gone = {item.name for item in former}
    kept: list[_Named] = [item for item in objects if item.name not in gone]
    return tuple(kept + list(changed))
