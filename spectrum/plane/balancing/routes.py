"""Routes of a listener to origins: the engine's targets for a new session, and for one whose origin failed."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address

from spectrum.core.address import is_name
from spectrum.core.balancing.settings import OriginSettings
from spectrum.core.names import name_key, parse_service, service_domain
from spectrum.core.records.reasons import Reason
from spectrum.core.selection import Candidate, name_rotations, rotations, service_rotations
from spectrum.core.snapshot import AppSettings
from spectrum.engine.retry_budget import RetryBudget
from spectrum.engine.target import Target
from spectrum.engine.tls import ClientContext, TlsPeer
from spectrum.plane.balancing.balancers import Balancers, RunningBalancer

Names = Mapping[str, tuple[str, ...]]
# Maximum number of routes of one listener; each takes about 2 kB.
MAX_PORT_ROUTES = 4096
# The targets in the order of trying, and how many origins may be tried.
TargetOrder = tuple[tuple[Target, ...], int]
# A target to preconnect, and the maximum number of its sessions and connections together.
Preconnected = tuple[Target, int]


class Route(ABC):
    """The origins of a listener.

    Args:
        offset: Offset of the listener's port in the app's range.
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._targets: dict[tuple[int, Candidate], Target] = {}
        self._options: tuple[object, ...] = ()
        self._tls: ClientContext | None = None

    def aim(self, settings: AppSettings, names: Names, tls: ClientContext | None = None) -> list[Target]:
        """Apply the app's settings and the current addresses of names; return the targets that are no longer used.

        Args:
            settings: The app's.
            names: The addresses of names.
            tls: The TLS context for origins; None for plain text.
        """
        self._tls = tls
        return self._aim(settings, names)

    @abstractmethod
    def _aim(self, settings: AppSettings, names: Names) -> list[Target]:
        """Apply the arguments of `aim`."""

    @abstractmethod
    def _host_name(self, settings: AppSettings, number: int) -> str:
        """Return the host name of an origin; "" if it is an address."""

    def _names_of(self, settings: AppSettings, number: int) -> tuple[str, str]:
        """Return the names of an origin's pool and of the origin; "" without a pool."""
        return "", self._host_name(settings, number)

    @abstractmethod
    def choose(self, client: bytes, client_port: int, edge_port: int = 0) -> TargetOrder | Reason:
        """Return the targets for a new client that connected to `edge_port`; a reason if there is none."""

    @abstractmethod
    def after(self, tried: Sequence[Target], client: bytes, client_port: int) -> tuple[Target, ...]:
        """Return the targets for a client that could not reach those `tried`; empty for none."""

    @abstractmethod
    def find(self, address: str, port: int, edge_port: int = 0) -> Target | None:
        """Return the target of an origin's address and port, if the listener for `edge_port` has that origin."""

    def preconnected(self) -> Iterable[Preconnected]:
        """Yield the targets that clients may be sent to now, with their `max_sessions`; 0 for no limit."""
        return ()

    def fixed_orders(self) -> tuple[tuple[Target, ...], ...]:
        """Return the orders of targets that are used in turn, beginning with the one used last. Empty if the client or
        the load decides.

        Empty where the client or the load decides.
        """
        return ()

    def targets(self) -> Sequence[Target]:
        """Return the engine's targets that are in use."""
        return tuple(self._targets.values())

    def targets_of(self, numbers: set[int]) -> list[Target]:
        """Return the targets in use of the origins with these numbers."""
        return [target for target in self.targets() if target.number in numbers]

    def _make(self, settings: AppSettings, wanted: list[tuple[int, Candidate]]) -> list[Target]:
        """Create targets for exactly these origins and addresses; return those that are gone."""
        options = (*_target_options(settings), self._tls)
        known = self._targets if self._options == options else {}
        targets = {key: known.get(key) or self._target(settings, *key) for key in dict.fromkeys(wanted)}
        kept = set(targets.values())
        gone = [target for target in self._targets.values() if target not in kept]
        self._targets, self._options = targets, options
        for (number, _), target in targets.items():
            target.retries = self._budget(settings, number)
        return gone

    @abstractmethod
    def _budget(self, settings: AppSettings, number: int) -> RetryBudget | None:
        """Return the retry budget of an origin; None for no limit."""

    def _place(self, settings: AppSettings, candidate: Candidate) -> int:
        """Return the number under which sessions of an origin without a number are counted; 0 if they are not."""
        return 0

    def _target(self, settings: AppSettings, number: int, candidate: Candidate) -> Target:
        address = ip_address(candidate.address)
        pool, origin = self._names_of(settings, number)
        sources = [ip_address(source) for source in settings.source_addresses]
        return Target(
            address.packed,
            candidate.port,
            candidate.address,
            staggered=candidate.staggered,
            sources=tuple(source.packed for source in sources if source.version == address.version),
            keepalive=(settings.keepalive_idle_s, settings.keepalive_interval_s, settings.keepalive_count),
            user_timeout_ms=settings.user_timeout_ms,
            number=number,
            place=self._place(settings, candidate),
            retries=self._budget(settings, number),
            tls=self._tls_to(settings, number, candidate),
            transparent=settings.transparent,
            pool=pool,
            origin=origin,
            congestion_control=settings.origin_tcp.congestion_control.encode(),
            notsent_lowat=settings.origin_tcp.notsent_lowat,
        )

    def _tls_to(self, settings: AppSettings, number: int, candidate: Candidate) -> TlsPeer | None:
        if self._tls is None or settings.tls is None or settings.tls.origin is None:
            return None
        name = settings.tls.origin.server_name or self._host_name(settings, number) or candidate.address
        return TlsPeer(self._tls, name, not is_name(name))

    def _lookup(self, number: int, orders: Iterable[Iterable[Candidate]]) -> list[tuple[Target, ...]]:
        """Return the targets of an origin's candidates, in each order."""
        return [tuple(self._targets[number, candidate] for candidate in order) for order in orders]


class DirectRoute(Route):
    """The origins of `origin_direct`, or the addresses of `origin_dns`, in turn.

    Args:
        offset: Offset of the listener's port in the app's range.
        balancers: The worker's balancers, which know how many sessions an origin has.
    """

    def __init__(self, offset: int, balancers: Balancers) -> None:
        super().__init__(offset)
        self._balancers = balancers
        self._most = 0
        self._turn = 0
        self._named = False
        self.orders: list[tuple[Target, ...]] = []
        # With `source: client` a client can use only origins of its own family, keyed by the length of its address.
        self._by_family: dict[int, list[tuple[Target, ...]]] | None = None

    def _aim(self, settings: AppSettings, names: Names) -> list[Target]:
        self._named = settings.origin_name is not None
        self._most = settings.bounds.max_sessions
        name = settings.origin_name
        addresses = names.get(name_key(name), ()) if name is not None else ()
        if name is None:
            orders = rotations([(address, port + self._offset) for address, port in settings.origins])
        elif name.type == "SRV":
            orders = service_rotations([parse_service(address) for address in addresses])
        else:
            orders = name_rotations(addresses, settings.origin_port + self._offset, settings.transport == "tcp")
        gone = self._make(settings, [(0, candidate) for order in orders for candidate in order])
        self.orders = self._lookup(0, orders)
        self._by_family = self._families() if settings.transparent else None
        self._turn = 0
        return gone

    def _budget(self, settings: AppSettings, number: int) -> RetryBudget | None:
        return self._balancers.budget_of("app", settings.name, settings.bounds.retries)

    def _place(self, settings: AppSettings, candidate: Candidate) -> int:
        places = self._balancers.places_of(settings.name)
        if settings.origin_name is not None or not places:
            return places[0] if places else 0  # The addresses of a name are one origin.
        return places[settings.origins.index((candidate.address, candidate.port - self._offset))]

    def preconnected(self) -> Iterable[Preconnected]:
        """See `Route`."""
        return [(target, self._most) for target in self._targets.values()]

    def _host_name(self, settings: AppSettings, number: int) -> str:
        name = settings.origin_name
        if name is None:
            return ""
        # A certificate is for the service's domain (RFC 6125, section 6.2.1), not for `_service._proto` in it.
        return service_domain(name.name) if name.type == "SRV" else name.name

    def _families(self) -> dict[int, list[tuple[Target, ...]]]:
        found: dict[int, list[tuple[Target, ...]]] = {}
        for length, is_family in ((4, lambda t: ":" not in t.host), (16, lambda t: ":" in t.host)):
            orders = [tuple(filter(is_family, order)) for order in self.orders]
            found[length] = [order for order in orders if order]
        return found

    def fixed_orders(self) -> tuple[tuple[Target, ...], ...]:
        """See `Route`."""
        turn = self._turn
        return (*self.orders[turn:], *self.orders[:turn]) if self._by_family is None and not self._most else ()

    def choose(self, client: bytes, client_port: int, edge_port: int = 0) -> TargetOrder | Reason:
        """See `Route`."""
        orders = self.orders
        if not orders:
            return Reason.UNRESOLVED if self._named else Reason.NO_ORIGIN
        if self._by_family is not None:
            orders = self._by_family[len(client)]
            if not orders:
                return Reason.SOURCE_FAMILY
        self._turn = turn = (self._turn + 1) % len(orders)
        if self._most:
            free = tuple(target for target in orders[turn] if not self._balancers.is_full(target.place, self._most))
            return (free, 1) if free else Reason.ORIGIN_FULL
        return orders[turn], 1

    def after(self, tried: Sequence[Target], client: bytes, client_port: int) -> tuple[Target, ...]:
        """See `Route`."""
        way = self.choose(client, client_port)
        return () if isinstance(way, Reason) else tuple(target for target in way[0] if target not in tried)

    def find(self, address: str, port: int, edge_port: int = 0) -> Target | None:
        """See `Route`."""
        return next((t for t in self._targets.values() if (t.host, t.port) == (address, port)), None)


class BalancedRoute(Route):
    """The origins of a load balancer. A target is created for the first client that is sent there, and when addresses
    change.

    Args:
        offset: Offset of the listener's port in the app's range.
        port: The listener's port, for origins without a port.
        balancers: The worker's balancers.
    """

    def __init__(self, offset: int, port: int, balancers: Balancers) -> None:
        super().__init__(offset)
        self._port = port
        self._balancers = balancers
        self._settings: AppSettings
        self._names: Names = {}
        self._orders: dict[int, list[tuple[Target, ...]]] = {}
        self._turn = 0

    @property
    def _balancer(self) -> RunningBalancer:
        return self._balancers[self._settings.load_balancer]

    def _aim(self, settings: AppSettings, names: Names) -> list[Target]:
        self._settings, self._names = settings, names
        members = {
            origin.number: origin for view in self._balancer.core.views.values() for origin in view.settings.origins
        }
        used = [members[number] for number in self._orders if number in members]
        candidates = {origin.number: self._candidates(origin) for origin in used}
        gone = self._make(settings, [(n, c) for n, orders in candidates.items() for order in orders for c in order])
        self._orders = {number: self._lookup(number, orders) for number, orders in candidates.items()}
        return gone

    def _host_name(self, settings: AppSettings, number: int) -> str:
        origin = self._balancers.origins.get(number)
        return origin.dns.name if origin is not None and origin.dns is not None else ""

    def _names_of(self, settings: AppSettings, number: int) -> tuple[str, str]:
        return self._balancers.names_of(number)

    def _budget(self, settings: AppSettings, number: int) -> RetryBudget | None:
        return self._balancers.budget_at(number)

    def preconnected(self) -> Iterable[Preconnected]:
        """See `Route`."""
        core = self._balancer.core
        for view in core.views.values() if core.settings.enabled else ():
            for origin in view.settings.origins if view.healthy else ():
                if origin.number in view.usable:
                    for target in self._targets_of(origin):
                        yield target, origin.max_sessions

    def _candidates(self, origin: OriginSettings) -> list[tuple[Candidate, ...]]:
        port = origin.port + self._offset if origin.port else self._port
        if origin.dns is None:
            return rotations([(origin.address, port)])
        addresses = self._names.get(name_key(origin.dns), ())
        return name_rotations(addresses, port, self._settings.transport == "tcp")

    def _targets_of(self, origin: OriginSettings) -> tuple[Target, ...]:
        """Return the targets of an origin, in rotating order; empty if its name has no address."""
        orders = self._orders.get(origin.number)
        if orders is None:
            orders = self._first_orders(origin)
        if len(orders) < 2:
            return orders[0] if orders else ()
        self._turn += 1
        return orders[self._turn % len(orders)]

    def _first_orders(self, origin: OriginSettings) -> list[tuple[Target, ...]]:
        candidates = self._candidates(origin)
        for candidate in {candidate for order in candidates for candidate in order}:
            self._targets[origin.number, candidate] = self._target(self._settings, origin.number, candidate)
        orders = self._orders[origin.number] = self._lookup(origin.number, candidates)
        return orders

    def choose(self, client: bytes, client_port: int, edge_port: int = 0) -> TargetOrder | Reason:
        """See `Route`."""
        origin, _, _, tries, full = self._balancer.choose(client, client_port)
        if origin is None:
            return Reason.ORIGIN_FULL if full else Reason.NO_ORIGIN
        targets = self._targets_for(origin, client)
        if targets:
            return targets, tries
        return self._next([origin], client, client_port)

    def _targets_for(self, origin: OriginSettings, client: bytes) -> tuple[Target, ...]:
        """Return the targets of an origin that a client can use: with `source: client` those of its family."""
        targets = self._targets_of(origin)
        if not self._settings.transparent:
            return targets
        return tuple(target for target in targets if (":" in target.host) == (len(client) == 16))

    def _next(self, tried: list[OriginSettings], client: bytes, client_port: int) -> TargetOrder | Reason:
        while (origin := self._balancer.after(tried, client, client_port)) is not None:
            if targets := self._targets_for(origin, client):
                return targets, 1
            tried.append(origin)
        if self._settings.transparent and any(map(self._targets_of, tried)):
            return Reason.SOURCE_FAMILY
        return Reason.UNRESOLVED

    def after(self, tried: Sequence[Target], client: bytes, client_port: int) -> tuple[Target, ...]:
        """See `Route`."""
        known = self._balancers.origins
        # An origin that a reload removed meanwhile is unknown.
        origins = [known[target.number] for target in tried if target.number in known]
        way = self._next(origins, client, client_port) if origins else self.choose(client, client_port)
        return () if isinstance(way, Reason) else way[0]

    def find(self, address: str, port: int, edge_port: int = 0) -> Target | None:
        """See `Route`."""
        for view in self._balancer.core.views.values():
            for origin in view.settings.origins:
                for order in self._candidates(origin) if origin.enabled else ():
                    if any((candidate.address, candidate.port) == (address, port) for candidate in order):
                        self._targets_of(origin)
                        return next(t for t in self._targets.values() if (t.host, t.port) == (address, port))
        return None


class PortRoutes(Route):
    """The origins of a listener with many ports (TPROXY): a route per port, created for its first client.

    Args:
        make: Creates the route for a port.
    """

    def __init__(self, make: Callable[[int], Route]) -> None:
        super().__init__(0)
        self._make_route = make
        # Least recently used first, so that a scan of all ports does not fill the memory.
        self._routes: dict[int, Route] = {}
        # Targets of evicted routes whose connects are not counted yet.
        self._left: deque[Target] = deque(maxlen=MAX_PORT_ROUTES)
        self._ports: dict[Target, int] = {}
        self._shape = (0, "")
        self._settings: AppSettings
        self._names: Names = {}

    def _aim(self, settings: AppSettings, names: Names) -> list[Target]:
        self._settings, self._names = settings, names
        gone = list(self._left)
        self._left.clear()
        shape = settings.first_port, settings.load_balancer
        if shape != self._shape:  # These routes have other targets now.
            gone += self.targets()
            self._routes.clear()
            self._shape = shape
        for route in self._routes.values():
            gone += route.aim(settings, names, self._tls)
        for target in gone:
            self._ports.pop(target, None)
        return gone

    def _host_name(self, settings: AppSettings, number: int) -> str:
        raise AssertionError("its targets are those of its routes")

    def _budget(self, settings: AppSettings, number: int) -> RetryBudget | None:
        raise AssertionError("its targets are those of its routes")

    def _at(self, port: int) -> Route:
        route = self._routes.pop(port, None)
        if route is None:
            if len(self._routes) >= MAX_PORT_ROUTES:
                self._make_room()
            route = self._make_route(port)
            route.aim(self._settings, self._names, self._tls)
        self._routes[port] = route
        return route

    def _make_room(self) -> None:
        for target in self._routes.pop(next(iter(self._routes))).targets():
            self._left.append(target)
            self._ports.pop(target, None)

    def choose(self, client: bytes, client_port: int, edge_port: int = 0) -> TargetOrder | Reason:
        """See `Route`."""
        way = self._at(edge_port).choose(client, client_port, edge_port)
        if not isinstance(way, Reason):
            self._ports.update(dict.fromkeys(way[0], edge_port))
        return way

    def after(self, tried: Sequence[Target], client: bytes, client_port: int) -> tuple[Target, ...]:
        """See `Route`."""
        port = self._ports.get(tried[0])
        others = self._routes[port].after(tried, client, client_port) if port in self._routes else ()
        self._ports.update(dict.fromkeys(others, port or 0))
        return others

    def find(self, address: str, port: int, edge_port: int = 0) -> Target | None:
        """See `Route`."""
        target = self._at(edge_port).find(address, port, edge_port)
        if target is not None:
            self._ports[target] = edge_port
        return target

    def targets(self) -> Sequence[Target]:
        """See `Route`."""
        return [*self._left, *(target for route in self._routes.values() for target in route.targets())]


def _target_options(settings: AppSettings) -> tuple[object, ...]:
    """The settings that a target of the engine has."""
    return (
        settings.source_addresses,
        settings.keepalive_idle_s,
        settings.keepalive_interval_s,
        settings.keepalive_count,
        settings.user_timeout_ms,
        settings.transparent,
        settings.origin_tcp,
        settings.bounds.max_sessions > 0,
    )
