"""Which apps can be at odds with an app: of thousands, those that share a port or an address with it."""

from collections.abc import Hashable, Iterable, Iterator
from itertools import product

from spectrum.core.address import is_name, parse_address
from spectrum.core.balancing.objects import origin_ports
from spectrum.core.configuration.config import App, Config
from spectrum.wire.address import IPAddress


class Neighbours:
    """Finds the apps that an app must fit together with; what the others are does not matter to it.

    What is checked between apps (`check` of each feature) is what they listen on, where they lead, and what they take
    by TPROXY. An app of a load balancer, or with bindings, has more to do with others, and is not looked for here.

    Args:
        config: Its apps are the ones that are found.
        local: The addresses of this machine.
    """

    def __init__(self, config: Config, local: Iterable[IPAddress]) -> None:
        self.local = frozenset(local)
        self._marked: dict[Hashable, dict[str, None]] = {}
        for name, app in config.apps.items():
            self.add(name, app, config)

    def add(self, name: str, app: App, config: Config) -> None:
        """Find an app from now on."""
        for mark in self._marks(app, config):
            self._marked.setdefault(mark, {})[name] = None

    def remove(self, name: str, app: App, config: Config) -> None:
        """Find it no longer."""
        for mark in self._marks(app, config):
            marked = self._marked.get(mark, {})
            marked.pop(name, None)
            if not marked:
                self._marked.pop(mark, None)

    def of(self, app: App) -> set[str]:
        """Return the names of the apps that share something with an app, that one among them."""
        found: set[str] = set()
        for mark in self._sought(app):
            found.update(self._marked.get(mark, ()))
        return found

    def _marks(self, app: App, config: Config) -> Iterator[Hashable]:
        """Yield what an app is found by."""
        transport = app.protocol.transport
        if app.tproxy is not None:
            yield "tproxy"
        for port, address in product(app.bound_ports, app.addresses or (None,)):
            yield "port", transport, port
            if address is None or address.is_unspecified:
                yield "every", transport, port
            else:
                yield "at", transport, port, address
        for port, address in _targets(app, config):
            yield "to", transport, port, address
            if self._is_here(address):
                yield "here", transport, port

    def _sought(self, app: App) -> Iterator[Hashable]:
        """Yield the marks of those that an app must fit together with."""
        transport = app.protocol.transport
        yield "tproxy"
        for port, address in product(app.bound_ports, app.addresses or (None,)):
            if address is None or address.is_unspecified:
                yield "port", transport, port
                yield "here", transport, port
            else:
                yield from (("at", transport, port, address), ("every", transport, port))
                yield "to", transport, port, address
        for port, address in _targets(app, None):
            yield "at", transport, port, address
            if self._is_here(address):
                yield "every", transport, port

    def _is_here(self, address: IPAddress) -> bool:
        return address.is_loopback or address.is_unspecified or address in self.local


def _targets(app: App, config: Config | None) -> Iterator[tuple[int, IPAddress]]:
    """Yield the ports and addresses that an app leads to; those of a load balancer where it is known."""
    for direct in app.origin_direct or ():
        yield from ((port, direct.address) for port in range(direct.ports.first, direct.ports.last + 1))
    balancer = config.load_balancers.get(app.load_balancer or "") if config is not None else None
    if config is None or balancer is None:
        return
    for pool in filter(None, map(config.pools.get, balancer.all_pools())):
        for origin in pool.origins:
            if not is_name(origin.address):
                ports = origin_ports(origin.port, app.protocol.ports)
                address = parse_address(origin.address)
                yield from ((port, address) for port in range(ports.first, ports.last + 1))
