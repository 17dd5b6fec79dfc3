"""The listening sockets. The supervisor owns them, so no connection is refused while a worker is replaced."""

import errno
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

import msgspec

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.core.configuration.faults import Fault, Path
from spectrum.core.placement import placement
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.kernel.sockets import (
    ListenError,
    adapt_listener,
    add_listener,
    descriptor_limit,
    keepalive_options,
    may_listen,
    open_listeners,
)
from spectrum.kernel.steering import place_datagrams
from spectrum.kernel.tcp import default_congestion_control, tune_listener
from spectrum.link.succession import Handover
from spectrum.tasks import in_background

log = logging.getLogger(__name__)

# Descriptors of the supervisor other than listening sockets.
RESERVED_DESCRIPTORS = 128
# The wildcard addresses, of one family each.
_BY_FAMILY = ("0.0.0.0", "::")
_Held = dict[tuple[str, int], dict[ListenerKey, None]]


def sockets_per_listener(listeners: int, workers: int, descriptor_limit: int) -> int:
    """Return how many sockets each listener gets: one per worker, or one for all if the descriptor limit does not allow
    that many.

    With one per worker the kernel spreads connections evenly (SO_REUSEPORT); one socket for all workers goes to
    whichever wakes first.
    """
    return workers if listeners * workers + RESERVED_DESCRIPTORS <= descriptor_limit else 1


def _summary(errors: Sequence[ListenError]) -> str:
    """Return one message for all faults of an app's listeners, whatever the size of its range."""
    first, last = errors[0], errors[-1]
    if len(errors) == 1:
        return str(first)
    return f"{first.where} to {last.where} ({len(errors)} listeners): {first.reason}"


def _one_more(key: ListenerKey, others: list[socket.socket]) -> socket.socket:
    """Return another socket of a listener; with an ephemeral port, on the port of the others."""
    port: int = key.port or others[0].getsockname()[1]
    return add_listener(key.address, port, key.transport, key.transparent)


class AppListenError(ListenError):
    """Listeners of apps cannot be opened.

    Attributes:
        faults: The reasons, each with its place in the file.
    """

    def __init__(self, message: str, faults: Sequence[Fault]) -> None:
        super().__init__(message)
        self.faults = faults


def _place_of(error: ListenError, app: AppSettings, key: ListenerKey) -> Path:
    """Return the place in an app of what a fault of one of its listeners is about."""
    cause = error.__cause__
    is_of_address = isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL and key.address in app.addresses
    return ("edge_ips", app.addresses.index(key.address)) if is_of_address else ("protocol",)


class ListenerBank:
    """The open listening sockets, by listener and worker.

    One thread at a time changes it; others may read what is open meanwhile, and the loop what `descriptors` returns.

    Args:
        enlarge: Called with the descriptors of UDP sockets that are new: their queues are to be as long as may be.
    """

    def __init__(self, enlarge: Callable[[Sequence[int]], None] = lambda sockets: None) -> None:
        self._enlarge = enlarge
        # A secret, so that clients cannot choose their worker.
        self._placement_key = secrets.randbits(32)
        self._sockets: dict[ListenerKey, list[socket.socket]] = {}
        # Adopted sockets, by the number of the worker that served them under the previous supervisor.
        self._adopted: dict[ListenerKey, dict[int, socket.socket]] = {}
        # Of both, those that hold a port, by transport and port; and how many are on a wildcard address of one family.
        self._held: _Held = {}
        self._of_family = 0

    def open(self, apps: Iterable[AppSettings], count: int) -> list[ListenerKey]:
        """Open the listeners that apps need and that are not open, `count` sockets each; return those listeners.

        Raises:
            AppListenError: With a line for each app and reason; none of the listeners is open then.
        """
        opened: list[ListenerKey] = []
        errors: dict[tuple[str, Path, str], list[ListenError]] = {}
        for app in apps:
            for key, _ in app.listeners():
                if key not in self._sockets:
                    try:
                        self._sockets[key] = self._open(key, count, self._beside(key))
                        opened.append(key)
                    except ListenError as exc:
                        errors.setdefault((app.name, _place_of(exc, app, key), exc.reason), []).append(exc)
        for key in opened:
            self._hold(key)
        if errors:
            self.close(opened)
            message = "\n".join(f"app {app}: {_summary(each)}" for (app, _, _), each in errors.items())
            faults = [Fault(("apps", app, *place), _summary(each)) for (app, place, _), each in errors.items()]
            raise AppListenError(message, faults)
        self._enlarge([sock.fileno() for key in opened if key.transport == "udp" for sock in self._sockets[key]])
        return opened

    def _hold(self, key: ListenerKey) -> None:
        """Note that a listener is open."""
        if key.port and key not in self._held.get(key.place, ()):
            self._held.setdefault(key.place, {})[key] = None
            self._of_family += key.address in _BY_FAMILY

    def _let_go(self, key: ListenerKey) -> None:
        """Note that a listener is closed."""
        if key.port and key not in self._sockets and key not in self._adopted:
            del self._held[key.place][key]
            self._of_family -= key.address in _BY_FAMILY
            if not self._held[key.place]:
                del self._held[key.place]

    def _beside(self, key: ListenerKey) -> list[socket.socket]:
        """Return open sockets that overlap with a listener, and that close with the snapshot without them."""
        keys = [one for one in self._held.get(key.place, ()) if key.overlaps(one)]
        return [sock for one in keys for sock in self._sockets.get(one) or self._adopted.get(one, {}).values()]

    def fit(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot whose apps on a wildcard address use sockets of one family that are open already. systemd
        keeps sockets that it passed open: connections to 0.0.0.0 would wait in such a socket for ever, if a socket of
        both families were opened beside it. Such an app uses that socket, and one of the other family if it can be
        opened.
        """
        if not self._of_family:
            return snapshot
        apps = []
        for app in snapshot.apps:
            families = self._families(app) if not app.addresses else ()
            apps.append(msgspec.structs.replace(app, addresses=families) if families else app)
        return msgspec.structs.replace(snapshot, apps=tuple(apps))

    def _families(self, app: AppSettings) -> tuple[str, ...]:
        """Return the addresses of each family that replace an app's wildcard address; none if that is not needed."""
        held = self._held
        keys = [key for key, _ in app.listeners() if not key.address and key not in held.get(key.place, ())]
        found = {one for key in keys for one in _BY_FAMILY if key.with_address(one) in held.get(key.place, ())}
        if not found:
            return ()
        for other in set(_BY_FAMILY) - found:
            if all(self._may_listen(key.with_address(other)) for key in keys):
                found.add(other)
            else:
                log.warning(
                    "app %s listens on %s only, which was open already: %s may not be opened beside it; a .socket unit "
                    "with ListenStream=%d passes both families",
                    app.name,
                    *found,
                    other,
                    app.first_port,
                )
        return tuple(sorted(found))

    def _may_listen(self, key: ListenerKey) -> bool:
        return key in self._held.get(key.place, ()) or may_listen(
            key.address, key.port, key.transport, self._beside(key)
        )

    def adopt(self, worker: int, sockets: dict[ListenerKey, socket.socket]) -> None:
        """Keep the sockets of a worker that is taken over: `open` uses them, and opens only those that are missing."""
        for key, sock in sockets.items():
            of_key = self._adopted.setdefault(key, {})
            self._hold(key)
            if worker in of_key:  # systemd passed them again, after the previous supervisor was killed.
                of_key[worker].close()
            of_key[worker] = sock

    def by_worker(self) -> Iterator[tuple[int, ListenerKey, int]]:
        """Yield the descriptor of each socket, with the number of the worker that serves it, for `adopt`."""
        for key, sockets in self._sockets.items():
            for worker, sock in enumerate(sockets):
                yield worker, key, sock.fileno()

    def adopt_passed(self, sockets: Iterable[socket.socket]) -> None:
        """Keep sockets that systemd opened: those of an app's listeners are used, for all workers or for the first."""
        for sock in sockets:
            found = adapt_listener(sock)
            if found is None:
                log.warning("systemd passed a socket that is not a listening TCP or UDP socket: %s", sock)
                sock.close()
            else:
                self.adopt(0, {ListenerKey(*found): sock})

    def drop_adopted(self) -> None:
        """Close adopted sockets that are not used."""
        if self._adopted:
            log.warning(
                "no app listens on %s: closing the socket that was passed or taken over",
                ", ".join(map(str, self._adopted)),
            )
        while self._adopted:
            key, sockets = self._adopted.popitem()
            self._let_go(key)
            for sock in sockets.values():
                sock.close()

    def _open(self, key: ListenerKey, count: int, beside: Sequence[socket.socket]) -> list[socket.socket]:
        adopted = self._adopted.pop(key, {})
        if not adopted:
            self._sockets[key] = open_listeners(key.address, key.port, count, key.transport, key.transparent, beside)
            self._place(key)
            return self._sockets[key]
        sockets: list[socket.socket] = []
        missing = [number for number in range(count) if number not in adopted]
        try:
            # Its position is the worker's number: the kernel sends a worker's clients to its socket.
            for number in range(count):
                if number in adopted:
                    sockets.append(adopted.pop(number))
                else:
                    sockets.append(_one_more(key, sockets or list(adopted.values())))
        except ListenError:  # It was one socket for all workers, without SO_REUSEPORT.
            missing = []
            sockets = sockets or [adopted.popitem()[1]]
        for sock in adopted.values():
            sock.close()
        self._sockets[key] = sockets
        if missing:
            self._place(key)
        return sockets

    def _place(self, key: ListenerKey) -> None:
        """Keep flows on their worker as far as possible when the number of workers changes."""
        sockets = self._sockets[key]
        if key.transport != "udp" or len(sockets) == 1:
            return
        try:
            place_datagrams(sockets[0], placement(len(sockets)), self._placement_key)
        except OSError as exc:
            log.warning("%s: the kernel spreads clients by its own hash (%s)", key, exc.strerror)

    def tune(self, apps: Iterable[AppSettings]) -> None:
        """Set the options of each TCP app on its sockets: keepalive, and those of `tcp.client`.

        Raises:
            AppListenError: If the kernel refuses one.
        """
        default = default_congestion_control()
        for app in apps:
            if app.transport != "tcp":
                continue
            options = (app.keepalive_idle_s, app.keepalive_interval_s, app.keepalive_count, app.user_timeout_ms)
            for key, _ in app.listeners():
                try:
                    for sock in self._sockets[key]:
                        keepalive_options(sock, *options)
                        tune_listener(sock, app.client_tcp, default)
                except OSError as exc:
                    fault = Fault(("apps", app.name, "tcp", "client"), f"{key}: {exc.strerror}")
                    raise AppListenError(f"app {app.name}: {key}: tcp.client: {exc.strerror}", [fault]) from exc

    def descriptors(self, keys: Iterable[ListenerKey], worker: int, workers: int) -> dict[ListenerKey, int]:
        """Return the descriptors of `keys` for worker number `worker` of `workers`.

        A TCP listener with one socket is shared by all. A UDP one belongs to one worker: on a shared socket the
        datagrams of a flow would go to whichever worker wakes first.
        """
        chosen = {}
        for key in keys:
            sockets = self._sockets[key]
            if worker >= len(sockets) > 1:
                sockets.append(_one_more(key, sockets))
                self._place(key)
                if key.transport == "udp":
                    self._enlarge([sockets[-1].fileno()])
            if len(sockets) > 1 or key.transport == "tcp" or key.port % workers == worker:
                chosen[key] = sockets[worker % len(sockets)].fileno()
        return chosen

    def first(self, key: ListenerKey) -> socket.socket:
        """Return a socket of a listener, which stands for all of them in the kernel (SO_REUSEPORT)."""
        return self._sockets[key][0]

    def close(self, keys: Iterable[ListenerKey]) -> None:
        """Close the sockets of `keys`."""
        for key in keys:
            for sock in self._sockets.pop(key):
                sock.close()
            self._let_go(key)

    def keys(self) -> set[ListenerKey]:
        """Return the open listeners."""
        return set(self._sockets)


def _apps_of(change: Change, plan: Plan) -> tuple[AppSettings, ...]:
    """Return the apps of one of the plans of a change; if possible only those that differ."""
    if change.difference is None:
        return plan.snapshot.apps
    return change.difference.apps if plan is change.after else change.difference.former


async def _beside_sessions(change: Change, step: Callable[[], None]) -> None:
    """Do a step of a change; where it goes over all apps while they are served, in a thread."""
    if change.difference is None and not change.is_first:
        await in_background(step)
    else:
        step()


def _keys_of(apps: Iterable[AppSettings]) -> Iterator[ListenerKey]:
    return (key for app in apps for key, _ in app.listeners())


class ListenersActor(Actor):
    """Opens the listeners of a configuration, and sets their options.

    Args:
        bank: Owns the sockets.
        workers: How many workers there are.
    """

    def __init__(self, bank: ListenerBank, workers: int) -> None:
        self._bank = bank
        self._workers = workers
        self._sockets_each = 1
        self._opened: list[ListenerKey] = []
        # How many apps use each listener, in the configuration that is served.
        self._apps_at: Counter[ListenerKey] = Counter()

    async def prepare(self, change: Change) -> None:
        """Open new listeners beside those that are served.

        Raises:
            RolloutError: If an address cannot be listened on.
        """
        self._opened = []
        if change.is_first:
            self._share_out(len(change.after.snapshot.listener_keys()))

        def have() -> None:
            self._opened = self._bank.open(_apps_of(change, change.after), self._sockets_each)
            self._bank.tune(_apps_of(change, change.after))

        try:
            await _beside_sessions(change, have)
        except ListenError as exc:
            raise RolloutError(str(exc), exc.faults if isinstance(exc, AppListenError) else ()) from exc
        if change.is_first:
            self._bank.drop_adopted()

    def _share_out(self, listeners: int) -> None:
        """Choose how many sockets each listener gets."""
        limit = descriptor_limit()
        self._sockets_each = sockets_per_listener(listeners, self._workers, limit)
        if self._sockets_each < self._workers:
            log.warning(
                "%d listeners for %d workers need more than the limit of %d descriptors: workers share each listener, "
                "less evenly; raise the limit (LimitNOFILE=, ulimit -n)",
                listeners,
                self._workers,
                limit,
            )
        if listeners * 2 > limit:
            log.warning("%d listeners leave room for few sessions below the limit of %d descriptors", listeners, limit)

    async def abort(self, change: Change) -> None:
        """Close what was opened; the other sockets get their former options."""
        try:
            await _beside_sessions(change, lambda: self._bank.tune(_apps_of(change, change.before)))
        finally:
            self._bank.close(self._opened)
            self._opened = []

    async def release(self, change: Change) -> None:
        """Close the listeners that are no longer used."""
        if change.difference is None:
            await _beside_sessions(change, lambda: self._release_all(change.after.snapshot))
            return
        self._apps_at.subtract(_keys_of(change.difference.former))
        self._apps_at.update(_keys_of(change.difference.apps))
        gone = [key for key in change.difference.listeners() if self._apps_at[key] <= 0]
        for key in gone:
            del self._apps_at[key]
        self._bank.close(gone)

    def _release_all(self, snapshot: Snapshot) -> None:
        self._apps_at = Counter(_keys_of(snapshot.apps))
        self._bank.close(self._bank.keys() - self._apps_at.keys())

    async def give(self, handover: Handover, opened: ExitStack) -> None:
        """Hand over the sockets."""
        handover.listeners += self._bank.by_worker()

    async def restore(self, plan: Plan) -> None:
        """Set the options of the sockets."""
        self._bank.tune(plan.snapshot.apps)

    async def drain(self) -> None:
        """Close all; workers accept what is queued."""
        self._bank.close(self._bank.keys())

    async def close(self) -> None:
        """Close all."""
        self._bank.close(self._bank.keys())
