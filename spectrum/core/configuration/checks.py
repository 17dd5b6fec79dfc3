"""How the apps of a file must fit together: no listener twice, equal ranges, no loops. Fast at 10,000 apps."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from spectrum.core.address import PortRange, SocketAddress, host_text, is_name, parse_address
from spectrum.core.balancing.objects import origin_ports
from spectrum.core.configuration.config import MIN_MEMORY, App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.wire.address import IPAddress

_ANY4, _ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")


class ListenerIndex:
    """Which app listens on an address and port, wildcards included.

    Attributes:
        overlaps: (app, earlier app, address and port) for each pair of apps that want the same listener, once.
    """

    def __init__(self, apps: Mapping[str, App], local: Iterable[IPAddress]) -> None:
        """Index `apps`; `local` are the addresses of this machine, which a wildcard listener covers."""
        self._local = frozenset(local)
        # Per transport and port who listens on an address; None is every address of both families.
        self._ports: dict[tuple[str, int], dict[IPAddress | None, str]] = {}
        self.overlaps: list[tuple[str, str, SocketAddress]] = []
        pairs: set[tuple[str, str]] = set()
        for name, app in apps.items():
            for port in app.bound_ports:
                taken = self._ports.setdefault((app.protocol.transport, port), {})
                for address in app.addresses or (None,):
                    earlier = _earlier(taken, address)
                    if address in taken and _share(app, apps[taken[address]]):
                        continue
                    if earlier is not None and (name, earlier) not in pairs:
                        pairs.add((name, earlier))
                        self.overlaps.append((name, earlier, SocketAddress(address or _ANY6, port)))
                    taken.setdefault(address, name)

    def owner(self, transport: str, address: IPAddress, ports: PortRange) -> tuple[str, int] | None:
        """Return the app, and the first of `ports`, that what this machine sends to `address` would reach."""
        wildcards = (None, _wildcard(address)) if address.is_loopback or address in self._local else ()
        for port in range(ports.first, ports.last + 1):
            taken = self._ports.get((transport, port))
            if taken:
                for listening in (address, *wildcards):
                    if listening in taken:
                        return taken[listening], port
        return None


def _share(one: App, other: App) -> bool:
    """Whether two apps are told apart on their listeners; that no two have the same name is `_name_faults`'s."""
    same = one.addresses == other.addresses and one.protocol == other.protocol and one.tproxy == other.tproxy
    return same and (one.is_named or other.is_named)


def _name_faults(apps: Mapping[str, App]) -> Iterator[Fault]:
    """Yield what is wrong with how apps share listeners by `sni` and `alpn`."""
    sharing: dict[object, list[str]] = {}
    for name, app in apps.items():
        sharing.setdefault((app.protocol, app.addresses, app.tproxy), []).append(name)
    for names in (names for names in sharing.values() if any(apps[name].is_named for name in names)):
        taken: dict[tuple[str, str], str] = {}
        first = apps[names[0]]
        for name in names:
            app = apps[name]
            for claim in ((sni, alpn) for sni in app.sni or ("",) for alpn in app.alpn or ("",)):
                earlier = taken.setdefault(claim, name)
                if earlier != name:
                    what = " with ".join(filter(None, claim)) or "every name that nobody else has"
                    yield Fault(("apps", name, "sni" if app.sni else "protocol"), f"{what} is taken by app {earlier}")
            if app.accept_proxy_protocol != first.accept_proxy_protocol:
                yield Fault(
                    ("apps", name, "accept_proxy_protocol"),
                    f"apps on one port have the same; app {names[0]} has another one",
                )


def _tproxy_faults(apps: Mapping[str, App]) -> Iterator[Fault]:
    """Yield where what TPROXY takes is another app's."""
    earlier: dict[str, App] = {}
    listening = {name: app for name, app in apps.items() if app.tproxy is None}
    for name, app in apps.items():
        if app.tproxy is None:
            continue
        for i, prefix in enumerate(app.tproxy.prefixes):
            path = ("apps", name, "tproxy", "prefixes", i)
            for other_name, other in earlier.items():
                if _collide(app, other) and _takes(other, prefix):
                    yield Fault(path, f"{prefix} and these ports are taken by app {other_name}")
            for other_name, other in listening.items():
                if _collide(app, other) and any(address in prefix for address in other.edge_ips or ()):
                    yield Fault(path, f"{prefix} has an address of app {other_name}, which would get nothing there")
        earlier[name] = app


def _collide(one: App, other: App) -> bool:
    return _meet(one, other) and not _share(one, other)


def _takes(app: App, prefix: IPv4Network | IPv6Network) -> bool:
    return app.tproxy is not None and any(
        prefix.overlaps(theirs) for theirs in app.tproxy.prefixes if theirs.version == prefix.version
    )


def _binding_faults(apps: Mapping[str, App]) -> Iterator[Fault]:
    """Yield each prefix and port that is bound twice."""
    taken: dict[tuple[str, object, int], str] = {}
    for name, app in apps.items():
        for i, binding in enumerate(app.bindings):
            for port in app.ports_of(binding):
                earlier = taken.setdefault((app.protocol.transport, binding.prefix, port), name)
                if earlier != name:
                    what = f"{binding.prefix} port {port or 'any'}"
                    yield Fault(("apps", name, "bindings", i), f"{what} is bound to app {earlier}")
                    break


def _meet(one: App, other: App) -> bool:
    """Whether two apps have a port of a transport in common."""
    mine, theirs = one.protocol, other.protocol
    return mine.transport == theirs.transport and (
        mine.ports.first <= theirs.ports.last and theirs.ports.first <= mine.ports.last
    )


def _wildcard(address: IPAddress) -> IPAddress:
    return _ANY4 if address.version == 4 else _ANY6


def _earlier(taken: Mapping[IPAddress | None, str], address: IPAddress | None) -> str | None:
    """Who of `taken` has what a listener on `address` would have. Not a search: thousands may share a port."""
    if address is None:
        return next(iter(taken.values()), None)
    for listening in (address, None, _wildcard(address)):
        if listening in taken:
            return taken[listening]
    if address.is_unspecified:
        return next((name for other, name in taken.items() if other and other.version == address.version), None)
    return None


def check_apps(config: Config, local: Iterable[IPAddress]) -> list[Fault]:
    """Return every fault between the apps of a file.

    Args:
        config: Holds the objects that are well-formed by themselves.
        local: The addresses of this machine, so that a loop through a wildcard listener is seen.
    """
    apps = config.apps
    index = ListenerIndex(apps, local)
    faults = [
        Fault(
            ("apps", name, "protocol"),
            f"{where} is taken by app {earlier}" if name != earlier else f"{where} is listed twice",
        )
        for name, earlier, where in index.overlaps
    ]
    faults.extend(_name_faults(apps))
    faults.extend(_tproxy_faults(apps))
    faults.extend(_binding_faults(apps))
    for name, app in apps.items():
        faults.extend(Fault(("apps", name, *path), message) for path, message in _misfits(app))
        faults.extend(_range_faults(name, app))
        faults.extend(_loop_faults(name, app, index))
    faults.extend(_pool_loops(config, index))
    if config.workers and config.limits.memory < config.workers * MIN_MEMORY:
        least = f"{config.workers * MIN_MEMORY // 2**20}MiB for {config.workers} workers"
        faults.append(
            Fault(("limits", "memory"), f"at least {least}: one read is half of a MiB, and each has its share")
        )
    metrics = config.metrics.listen if config.metrics else None
    if metrics and (taken := index.owner("tcp", metrics.address, PortRange(metrics.port, metrics.port))):
        faults.append(Fault(("metrics", "listen"), f"{metrics} is taken by app {taken[0]}"))
    return faults


def _misfits(app: App) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each setting that the app's transport, or its header, has no use for."""
    given, udp, header = app.model_fields_set, app.protocol.transport == "udp", app.proxy_protocol
    if udp and header == "v1":
        yield ("proxy_protocol",), "v1 is for TCP; a UDP origin is told by simple or v2"
    if not udp and header == "simple":
        yield ("proxy_protocol",), "simple is for UDP; a TCP origin is told by v1 or v2"
    if "proxy_header_datagram" in given and not (udp and header == "v2"):
        yield ("proxy_header_datagram",), "it goes with a UDP app and proxy_protocol: v2"
    if "spp_replies" in given and header != "simple":
        yield ("spp_replies",), "it goes with proxy_protocol: simple"
    if app.origin_socket == "shared" and (header, app.spp_replies) != ("simple", "strict"):
        yield (
            ("origin_socket",),
            "shared needs proxy_protocol: simple and strict replies, by which flows are told apart",
        )
    if not udp and "fragments" in given:
        yield ("fragments",), "it is for UDP; TCP cuts its segments to fit the path"
    if udp and app.limits.action == "delay":
        yield ("limits", "action"), "delay is for TCP; a datagram is not held back"
    if udp and app.is_named:
        yield ("sni" if app.sni else "alpn",), "it is for TCP, whose first bytes a TLS client sends"
    if udp and "keepalive" in given:
        yield ("keepalive",), "it is for TCP; a UDP flow ends after timeouts: {idle: ...}"
    if udp and "connect_s" in app.timeouts.model_fields_set:
        yield ("timeouts", "connect"), "it is for TCP; over UDP nothing is connected"
    if udp and "drain_pace" in given:
        yield ("drain_pace",), "it is for TCP; a datagram that is not taken is lost"
    of = (
        (("limits",), app.limits),
        (("limits", "client"), app.limits.client),
        (("limits", "prefix"), app.limits.prefix),
    )
    for path, limits in of:
        if udp and limits.sessions is not None:
            yield (*path, "sessions"), "a UDP app has flows; write flows"
        if not udp and limits.datagrams_per_second is not None:
            yield (*path, "datagrams_per_second"), "it is for UDP; a TCP app has bytes_per_second"
        if not udp and limits.flows is not None:
            yield (*path, "flows"), "a TCP app has sessions; write sessions"
    if udp and app.on_remove != "keep":
        yield (
            ("on_remove",),
            "it is for TCP; flows of a removed UDP app end, for want of a socket for replies",
        )
    if app.tproxy is not None and "edge_ips" in given:
        yield ("edge_ips",), "tproxy has its own prefixes; leave edge_ips out"
    if app.tproxy is not None and app.bindings:
        yield ("bindings",), "they do not go with tproxy, which takes the same by other means"
    if app.bindings and app.is_named:
        yield ("bindings",), "they do not go with sni and alpn, by which apps share a port"
    if app.bindings and udp and app.accept_proxy_protocol is not None:
        yield ("accept_proxy_protocol",), "over UDP it does not go with bindings, whose clients come themselves"
    if app.tproxy is not None and udp and app.accept_proxy_protocol is not None:
        yield ("accept_proxy_protocol",), "over UDP it does not go with tproxy, whose clients come themselves"
    if app.source == "client" and app.source_ips:
        yield ("source_ips",), "with source: client the source is the client's address"
    if app.source == "client" and app.origin_socket == "shared":
        yield ("origin_socket",), "with source: client each flow has a socket of its own"
    if udp and app.accept_proxy_protocol is not None and "timeout_s" in app.accept_proxy_protocol.model_fields_set:
        yield ("accept_proxy_protocol", "timeout"), "it is for TCP; a datagram has its header or not"


def _range_faults(name: str, app: App) -> Iterator[Fault]:
    ports = app.protocol.ports
    origins = [(("origin_direct", i), origin.ports) for i, origin in enumerate(app.origin_direct or ())]
    if app.origin_port is not None:
        origins.append((("origin_port",), app.origin_port))  # type: ignore[arg-type]
    if app.origin_dns is not None and app.origin_dns.type == "SRV" and len(ports) > 1:
        where = ("apps", name, "protocol")
        yield Fault(where, f"{app.protocol} has {len(ports)} ports, an SRV record has one; write one app for each")
    for path, given in origins:
        if len(given) != len(ports):
            right = PortRange(given.first, min(65535, given.first + len(ports) - 1))
            yield Fault(
                ("apps", name, *path),
                f"{given} has {len(given)} ports, protocol {app.protocol} has {len(ports)}; "
                f"write {right} for the same offsets",
            )


def _loop_faults(name: str, app: App, index: ListenerIndex) -> Iterator[Fault]:
    for i, origin in enumerate(app.origin_direct or ()):
        path = ("apps", name, "origin_direct", i)
        if origin.transport != app.protocol.transport:
            yield Fault(path, f"{origin} is not {app.protocol.transport}, which the app's protocol is")
            continue
        taken = index.owner(origin.transport, origin.address, origin.ports)
        if taken is None:
            continue
        where = f"{host_text(origin.address)}:{taken[1]}"
        if taken[0] == name:
            yield Fault(path, f"{where} is this app's own listener: a loop; name the server behind it")
        else:
            yield Fault(path, f"{where} is the listener of app {taken[0]}; name that app's origin instead")


def _pool_loops(config: Config, index: ListenerIndex) -> Iterator[Fault]:
    """Yield the origins of pools that are listeners of ours, for the transports and ports of the apps that use them."""
    for app_name, app in config.apps.items():
        balancer = config.load_balancers.get(app.load_balancer or "")
        for pool_name in balancer.all_pools() if balancer else ():
            pool = config.pools.get(pool_name)
            for i, origin in enumerate(pool.origins if pool else ()):
                if is_name(origin.address):
                    continue  # its addresses are refused when they are known
                ports = origin_ports(origin.port, app.protocol.ports)
                taken = index.owner(app.protocol.transport, parse_address(origin.address), ports)
                if taken is not None:
                    where = f"{host_text(parse_address(origin.address))}:{taken[1]}"
                    yield Fault(
                        ("pools", pool_name, "origins", i, "address"),
                        f"for app {app_name} that is {where}, the listener of app {taken[0]}: a loop; "
                        "name the server behind it",
                    )
