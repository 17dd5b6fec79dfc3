"""The apps and listeners of one transport in a worker, and what a reload does to them."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from spectrum.core.names import name_key
from spectrum.core.reasons import connect_failure
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.engine.target import Target
from spectrum.kernel.sockets import is_wildcard
from spectrum.plane.apps import RunningApp, RunningListener


class Registry:
    """The running apps of a transport.

    Args:
        transport: "tcp" or "udp"; apps of the other one are passed over.
        add_listener: The engine's: descriptor, slot of the app, address (empty for a wildcard), port; gives its number.
        remove_listener: Takes nothing more from a listener; with True, of what waits in its queue it takes the rest.

    Attributes:
        listeners: By the engine's number: those that are served, and removed ones while they have sessions.
        changed: The apps of which something was counted since the last report.
    """

    def __init__(
        self,
        transport: str,
        add_listener: Callable[[int, int, bytes, int], int],
        remove_listener: Callable[[RunningListener, bool], None],
    ) -> None:
        self.listeners: dict[int, RunningListener] = {}
        self.changed: set[RunningApp] = set()
        self._transport = transport
        self._add_listener = add_listener
        self._remove_listener = remove_listener
        self._apps: dict[str, RunningApp] = {}
        self._slots: dict[int, RunningApp] = {}
        self._retired: list[RunningApp] = []
        self._by_key: dict[ListenerKey, RunningListener] = {}
        self._by_name: dict[str, set[RunningListener]] = {}

    def apply(
        self,
        snapshot: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> list[ListenerKey]:
        """Serve a snapshot.

        Args:
            snapshot: What to serve.
            descriptors: The descriptors of the snapshot's listeners, as far as they are this worker's.
            names: The addresses of names, as far as they are known.
            unused: Called with a listener's targets that it does not lead to any more.

        Returns:
            The listeners that are not used any more; the caller closes their descriptors.
        """
        wanted: dict[ListenerKey, tuple[RunningApp, int]] = {}
        for settings in snapshot.apps:
            if settings.transport == self._transport:
                app = self._app(settings)
                wanted.update((key, (app, offset)) for key, offset in settings.listeners() if key in descriptors)
        gone = [key for key in self._by_key if key not in wanted]
        for key in gone:
            self._remove(key, drain=True)
        self._by_name.clear()
        for key, (app, offset) in wanted.items():
            listener = self._listener(key, app, offset, descriptors)
            if targets := listener.aim(names):
                unused(listener, targets)
            if app.settings.origin_name is not None:
                self._by_name.setdefault(name_key(app.settings.origin_name), set()).add(listener)
        kept = {app.settings.name for app, _ in wanted.values()}
        self._retired += [app for name, app in self._apps.items() if name not in kept]
        self._apps = {name: app for name, app in self._apps.items() if name in kept}
        return gone

    def _app(self, settings: AppSettings) -> RunningApp:
        app = self._apps.get(settings.name)
        if app is None:
            app = self._apps[settings.name] = RunningApp(self._free_slot(), settings)
            self._slots[app.slot] = app
        elif app.settings != settings:
            app.configure(settings)
        return app

    def _free_slot(self) -> int:
        """Return a slot that no session counts on: one of a removed app whose sessions are over, or a new one."""
        for app in self._retired:
            if not app.open and app not in self.changed:
                self._retired.remove(app)
                return app.slot
        return len(self._slots)

    def _listener(
        self, key: ListenerKey, app: RunningApp, offset: int, descriptors: Mapping[ListenerKey, int]
    ) -> RunningListener:
        listener = self._by_key.get(key)
        if listener is not None and listener.app is app and listener.offset == offset:
            return listener
        if listener is not None:
            self._remove(key, drain=False)
        listener = RunningListener(app, key, offset)
        address = b"" if is_wildcard(key.address) else ip_address(key.address).packed
        listener.number = self._add_listener(descriptors[key], app.slot, address, key.port)
        self.listeners[listener.number] = self._by_key[key] = listener
        app.listeners.add(listener)
        return listener

    def _remove(self, key: ListenerKey, drain: bool) -> None:
        listener = self._by_key.pop(key)
        self._remove_listener(listener, drain)
        listener.removed = True
        listener.app.listeners.discard(listener)
        listener.app.take_connected(listener.targets())
        if not listener.open:
            self.listeners.pop(listener.number, None)

    def remove_all(self) -> None:
        """Take what waits in the kernel's queues, then nothing more."""
        for key in tuple(self._by_key):
            self._remove(key, drain=True)

    def resolve(
        self,
        names: Mapping[str, tuple[str, ...]],
        changed: Iterable[str],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> None:
        """Take new addresses of the names `changed`; `unused` as for `apply`."""
        for name in changed:
            for listener in self._by_name.get(name, ()):
                if targets := listener.aim(names):
                    unused(listener, targets)

    def count_failure(self, number: int, target: Target, error: int) -> None:
        """Count that `target` of listener `number` could not be reached, or refused, with errno `error`."""
        app = self.listeners[number].app
        measures = app.measures.origin(target.name)
        measures.failed += 1
        measures.last_failure = connect_failure(error).label
        self.changed.add(app)

    def leave(self, listener: RunningListener) -> None:
        """A session of `listener` is over."""
        listener.app.open -= 1
        listener.open -= 1
        if listener.removed and not listener.open:
            del self.listeners[listener.number]

    def in_slot(self, slot: int) -> RunningApp:
        """Return the app of a slot."""
        return self._slots[slot]

    def find(self, address: str, port: int) -> RunningListener | None:
        """Return the listener that takes what is sent to an address and port of this machine."""
        any_address = "::" if ":" in address else "0.0.0.0"
        for candidate in (address, any_address, ""):
            listener = self._by_key.get(ListenerKey(candidate, port, self._transport))
            if listener is not None:
                return listener
        return None
