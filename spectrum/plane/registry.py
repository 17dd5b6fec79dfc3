"""The apps and listeners of one transport in a worker, and how reloads change them."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeVar

from spectrum.core.difference import Difference
from spectrum.core.names import NameSettings, name_key
from spectrum.core.records.reasons import Reason, connect_failure
from spectrum.core.server_names import ACME_TLS, ServerNames
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.engine.target import Target
from spectrum.kernel.sockets import is_wildcard
from spectrum.plane.apps import RunningApp, RunningListener
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.balancing.routes import BalancedRoute, DirectRoute, PortRoutes, Route
from spectrum.plane.loop_yield import paced

# Errors of connects that say nothing about the origin: this machine lacks a resource.
_OURS = frozenset(
    {
        Reason.NO_SOURCE_PORT,
        Reason.NO_DESCRIPTOR,
        Reason.NO_WATCH,
        Reason.SOURCE_FAMILY,
        Reason.SOURCE_FORBIDDEN,
    }
)


T = TypeVar("T")
# A listener, and the app if several share it by `sni`; otherwise "".
_Place = tuple[ListenerKey, str]


class _Wanted(NamedTuple):
    """What a snapshot wants at a key."""

    settings: AppSettings
    app: RunningApp
    offset: int
    descriptor: int  # -1: another app of the same key has it.


class Registry:
    """The running apps of a transport.

    Args:
        transport: "tcp" or "udp"; apps of the other one are ignored.
        balancers: The worker's balancers; they apply a snapshot before its apps do.
        add_listener: The engine's function: takes descriptor, slot of the app, address (empty for a wildcard), port (0
            with TPROXY); returns its number.
        remove_listener: The engine's function that stops accepting on a listener; with True, it accepts what is queued
            first.
        configured: Called with an app that is new or changed.
        equip: Called with every app of a snapshot before it accepts clients, to set what may change independently of
            its settings.
        breathe: Called between apps, when each is either in its former or in its new state.

    Attributes:
        listeners: Listeners by the engine's number: those served, and removed ones with sessions.
        changed: The apps whose counters changed since the last report.
    """

    def __init__(
        self,
        transport: str,
        balancers: Balancers,
        add_listener: Callable[[int, int, bytes, int], int],
        remove_listener: Callable[[RunningListener, bool], None],
        configured: Callable[[RunningApp], None] = lambda app: None,
        equip: Callable[[RunningApp], None] = lambda app: None,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.listeners: dict[int, RunningListener] = {}
        self.changed: set[RunningApp] = set()
        self._transport = transport
        self._balancers = balancers
        self._add_listener = add_listener
        self._remove_listener = remove_listener
        self._configured = configured
        self._equip = equip
        self._breathe = breathe
        self._apps: dict[str, RunningApp] = {}
        self._slots: dict[int, RunningApp] = {}
        self._retired: list[RunningApp] = []
        self._by_key: dict[_Place, RunningListener] = {}
        # The second part of the keys of each listener.
        self._places: dict[ListenerKey, dict[str, None]] = {}
        # Removed apps with sessions.
        self._leaving: set[RunningListener] = set()
        # Listeners that lead to the addresses of a name, and to a load balancer; and by what each of them leads.
        self._by_name: dict[str, set[RunningListener]] = {}
        self._by_balancer: dict[str, set[RunningListener]] = {}
        self._led_by: dict[RunningListener, tuple[str, tuple[str, ...]]] = {}

    def apply(
        self,
        snapshot: Snapshot,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> list[ListenerKey]:
        """Serve a snapshot.

        Args:
            snapshot: The snapshot.
            descriptors: The descriptors of the snapshot's listeners that this worker has.
            names: The known addresses of names.
            unused: Called with a listener's targets that it no longer has.

        Returns:
            The listeners that are no longer used; the caller closes their descriptors.
        """
        wanted = self._wanted(snapshot.apps, descriptors)
        gone = self._serve(wanted, list(self._by_key), names, unused)
        self._retire(list(self._apps), wanted)
        for _ in self._paced(range(len(wanted))):  # Freeing all at once takes milliseconds.
            wanted.popitem()
        return gone

    def change(
        self,
        difference: Difference,
        descriptors: Mapping[ListenerKey, int],
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> list[ListenerKey]:
        """Serve a difference. The cost does not depend on the number of other apps.

        Args:
            difference: The difference.
            descriptors, names, unused: As for `apply`.

        Returns:
            As `apply` does.
        """
        keys = difference.listeners(self._transport)
        former = [app.name for app in difference.former]
        # Apps that share a listener with these stay as they are. The one with the descriptor is first.
        beside = {listener.app.settings.name: listener.app.settings for key in keys for listener in self._at(key)}
        apps = [settings for name, settings in beside.items() if name not in former]
        current = [(key, name) for key in keys for name in self._places.get(key, ())]
        wanted = self._wanted((*apps, *difference.apps), descriptors, keys)
        gone = self._serve(wanted, current, names, unused, keys)
        self._retire([*former, *(app.name for app in difference.apps)], wanted)
        return gone

    def aim_again(
        self,
        balancers: Iterable[str],
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> set[RunningApp]:
        """Update the listeners that lead to these load balancers; return their apps.

        Args:
            balancers: Their names.
            names, unused: As for `apply`.
        """
        listeners = [listener for name in balancers for listener in self._by_balancer.get(name, ())]
        for listener in listeners:
            self._breathe()
            self._aim(listener, names, unused)
        return {listener.app for listener in listeners}

    def _aim(
        self,
        listener: RunningListener,
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None],
    ) -> None:
        if targets := listener.aim(names):
            unused(listener, targets)
        settings = listener.app.settings
        leads = settings.load_balancer, tuple({name_key(name): None for name in self._names_of(settings)})
        if leads == self._led_by.get(listener, ("", ())):
            return
        self._forget_ways(listener)
        self._led_by[listener] = leads
        for found, keys in ((self._by_balancer, filter(None, leads[:1])), (self._by_name, leads[1])):
            for key in keys:
                found.setdefault(key, set()).add(listener)

    def leaving(self) -> set[RunningListener]:
        """Return the removed listeners that have sessions."""
        return self._leaving.copy()

    def running(self, names: Iterable[str]) -> list[RunningApp]:
        """Return those of these apps that are served."""
        return [self._apps[name] for name in names if name in self._apps]

    def _serve(
        self,
        wanted: Mapping[_Place, _Wanted],
        current: Sequence[_Place],
        names: Mapping[str, tuple[str, ...]],
        unused: Callable[[RunningListener, list[Target]], None],
        keys: Collection[ListenerKey] | None = None,
    ) -> list[ListenerKey]:
        """Replace the current listeners at `keys`, or all, by the wanted ones; return those that are gone."""
        gone = [place for place in self._paced(current) if place not in wanted]
        # All removals come before additions: a descriptor is registered for one listener at a time, and removing its
        # former listener would end the registration of the new one.
        moved = {
            place
            for place in self._paced(current)
            if (want := wanted.get(place))
            and (listener := self._by_key[place])
            and (listener.app, listener.offset, listener.descriptor) != want[1:]
        }
        # Clients of listeners that moved wait, and clients of a shared port must not be accepted before its apps can be
        # distinguished.
        urgent = {
            want.app
            for place, want in self._paced(wanted.items())
            if place in moved or (place[1] and place not in self._by_key)
        }
        first = [place for place, want in self._paced(wanted.items()) if want.app in urgent]
        others = [place for place, want in self._paced(wanted.items()) if want.app not in urgent]
        for place in gone:
            self._breathe()
            self._remove(place, drain=True)
        for place in moved:
            self._remove(place, drain=False)
        served: RunningApp | None = None

        def serve(place: _Place) -> None:
            settings, app, offset, descriptor = wanted[place]
            nonlocal served
            if app is not served:
                self._configure(app, settings)
                served = app
            self._aim(self._listener(place, app, offset, descriptor), names, unused)

        for place in first:
            serve(place)
        self._tell_apart({key: None for key, name in (*gone, *first) if name})
        for place in others:
            if wanted[place].app is not served:
                self._breathe()
            serve(place)
        self._tell_apart(keys)
        kept = {key for key, _ in self._paced(wanted)} if gone else set()
        return list({key for key, _ in gone} - kept)

    def _paced(self, items: Iterable[T]) -> Iterator[T]:
        return paced(items, self._breathe)

    def _retire(self, names: Iterable[str], wanted: Mapping[_Place, _Wanted]) -> None:
        """Remove those of these apps that have no listener any more, once their sessions have ended."""
        serving = {want.settings.name for want in self._paced(wanted.values())}
        for name in self._paced(names):
            if name not in serving and (app := self._apps.pop(name, None)) is not None:
                self._retired.append(app)

    def _wanted(
        self,
        apps: Sequence[AppSettings],
        descriptors: Mapping[ListenerKey, int],
        keys: Collection[ListenerKey] | None = None,
    ) -> dict[_Place, _Wanted]:
        """Return what some apps want at `keys`, or at all keys."""
        own = [settings for settings in self._paced(apps) if settings.transport == self._transport]
        named = (settings for settings in self._paced(own) if settings.sni or settings.alpn)
        shared = {key for settings in named for key, _ in settings.listeners()}
        wanted: dict[_Place, _Wanted] = {}
        held: set[ListenerKey] = set()
        for settings in own:
            self._breathe()
            app = self._app(settings)
            for key, offset in settings.listeners():
                if key in descriptors and (keys is None or key in keys):
                    descriptor = -1 if key in held else descriptors[key]
                    wanted[key, settings.name if key in shared else ""] = _Wanted(settings, app, offset, descriptor)
                    held.add(key)
        return wanted

    def _at(self, key: ListenerKey) -> list[RunningListener]:
        """Return what is served at a listener; the one with the descriptor is first."""
        listeners = [self._by_key[key, name] for name in self._places.get(key, ())]
        return sorted(listeners, key=lambda listener: not listener.holds)

    def _tell_apart(self, keys: Collection[ListenerKey] | None) -> None:
        """Let the listener with the descriptor of a shared key know the others, at `keys` or all. This includes removed
        ones: clients whose ClientHello is incomplete belong to the apps that serve now.

        Removed ones too: clients whose ClientHello they wait for are for those that serve now.
        """
        sharing: dict[ListenerKey, list[RunningListener]] = {}
        served = self._by_key.values() if keys is None else [one for key in keys for one in self._at(key)]
        pace = self._paced if keys is None else iter
        for listener in pace(served):
            if (listener.key, "") not in self._by_key:
                sharing.setdefault(listener.key, []).append(listener)
        found = {
            key: ServerNames((one.app.settings.sni, alpn, one) for one, alpn in _with_protocols(listeners))
            for key, listeners in sharing.items()
        }
        leaving = [one for one in self._leaving if keys is None or one.key in keys]
        for listener in [one for one in pace((*served, *leaving)) if one.names is not None or one.key in found]:
            if not listener.removed:
                listener.names = found.get(listener.key) if listener.holds else None
            elif listener.names is not None and (only := self._by_key.get((listener.key, ""))):
                listener.names = ServerNames([((), (), only)])
            else:
                listener.names = found.get(listener.key, listener.names)

    def _names_of(self, settings: AppSettings) -> Iterator[NameSettings]:
        """Yield the names of an app's origins."""
        if settings.origin_name is not None:
            yield settings.origin_name
        if settings.load_balancer:
            for view in self._balancers[settings.load_balancer].core.views.values():
                yield from (origin.dns for origin in view.settings.origins if origin.dns is not None)

    def _forget_ways(self, listener: RunningListener) -> None:
        """Remove a listener from the index of names and load balancers."""
        balancer, names = self._led_by.pop(listener, ("", ()))
        for found, keys in ((self._by_balancer, filter(None, (balancer,))), (self._by_name, names)):
            for key in keys:
                found[key].discard(listener)
                if not found[key]:
                    del found[key]

    def _app(self, settings: AppSettings) -> RunningApp:
        """Return the app of these settings: a new one, or the running one, which still has its former settings."""
        app = self._apps.get(settings.name)
        if app is None:
            app = self._apps[settings.name] = RunningApp(self._free_slot(), settings, self._balancers)
            self._slots[app.slot] = app
            self._configured(app)
        return app

    def _configure(self, app: RunningApp, settings: AppSettings) -> None:
        if app.settings != settings:
            app.configure(settings)
            self._configured(app)
        self._equip(app)

    def _free_slot(self) -> int:
        """Return a slot without sessions: that of a removed app whose sessions have ended, or a new one."""
        for app in self._retired:
            if not app.open and app not in self.changed:
                self._retired.remove(app)
                return app.slot
        return len(self._slots)

    def _listener(self, place: _Place, app: RunningApp, offset: int, descriptor: int) -> RunningListener:
        listener, key = self._by_key.get(place), place[0]
        if listener is not None:
            if not isinstance(listener.route, _kind_of(app.settings, key)):
                listener.lead(self._route(app, key, offset))
            return listener
        listener = RunningListener(app, key, offset, self._route(app, key, offset), descriptor)
        address = b"" if key.transparent or is_wildcard(key.address) else ip_address(key.address).packed
        listener.number = self._add_listener(descriptor, app.slot, address, 0 if key.transparent else key.port)
        self.listeners[listener.number] = self._by_key[place] = listener
        self._places.setdefault(key, {})[place[1]] = None
        app.listeners.add(listener)
        return listener

    def _route(self, app: RunningApp, key: ListenerKey, offset: int) -> Route:
        if key.transparent:
            return PortRoutes(lambda port: self._port_route(app, app.settings.offset_of(port), port))
        return self._port_route(app, offset, key.port)

    def _port_route(self, app: RunningApp, offset: int, port: int) -> Route:
        if app.settings.load_balancer:
            return BalancedRoute(offset, port, self._balancers)
        return DirectRoute(offset, self._balancers)

    def _remove(self, place: _Place, drain: bool) -> None:
        listener, (key, name) = self._by_key.pop(place), place
        del self._places[key][name]
        if not self._places[key]:
            del self._places[key]
        self._forget_ways(listener)
        self._remove_listener(listener, drain)
        listener.removed = True
        self._leaving.add(listener)
        listener.app.listeners.discard(listener)
        targets = listener.route.targets()
        for target in targets:
            target.close_spares()
        listener.app.take_connected(targets)
        if not listener.open:
            self._forget(listener)

    def remove_all(self) -> None:
        """Accept what waits in the kernel's queues, then nothing more."""
        for place in tuple(self._by_key):
            self._remove(place, drain=True)

    def resolve(
        self,
        names: Mapping[str, tuple[str, ...]],
        changed: Iterable[str],
        unused: Callable[[RunningListener, list[Target]], None] = lambda listener, targets: None,
    ) -> None:
        """Apply new addresses of the names `changed`; `unused` as for `apply`."""
        for name in changed:
            for listener in self._by_name.get(name, ()):
                if targets := listener.aim(names):
                    unused(listener, targets)

    def count_failure(self, number: int, target: Target, error: int) -> None:
        """Count that `target` of listener `number` could not be reached, or refused, with errno `error`."""
        app = self.listeners[number].app
        failure = connect_failure(error)
        reason = failure.label
        app.take_connected((target,))  # Successes before it.
        app.measures.origin(target.name, target.number).fail(reason)
        self.changed.add(app)
        if target.number and failure not in _OURS:
            self._balancers.failed(target.number, reason)

    def holder(self, balancer: str, number: int) -> Callable[[], set[Target]]:
        """Return a function that returns the targets of a load balancer's origin, including those that are created
        later, for clients that affinity sends to a disabled origin.
        """
        held = self.targets_to({number}, balancer)
        return lambda: held | self.targets_to({number}, balancer)

    def take_connects(self) -> None:
        """Note the engine's connects to origins of load balancers."""
        for app in self.changed:
            if app.settings.load_balancer:
                for listener in app.listeners:
                    app.take_connected(listener.route.targets())

    def targets_to(self, numbers: set[int], balancer: str = "") -> set[Target]:
        """Return the targets in use of origins with these numbers, of one load balancer or of any."""
        led = self._by_balancer.values() if not balancer else [self._by_balancer.get(balancer, ())]
        return {target for listeners in led for listener in listeners for target in listener.route.targets_of(numbers)}

    def takes(self, listener: RunningListener) -> bool:
        """Return whether a session may be assigned to a listener: its app must still have its slot."""
        return self._slots[listener.app.slot] is listener.app

    def enter(self, listener: RunningListener) -> None:
        """Count a session for `listener`, which `takes` it."""
        listener.app.open += 1
        listener.open += 1
        self.listeners[listener.number] = listener
        if listener.removed:
            self._leaving.add(listener)

    def leave(self, listener: RunningListener, count: int = 1) -> None:
        """Count ended sessions of `listener`."""
        listener.app.open -= count
        listener.open -= count
        if listener.removed and not listener.open:
            self._forget(listener)

    def _forget(self, listener: RunningListener) -> None:
        self.listeners.pop(listener.number, None)
        self._leaving.discard(listener)
        listener.names = None  # They refer to it: no reference cycle may stay.

    def apps(self) -> set[RunningApp]:
        """Return the apps that are served, and removed ones with sessions."""
        return {listener.app for listener in self.listeners.values()}

    def in_slot(self, slot: int) -> RunningApp:
        """Return the app of a slot."""
        return self._slots[slot]

    def is_own(self, address: bytes, port: int, local: Callable[[], Container[IPv4Address | IPv6Address]]) -> bool:
        """Return whether packets to an address and port would reach one of these listeners.

        Args:
            address: An address of 4 or 16 bytes.
            port: A port.
            local: Returns the addresses that this machine has; its loopback need not be among them.

        Addresses of TPROXY are not included: only packets from outside reach these.
        """
        parsed = ip_address(address)
        for candidate in (str(parsed), "::" if len(address) == 16 else "0.0.0.0", ""):
            if (ListenerKey(candidate, port, self._transport), "") in self._by_key and (
                candidate == str(parsed) or parsed.is_loopback or parsed in local()
            ):
                return True
        return any(
            key.app and (":" in key.address) == (len(address) == 16) and listener.app.is_bound(address, port)
            for (key, _), listener in self._by_key.items()
        )

    def find(self, address: str, port: int) -> RunningListener | None:
        """Return the listener that receives packets to an address and port of this machine."""
        any_address = "::" if ":" in address else "0.0.0.0"
        for candidate in (address, any_address, ""):
            listener = self._by_key.get((ListenerKey(candidate, port, self._transport), ""))
            if listener is not None:
                return listener
        return self._find_intercepted(address, port)

    def _find_intercepted(self, address: str, port: int) -> RunningListener | None:
        edge = ip_address(address).packed
        for (key, _), listener in self._by_key.items():
            if key.transparent and (":" in key.address) == (len(edge) == 16) and listener.app.is_sent_to(edge, port):
                return listener
        return None


def _with_protocols(listeners: Sequence[RunningListener]) -> Iterator[tuple[RunningListener, tuple[str, ...]]]:
    """Yield listeners that share a port, with the ALPN protocols that select them. Apps that terminate TLS answer
    certificate authorities, too (RFC 8737), unless another app is for that alone.

    Apps that end TLS answer certificate authorities, too (RFC 8737), unless an app is there for that alone.
    """
    is_given = any(ACME_TLS in one.app.settings.alpn for one in listeners)
    for one in listeners:
        alpn = one.app.settings.alpn
        answers = bool(alpn) and one.app.settings.tls is not None and not is_given
        yield one, (*alpn, ACME_TLS) if answers else alpn


def _kind_of(settings: AppSettings, key: ListenerKey) -> type[Route]:
    if key.transparent:
        return PortRoutes
    return BalancedRoute if settings.load_balancer else DirectRoute
