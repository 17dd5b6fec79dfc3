"""The listening sockets. The supervisor owns them, so no connection is refused while a worker is replaced."""

import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

import msgspec

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
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
from spectrum.link.succession import Heritage

log = logging.getLogger(__name__)

# Descriptors of the supervisor that are not listening sockets.
RESERVED_DESCRIPTORS = 128
# Every address, of one family each.
_BY_FAMILY = ("0.0.0.0", "::")
_Held = dict[tuple[str, int], list[ListenerKey]]


def sockets_per_listener(listeners: int, workers: int, descriptor_limit: int) -> int:
    """Return how many sockets each listener gets: one per worker, or one for all where that many cannot be open.

    With one per worker the kernel spreads connections evenly (SO_REUSEPORT); one socket for all workers goes to
    whichever wakes first.
    """
    return workers if listeners * workers + RESERVED_DESCRIPTORS <= descriptor_limit else 1


def _summary(errors: Sequence[ListenError]) -> str:
    """Say once what keeps an app's listeners from being opened, however many its range has."""
    first, last = errors[0], errors[-1]
    if len(errors) == 1:
        return str(first)
    return f"{first.where} to {last.where} ({len(errors)} listeners): {first.reason}"


def _one_more(key: ListenerKey, others: list[socket.socket]) -> socket.socket:
    """Return one more socket beside others of a listener; where it has any port, with theirs."""
    port: int = key.port or others[0].getsockname()[1]
    return add_listener(key.address, port, key.transport, key.transparent)


class ListenerBank:
    """The open listening sockets, by listener and worker.

    Args:
        enlarge: Called with the descriptors of UDP sockets that are new: their queues are to be as long as may be.
    """

    def __init__(self, enlarge: Callable[[Sequence[int]], None] = lambda sockets: None) -> None:
        self._enlarge = enlarge
        # A secret, so that clients cannot choose their worker.
        self._placement_key = secrets.randbits(32)
        self._sockets: dict[ListenerKey, list[socket.socket]] = {}
        # By the number of the worker that served them under the supervisor before this one.
        self._adopted: dict[ListenerKey, dict[int, socket.socket]] = {}

    def open(self, snapshot: Snapshot, count: int) -> list[ListenerKey]:
        """Open what `snapshot` needs and is not open yet, `count` sockets each; return those listeners.

        Raises:
            ListenError: With a line for each app and reason; none of the listeners is open then.
        """
        opened: list[ListenerKey] = []
        errors: dict[tuple[str, str], list[ListenError]] = {}
        held = self._by_port()
        for app in snapshot.apps:
            for key, _ in app.listeners():
                if key not in self._sockets:
                    try:
                        self._sockets[key] = self._open(key, count, self._beside(key, held))
                        opened.append(key)
                    except ListenError as exc:
                        errors.setdefault((app.name, exc.reason), []).append(exc)
        if errors:
            self.close(opened)
            raise ListenError("\n".join(f"app {app}: {_summary(each)}" for (app, _), each in errors.items()))
        self._enlarge([sock.fileno() for key in opened if key.transport == "udp" for sock in self._sockets[key]])
        return opened

    def _by_port(self) -> _Held:
        """Return the listeners that hold a port, by transport and port."""
        found: _Held = {}
        for key in {*self._sockets, *self._adopted}:
            if key.port:
                found.setdefault(key.place, []).append(key)
        return found

    def _beside(self, key: ListenerKey, held: _Held) -> list[socket.socket]:
        """Return our sockets that overlap a listener, and that are closed when the snapshot without them is served."""
        keys = [one for one in held.get(key.place, ()) if key.overlaps(one)]
        return [sock for one in keys for sock in self._sockets.get(one) or self._adopted.get(one, {}).values()]

    def fit(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot whose apps on every address use what is open of one family already.

        systemd keeps a socket that it passed open: what is sent to 0.0.0.0 would wait there for ever, were a socket of
        both families opened beside it. Such an app is served by it, and by a socket of the other family where that one
        may be opened.
        """
        held, apps = self._by_port(), []
        for app in snapshot.apps:
            families = self._families(app, held)
            apps.append(msgspec.structs.replace(app, addresses=families) if families else app)
        return msgspec.structs.replace(snapshot, apps=tuple(apps))

    def _families(self, app: AppSettings, held: _Held) -> tuple[str, ...]:
        """Return the addresses that stand for an app's every address; none where it needs no such thing."""
        keys = [key for key, _ in app.listeners() if not key.address and key not in held.get(key.place, ())]
        found = {one for key in keys for one in _BY_FAMILY if key.at(one) in held.get(key.place, ())}
        if not found:
            return ()
        for other in set(_BY_FAMILY) - found:
            if all(self._may_listen(key.at(other), held) for key in keys):
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

    def _may_listen(self, key: ListenerKey, held: _Held) -> bool:
        return key in held.get(key.place, ()) or may_listen(
            key.address, key.port, key.transport, self._beside(key, held)
        )

    def adopt(self, worker: int, sockets: dict[ListenerKey, socket.socket]) -> None:
        """Keep the sockets of a worker that is taken over: `open` uses them, and opens only what is missing."""
        for key, sock in sockets.items():
            of_key = self._adopted.setdefault(key, {})
            if worker in of_key:  # passed by systemd again, after this supervisor's predecessor was killed
                of_key[worker].close()
            of_key[worker] = sock

    def by_worker(self) -> Iterator[tuple[int, ListenerKey, int]]:
        """Yield the descriptor of each socket, with the number of the worker that serves it: what `adopt` takes."""
        for key, sockets in self._sockets.items():
            for worker, sock in enumerate(sockets):
                yield worker, key, sock.fileno()

    def adopt_passed(self, sockets: Iterable[socket.socket]) -> None:
        """Keep sockets that systemd opened: those that an app listens on are used, for all workers or for the first."""
        for sock in sockets:
            found = adapt_listener(sock)
            if found is None:
                log.warning("a socket that was passed is no listening TCP or UDP one: %s", sock)
                sock.close()
            else:
                self.adopt(0, {ListenerKey(*found): sock})

    def drop_adopted(self) -> None:
        """Close what was adopted and not used."""
        if self._adopted:
            log.warning(
                "no app listens on %s: closing what was passed or taken over", ", ".join(map(str, self._adopted))
            )
        for sockets in self._adopted.values():
            for sock in sockets.values():
                sock.close()
        self._adopted.clear()

    def _open(self, key: ListenerKey, count: int, beside: Sequence[socket.socket]) -> list[socket.socket]:
        adopted = self._adopted.pop(key, {})
        if not adopted:
            self._sockets[key] = open_listeners(key.address, key.port, count, key.transport, key.transparent, beside)
            self._place(key)
            return self._sockets[key]
        sockets: list[socket.socket] = []
        missing = [number for number in range(count) if number not in adopted]
        try:
            # Its place in the list is the worker's number: the kernel sends a worker's clients to its socket.
            for number in range(count):
                if number in adopted:
                    sockets.append(adopted.pop(number))
                else:
                    sockets.append(_one_more(key, sockets or list(adopted.values())))
        except ListenError:  # it was one socket for all workers, without SO_REUSEPORT
            missing = []
            sockets = sockets or [adopted.popitem()[1]]
        for sock in adopted.values():
            sock.close()
        self._sockets[key] = sockets
        if missing:
            self._place(key)
        return sockets

    def _place(self, key: ListenerKey) -> None:
        """Let flows keep their worker, as far as can be, when the number of workers changes."""
        sockets = self._sockets[key]
        if key.transport != "udp" or len(sockets) == 1:
            return
        try:
            place_datagrams(sockets[0], placement(len(sockets)), self._placement_key)
        except OSError as exc:
            log.warning("%s: the kernel spreads clients by its own hash (%s)", key, exc.strerror)

    def tune(self, apps: Iterable[AppSettings]) -> None:
        """Set the keepalive of each TCP app on its sockets."""
        for app in apps:
            if app.transport != "tcp":
                continue
            options = (app.keepalive_idle_s, app.keepalive_interval_s, app.keepalive_count, app.user_timeout_ms)
            for key, _ in app.listeners():
                for sock in self._sockets[key]:
                    keepalive_options(sock, *options)

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

    def keys(self) -> set[ListenerKey]:
        """Return the listeners that are open."""
        return set(self._sockets)


class ListenersActor(Actor):
    """Opens the listeners of a configuration, and sets their options.

    Args:
        bank: Has the sockets.
        workers: How many workers there are.
    """

    def __init__(self, bank: ListenerBank, workers: int) -> None:
        self._bank = bank
        self._workers = workers
        self._sockets_each = 1
        self._opened: list[ListenerKey] = []

    async def prepare(self, change: Change) -> None:
        """Open new listeners beside those that are served.

        Raises:
            RolloutError: If an address cannot be listened on.
        """
        self._opened = []
        if change.is_first:
            self._share_out(len(change.after.snapshot.listener_keys()))
        try:
            self._opened = self._bank.open(change.after.snapshot, self._sockets_each)
        except ListenError as exc:
            raise RolloutError(str(exc)) from exc
        if change.is_first:
            self._bank.drop_adopted()
        self._bank.tune(change.after.snapshot.apps)

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
        """Close what was opened; those that were there before have their options again."""
        try:
            self._bank.tune(change.before.snapshot.apps)
        finally:
            self._bank.close(self._opened)
            self._opened = []

    async def release(self, change: Change) -> None:
        """Close the listeners that are gone."""
        self._bank.close(self._bank.keys() - set(change.after.snapshot.listener_keys()))

    async def give(self, heritage: Heritage, opened: ExitStack) -> None:
        """Give the sockets."""
        heritage.listeners += self._bank.by_worker()

    async def restore(self, plan: Plan) -> None:
        """Set the options of the sockets."""
        self._bank.tune(plan.snapshot.apps)

    async def drain(self) -> None:
        """Close all; workers have what waits in their queues."""
        self._bank.close(self._bank.keys())

    async def close(self) -> None:
        """Close all."""
        self._bank.close(self._bank.keys())
