"""The difference of two snapshots in apps, pools and load balancers: small changes are sent to workers as such."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from spectrum.core.balancing.settings import BalancerSettings, OriginSettings, PoolSettings
from spectrum.core.identity import unlike
from spectrum.core.names import NameSettings
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot

# With more objects the whole snapshot is sent: it is decoded in parts, and the engine handles events in between.
MAX_DIFFERING = 250
# This many apps of a snapshot take far less than a millisecond.
APPS_AT_ONCE = 100
_REST = tuple(one for one in Snapshot.__struct_fields__ if one not in ("generation", "apps", "pools", "balancers"))
_Named = TypeVar("_Named", AppSettings, PoolSettings, BalancerSettings)


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """The difference of two snapshots.

    Attributes:
        before: The generation of the first snapshot.
        after: The generation of the second snapshot.
        former: Removed apps, and changed apps with their former settings.
        apps: Changed apps with their new settings, and added apps.
        former_pools, pools, former_balancers, balancers: Likewise for pools and load balancers.
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
        """The number of objects in it."""
        return sum(len(part) for part in msgspec.structs.astuple(self)[2:])

    def removed(self) -> list[str]:
        """Return the names of the apps that are gone."""
        kept = {app.name for app in self.apps}
        return [app.name for app in self.former if app.name not in kept]

    def involves(self, concerns: Callable[[AppSettings], object]) -> bool:
        """Return whether a condition holds for an app that differs, in its former or new form."""
        return any(map(concerns, (*self.former, *self.apps)))

    def origins(self) -> Iterator[OriginSettings]:
        """Yield the origins of pools that differ, in their former and new form."""
        return (origin for pool in (*self.former_pools, *self.pools) for origin in pool.origins)

    def names(self) -> set[NameSettings]:
        """Return the DNS names of origins in the difference, former and new."""
        own = {app.origin_name for app in (*self.former, *self.apps) if app.origin_name is not None}
        return own | {origin.dns for origin in self.origins() if origin.dns is not None}

    def transports(self) -> set[str]:
        """Return the transports of the apps that differ; pools may be used by apps of both."""
        if self.former_pools or self.pools or self.former_balancers or self.balancers:
            return {"tcp", "udp"}
        return {app.transport for app in (*self.former, *self.apps)}

    def listeners(self, transport: str | None = None) -> dict[ListenerKey, None]:
        """Return the listeners of these apps before and after, of one transport or both, each once."""
        apps = (app for app in (*self.former, *self.apps) if transport in (None, app.transport))
        return dict.fromkeys(key for app in apps for key, _ in app.listeners())


class AppsDifference(NamedTuple):
    """The difference of the apps of two snapshots, as it was found when the second one was compiled.

    Attributes:
        before, after: All apps of the two snapshots.
        former, apps: As in `Difference`.
    """

    before: tuple[AppSettings, ...]
    after: tuple[AppSettings, ...]
    former: tuple[AppSettings, ...]
    apps: tuple[AppSettings, ...]

    def is_of(self, before: Snapshot, after: Snapshot) -> bool:
        """Return whether these snapshots have just these apps."""
        return before.apps is self.before and after.apps is self.after


def difference(before: Snapshot, after: Snapshot, apps: AppsDifference | None = None) -> Difference | None:
    """Return the difference; None if anything else differs, or too many objects. Identical Python objects are skipped:
    an unchanged app stays the same object (`control/configuration/plan.py`). The order of objects does not matter:
    workers use their names.

    Args:
        before, after: The snapshots.
        apps: The difference of their apps, if known. Otherwise this iterates over all apps.
    """
    if not _same_rest(before, after):
        return None
    found = Difference(
        before.generation,
        after.generation,
        *(differing_objects(before.apps, after.apps) if apps is None else (apps.former, apps.apps)),
        *differing_objects(before.pools, after.pools),
        *differing_objects(before.balancers, after.balancers),
    )
    return found if found.count <= MAX_DIFFERING else None


def differing_objects(
    before: Sequence[_Named], after: Sequence[_Named]
) -> tuple[tuple[_Named, ...], tuple[_Named, ...]]:
    """Return removed and changed objects in their former form, and changed and added ones in their new form."""
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
        snapshot: The initial snapshot.
        between: Called between groups of apps while they are processed.

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
        """The generation that is served."""
        return self.rest.generation

    def whole(self) -> Snapshot:
        """Return the whole snapshot."""
        return msgspec.structs.replace(self.rest, apps=tuple(self._apps.values()))

    def take(self, change: Difference) -> None:
        """Apply a difference; `before` is what was served."""
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
        """Forget all apps. If this holds the last reference, freeing thousands takes many milliseconds."""
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
