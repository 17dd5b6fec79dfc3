"""The addresses, protocols and ports of apps, for the filter's program. Packets to other destinations belong to no app:
reflections, floods over a whole prefix, scans.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from spectrum.core.packets import PROTOCOLS
from spectrum.wire.address import IPAddress, IPNetwork

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App

# Limit of the program's table (MAX_SERVED of kernel/bpf/flows.h).
MAX_PLACES = 65536
ANY_PORT = 0
_EVERYWHERE: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class ServedError(ValueError):
    """There are more places than the table holds; the message names the app."""


class ServedPlace(NamedTuple):
    """A destination of packets for an app.

    Attributes:
        protocol: The IP protocol number.
        prefix: The destination prefix.
        port: Of TCP or UDP; `ANY_PORT` for all of them.
        app: The number of the app, from `app_numbers`.
    """

    protocol: int
    prefix: IPNetwork
    port: int
    app: int


def app_numbers(apps: Mapping[str, "App"]) -> dict[str, int]:
    """Return the numbers of apps in the program and the detector, by name."""
    return {name: number for number, name in enumerate(apps)}


def served_places(apps: Mapping[str, "App"]) -> list[ServedPlace]:
    """Return the places of apps. A place that several apps share, by `sni` or `alpn`, belongs to the first one.

    Raises:
        ServedError: If there are more than `MAX_PLACES`.
    """
    numbers = app_numbers(apps)
    places: dict[tuple[int, IPNetwork, int], int] = {}
    for name, app in apps.items():
        protocol = PROTOCOLS[app.protocol.transport]
        for prefix, ports in _taken(app):
            _check_room(apps, len(places) + len(ports))
            for port in ports:
                places.setdefault((protocol, prefix, port), numbers[name])
    return [ServedPlace(*place, app) for place, app in places.items()]


def served_alike(before: Mapping[str, "App"], after: Mapping[str, "App"], names: Iterable[str]) -> bool:
    """Return whether apps have the same places and numbers as before; only the named ones differ."""
    pairs = ((before.get(name), after.get(name)) for name in names)
    return [*before] == [*after] and all(
        one is not None and other is not None and _served_at(one) == _served_at(other) for one, other in pairs
    )


def _served_at(app: "App") -> object:
    return app.protocol, app.addresses, list(_taken(app))


def _check_room(apps: Mapping[str, "App"], count: int) -> None:
    if count <= MAX_PLACES:
        return
    sizes = Counter({name: sum(len(ports) for _, ports in _taken(app)) for name, app in apps.items()})
    most = ", ".join(f"{name} {size:,}" for name, size in sizes.most_common(3))
    raise ServedError(
        f"apps are served at {sum(sizes.values()):,} addresses and ports, the most by {most}; where attacks are looked "
        f"for there are {MAX_PLACES:,} at most: write prefixes for addresses, or fewer ports (1-65535 counts as one)"
    )


def _taken(app: "App") -> Iterator[tuple[IPNetwork, range]]:
    """Yield the prefixes of an app, with the ports."""
    ports = _ports(range(app.protocol.ports.first, app.protocol.ports.last + 1))
    if app.tproxy is not None:
        yield from ((prefix, ports) for prefix in app.tproxy.prefixes)
        return
    if app.bound_ports:
        prefixes = tuple(map(_prefix_of, app.addresses)) or _EVERYWHERE
        yield from ((prefix, ports) for prefix in prefixes)
    for binding in app.bindings:
        yield binding.prefix, _ports(app.ports_of(binding))


def _prefix_of(address: IPAddress) -> IPNetwork:
    """Return the prefix of a listener's address: 0.0.0.0 and :: are all of their family."""
    listens = ip_network(address)
    return listens.supernet(new_prefix=0) if listens.network_address.is_unspecified else listens


def _ports(ports: range) -> range:
    """Return the ports; all of them as one."""
    return range(ANY_PORT, ANY_PORT + 1) if len(ports) >= 65535 else ports


class ServedTable:
    """Finds the app that a packet is for: the longest prefix of its port or of any port, as the filter's program does.

    Args:
        apps: The apps.

    Raises:
        ServedError: If there are more places than `MAX_PLACES`.
    """

    def __init__(self, apps: Mapping[str, "App"]) -> None:
        self._names = tuple(apps)
        # By IP version the lengths of prefixes, the longest first.
        self._lengths: dict[int, list[int]] = {4: [], 6: []}
        self._apps: dict[tuple[int, int, int, int, int], int] = {}
        for place in served_places(apps):
            version, length = place.prefix.version, place.prefix.prefixlen
            key = version, place.protocol, place.port, length, _beginning(place.prefix.network_address, length)
            self._apps[key] = place.app
            if length not in self._lengths[version]:
                self._lengths[version].append(length)
        for lengths in self._lengths.values():
            lengths.sort(reverse=True)

    def app_at(self, protocol: int, address: IPAddress, port: int) -> str:
        """Return the name of the app; empty for none.

        Args:
            protocol: The IP protocol number.
            address: The destination address.
            port: The destination port.
        """
        for length in self._lengths[address.version]:
            for one in (port, ANY_PORT):
                found = self._apps.get((address.version, protocol, one, length, _beginning(address, length)))
                if found is not None:
                    return self._names[found]
        return ""


def _beginning(address: IPAddress, length: int) -> int:
    """Return the first bits of an address."""
    return int(address) >> (address.max_prefixlen - length)
