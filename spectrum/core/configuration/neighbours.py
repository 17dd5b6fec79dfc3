"""Finds apps that may conflict with an app: those that share a port or an address with it."""

from collections.abc import Hashable, Iterable, Iterator
from itertools import product

from spectrum.core.address import is_name, parse_address
from spectrum.core.balancing.objects import Pool, origin_ports
from spectrum.core.configuration.config import App, Config
from spectrum.wire.address import IPAddress

# The PROXY protocol and similar settings of an app's origins.
_HEADERS = ("off", "v1", "v2", "simple")


class Neighbours:
    """Finds the apps that may conflict with an app. Checks between apps (`check` of each feature) concern listeners,
    origins, TPROXY and bindings, and the headers that they send to a common pool.

    Args:
        local: The addresses of this machine.
    """

    def __init__(self, local: Iterable[IPAddress]) -> None:
        self._local = frozenset(local)
        self._marked: dict[Hashable, dict[str, None]] = {}

    def add(self, name: str, app: App, config: Config) -> None:
        """Add an app; its load balancer and the pools of that are in `config`."""
        self._add(name, self._marks(app, config))

    def remove(self, name: str, app: App, config: Config) -> None:
        """Remove an app; `config` must be as it was when the app was added."""
        self._remove(name, self._marks(app, config))

    def add_pool(self, name: str, pool: Pool) -> None:
        """Add a pool."""
        self._add(name, self._marks_of_pool(pool))

    def remove_pool(self, name: str, pool: Pool) -> None:
        """Remove a pool."""
        self._remove(name, self._marks_of_pool(pool))

    def neighbours_of(self, app: App, config: Config) -> dict[str, None]:
        """Return the names of the apps that share something with an app, itself included. Of apps that share one pool,
        some represent the others.
        """
        return self.of_all((app,), config)

    def of_all(self, apps: Iterable[App], config: Config) -> dict[str, None]:
        """Return the same for several apps; shared keys are looked up once."""
        found: dict[str, None] = {}
        seen: set[Hashable] = set()
        for app in apps:
            transport = app.protocol.transport
            for mark in self._sought(app, config):
                if mark not in seen:
                    seen.add(mark)
                    found.update(self._marked.get(mark, {}))
            for mark in self._sought_of_pools(app):
                for pool in self._marked.get(mark, ()):
                    found.update(self._senders(pool, transport))
            for pool in _pools(app, config):
                found.update(self._senders(pool, transport))
        return found

    def senders(self, pool: str) -> dict[str, None]:
        """Return representative apps that use a pool: one for each header and transport."""
        return self._senders(pool, "tcp") | self._senders(pool, "udp")

    def _senders(self, pool: str, transport: str) -> dict[str, None]:
        marks = (("sends", pool, transport, header) for header in _HEADERS)
        return {next(iter(self._marked[mark])): None for mark in marks if mark in self._marked}

    def _add(self, name: str, marks: Iterable[Hashable]) -> None:
        for mark in marks:
            self._marked.setdefault(mark, {})[name] = None

    def _remove(self, name: str, marks: Iterable[Hashable]) -> None:
        for mark in marks:
            marked = self._marked.get(mark, {})
            marked.pop(name, None)
            if not marked:
                self._marked.pop(mark, None)

    def _marks(self, app: App, config: Config) -> Iterator[Hashable]:
        """Yield the keys by which an app is found."""
        transport = app.protocol.transport
        if app.tproxy is not None:
            yield "tproxy", transport
        if app.dns is not None:
            yield "dns", app.dns.name
        for port, address in product(app.bound_ports, app.addresses or (None,)):
            yield "port", transport, port
            if address is None or address.is_unspecified:
                yield "every", transport, port
            else:
                yield "at", transport, port, address
        for port, address in (*_direct_targets(app), *_balanced_targets(app, config, beyond_pools=True)):
            yield "to", transport, port, address
            if self._is_here(address):
                yield "here", transport, port
        yield from _bound(app)
        for pool in _pools(app, config):
            yield "sends", pool, transport, app.proxy_protocol

    def _marks_of_pool(self, pool: Pool) -> Iterator[Hashable]:
        """Yield the keys by which a pool is found: the targets for the first port of each app that uses it."""
        for origin in pool.origins:
            if origin.port and not is_name(origin.address):
                address = parse_address(origin.address)
                yield "pool to", origin.port, address
                if self._is_here(address):
                    yield "pool here", origin.port

    def _sought(self, app: App, config: Config) -> Iterator[Hashable]:
        """Yield the keys of apps that may conflict with an app."""
        transport = app.protocol.transport
        yield "tproxy", transport
        if app.dns is not None:
            yield "dns", app.dns.name
        if app.tproxy is not None:
            ports = app.protocol.ports
            yield from (("port", transport, port) for port in range(ports.first, ports.last + 1))
        for port, address in product(app.bound_ports, app.addresses or (None,)):
            if address is None or address.is_unspecified:
                yield "port", transport, port
                yield "here", transport, port
            else:
                yield from (("at", transport, port, address), ("every", transport, port))
                yield "to", transport, port, address
        for port, address in (*_direct_targets(app), *_balanced_targets(app, config)):
            yield "at", transport, port, address
            if self._is_here(address):
                yield "every", transport, port
        yield from _bound(app)

    def _sought_of_pools(self, app: App) -> Iterator[Hashable]:
        """Yield the keys of pools that may lead to an app's listeners."""
        for port, address in product(app.bound_ports, app.addresses or (None,)):
            if address is None or address.is_unspecified:
                yield "pool here", port
            else:
                yield "pool to", port, address

    def _is_here(self, address: IPAddress) -> bool:
        return address.is_loopback or address.is_unspecified or address in self._local


def _bound(app: App) -> Iterator[Hashable]:
    """Yield the ports and prefixes of an app's bindings."""
    transport = app.protocol.transport
    for binding in app.bindings:
        yield from (("bound", transport, binding.prefix, port) for port in app.ports_of(binding))


def _pools(app: App, config: Config) -> tuple[str, ...]:
    balancer = config.load_balancers.get(app.load_balancer or "")
    return balancer.all_pools() if balancer is not None else ()


def _direct_targets(app: App) -> Iterator[tuple[int, IPAddress]]:
    """Yield the ports and addresses of an app's own origins."""
    for direct in app.origin_direct or ():
        yield from ((port, direct.address) for port in range(direct.ports.first, direct.ports.last + 1))


def _balanced_targets(app: App, config: Config, beyond_pools: bool = False) -> Iterator[tuple[int, IPAddress]]:
    """Yield the ports and addresses of an app's origins by its load balancer.

    Args:
        app: The app.
        config: Its load balancers and pools.
        beyond_pools: Leave out the keys of the pools themselves.
    """
    for pool in filter(None, map(config.pools.get, _pools(app, config))):
        for origin in pool.origins:
            if not is_name(origin.address):
                ports, address = origin_ports(origin.port, app.protocol.ports), parse_address(origin.address)
                first = ports.first + (1 if beyond_pools and origin.port else 0)
                yield from ((port, address) for port in range(first, ports.last + 1))
