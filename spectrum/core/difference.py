"""What differs between two snapshots in their apps alone: of a small change so much is told, not the whole."""

from collections import Counter
from collections.abc import Callable

import msgspec

from spectrum.core.identity import unlike
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot

# Of more apps the whole is told: it is decoded in parts, and the engine goes on between them.
MAX_APPS = 250
# Of a whole snapshot so many apps take far less than a millisecond.
APPS_AT_ONCE = 100


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """The difference of two snapshots.

    Attributes:
        before: The generation of the one.
        after: That of the other.
        former: What is removed, and what has other settings, as it was.
        apps: What has other settings, as it is to be, and what is added.
    """

    before: int
    after: int
    former: tuple[AppSettings, ...]
    apps: tuple[AppSettings, ...]

    def removed(self) -> list[str]:
        """Return the names of the apps that are gone."""
        kept = {app.name for app in self.apps}
        return [app.name for app in self.former if app.name not in kept]

    def involves(self, concerns: Callable[[AppSettings], object]) -> bool:
        """Tell whether something holds for an app that differs, as it was or as it is to be."""
        return any(map(concerns, (*self.former, *self.apps)))

    def transports(self) -> set[str]:
        """Return the transports of the apps that differ."""
        return {app.transport for app in (*self.former, *self.apps)}

    def listeners(self, transport: str | None = None) -> dict[ListenerKey, None]:
        """Return the listeners of these apps before and after, of one transport or of both, each once."""
        apps = (app for app in (*self.former, *self.apps) if transport in (None, app.transport))
        return dict.fromkeys(key for app in apps for key, _ in app.listeners())


def difference(before: Snapshot, after: Snapshot) -> Difference | None:
    """Return what differs; None where that are not only apps, none, or too many.

    Apps that are the same object are not looked at: of an unchanged app there is one (`control/configuration/plan.py`).
    """
    if not _same_rest(before, after):
        return None
    one, other = unlike(before.apps, after.apps)
    known = {app.name: app for app in one}
    changed = [app for app in other if known.get(app.name) is not app]
    apps = [app for app in changed if known.get(app.name) != app]
    former = [known[app.name] for app in apps if app.name in known]
    names = {app.name for app in other}
    former += [app for app in one if app.name not in names]
    if (not apps and not former) or len(apps) + len(former) > MAX_APPS:
        return None
    return Difference(before.generation, after.generation, tuple(former), tuple(apps))


def _same_rest(one: Snapshot, other: Snapshot) -> bool:
    return all(
        getattr(one, field) == getattr(other, field)
        for field in one.__struct_fields__
        if field not in ("generation", "apps")
    )


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
        self.rest = msgspec.structs.replace(self.rest, generation=change.after)

    def let_go(self, between: Callable[[], None]) -> None:
        """Forget all apps. Where nobody else has them, to free thousands takes many milliseconds."""
        while self._apps:
            for _ in range(min(len(self._apps), APPS_AT_ONCE)):
                self._apps.popitem()
            between()

    def transports(self) -> set[str]:
        """Return the transports of its apps."""
        return {transport for transport, count in self._transports.items() if count}
