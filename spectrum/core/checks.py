"""How the apps of a file must fit together: no listener twice, equal ranges, no loops. Fast at 10,000 apps."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from spectrum.core.address import IPAddress, PortRange, SocketAddress, host_text
from spectrum.core.config import App
from spectrum.core.faults import Fault

_ANY4, _ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")


class ListenerIndex:
    """Which app listens on an address and port, wildcards included."""

    def __init__(self, apps: Mapping[str, App], local: Iterable[IPAddress]) -> None:
        """Index `apps`; `local` are the addresses of this machine, which a wildcard listener covers."""
        self._local = frozenset(local)
        # Per port the listeners in file order: (address or None for both wildcards, app).
        self._ports: dict[int, list[tuple[IPAddress | None, str]]] = {}
        for name, app in apps.items():
            for port in range(app.protocol.ports.first, app.protocol.ports.last + 1):
                entries = self._ports.setdefault(port, [])
                entries.extend((address, name) for address in app.addresses or (None,))

    def owner(self, address: IPAddress, ports: PortRange) -> tuple[str, int] | None:
        """Return the app, and the first of `ports`, that a connection from this machine to `address` would reach."""
        for port in range(ports.first, ports.last + 1):
            for listening, name in self._ports.get(port, ()):
                if self._reaches(address, listening):
                    return name, port
        return None

    def _reaches(self, address: IPAddress, listening: IPAddress | None) -> bool:
        if address == listening:
            return True
        wildcard = listening is None or listening == (_ANY4 if address.version == 4 else _ANY6)
        return wildcard and (address.is_loopback or address in self._local)

    def overlaps(self) -> Iterator[tuple[str, str, SocketAddress]]:
        """Yield (app, earlier app, address and port) for each pair of apps that want the same listener, once."""
        seen: set[tuple[str, str]] = set()
        for port, entries in self._ports.items():
            if len(entries) < 2:
                continue
            for index, (address, name) in enumerate(entries):
                for other, earlier in entries[:index]:
                    if (name, earlier) not in seen and _collide(address, other):
                        seen.add((name, earlier))
                        yield name, earlier, SocketAddress(address or other or _ANY6, port)


def _collide(one: IPAddress | None, other: IPAddress | None) -> bool:
    if one is None or other is None:
        return True
    if one.version != other.version:
        return False
    return one == other or one.is_unspecified or other.is_unspecified


def check_apps(
    apps: Mapping[str, App], local: Iterable[IPAddress], metrics: SocketAddress | None = None
) -> list[Fault]:
    """Return every fault between the apps of a file.

    Args:
        apps: The apps that are well-formed by themselves.
        local: The addresses of this machine, so that a loop through a wildcard listener is seen.
        metrics: The address of the metrics listener, if any.
    """
    index = ListenerIndex(apps, local)
    faults = [
        Fault(
            ("apps", name, "protocol"),
            f"{where} is taken by app {earlier}" if name != earlier else f"{where} is listed twice",
        )
        for name, earlier, where in index.overlaps()
    ]
    for name, app in apps.items():
        faults.extend(_range_faults(name, app))
        faults.extend(_loop_faults(name, app, index))
    if metrics and (taken := index.owner(metrics.address, PortRange(metrics.port, metrics.port))):
        faults.append(Fault(("metrics", "listen"), f"{metrics} is taken by app {taken[0]}"))
    return faults


def _range_faults(name: str, app: App) -> Iterator[Fault]:
    ports = app.protocol.ports
    origins = [(("origin_direct", i), origin.ports) for i, origin in enumerate(app.origin_direct or ())]
    if app.origin_port is not None:
        origins.append((("origin_port",), app.origin_port))  # type: ignore[arg-type]
    for path, origin_ports in origins:
        if len(origin_ports) != len(ports):
            right = PortRange(origin_ports.first, min(65535, origin_ports.first + len(ports) - 1))
            yield Fault(
                ("apps", name, *path),
                f"{origin_ports} has {len(origin_ports)} ports, protocol {app.protocol} has {len(ports)}; "
                f"write {right} for the same offsets",
            )


def _loop_faults(name: str, app: App, index: ListenerIndex) -> Iterator[Fault]:
    for i, origin in enumerate(app.origin_direct or ()):
        path = ("apps", name, "origin_direct", i)
        if origin.transport != app.protocol.transport:
            yield Fault(path, f"{origin} is not {app.protocol.transport}, which the app's protocol is")
            continue
        taken = index.owner(origin.address, origin.ports)
        if taken is None:
            continue
        where = f"{host_text(origin.address)}:{taken[1]}"
        if taken[0] == name:
            yield Fault(path, f"{where} is this app's own listener: a loop; name the server behind it")
        else:
            yield Fault(path, f"{where} is the listener of app {taken[0]}; name that app's origin instead")
