"""Checks of monitors, pools and load balancers against each other, and against the apps that use them."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import attrgetter

from spectrum.core.address import host_text, is_name, parse_address
from spectrum.core.balancing.compiling import compile_balancing
from spectrum.core.balancing.groups import probing
from spectrum.core.balancing.objects import LoadBalancer, Monitor, MonitorGroup, Pool, origin_ports
from spectrum.core.configuration.checks import ListenerIndex
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, nearest
from spectrum.core.configuration.feature import CheckContext, Feature, Named, Section

# Maximum number of pools and origins of a node: the capacity of the shared counters, less a reserve for replacements.
MAX_ORIGINS = 60_000

# The types of monitors for which each setting is valid.
_HTTP = frozenset({"http", "https"})
_TYPES = {
    "method": _HTTP | {"tcp"},
    "path": _HTTP,
    "header": _HTTP,
    "expected_codes": _HTTP,
    "expected_body": _HTTP,
    "follow_redirects": _HTTP,
    "allow_insecure": frozenset({"https"}),
    "sni": frozenset({"https"}),
    "send": frozenset({"tcp", "udp_icmp"}),
    "expect": frozenset({"tcp"}),
    "port": _HTTP | {"tcp", "udp_icmp", "smtp"},
    "proxy_protocol": _HTTP | {"tcp", "udp_icmp", "smtp"},
}
# Keys of Terraform, beside those of the file.
_SENT_DEFAULTS = {"method": "GET"}
# The default port of a protocol, if neither monitor nor origin has one.
_DEFAULT_PORTS = {"http": 80, "https": 443, "icmp_ping": 0}


def check_balancing(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield every fault between the monitors, pools, load balancers and apps of a file.

    Args:
        config: The objects that are checked.
        surroundings: The objects that they may refer to.
    """
    whole, names = surroundings.whole, surroundings.names
    for name, monitor in config.monitors.items():
        yield from monitor_faults(("monitors", name), monitor)
    for name, group in config.monitor_groups.items():
        yield from _group_faults(name, group, names["monitors"])
    for name, pool in config.pools.items():
        yield from _pool_faults(name, pool)
        yield from _probing_faults(("pools", name), pool, surroundings)
    for name, balancer in config.load_balancers.items():
        yield from _balancer_faults(name, balancer, whole, names["pools"])
    for name, app in config.apps.items():
        yield from _app_faults(name, app, whole, names["load_balancers"])
    yield from _header_faults(config.apps, whole)
    yield from _pool_loops(config.apps, whole, surroundings.index)
    if not config.pools:
        return
    if (count := len(whole.pools) + sum(len(pool.origins) for pool in whole.pools.values())) > MAX_ORIGINS:
        yield Fault(("pools",), f"{count} pools and origins are more than {MAX_ORIGINS}")


def probe_port(monitor: Monitor, origin_port: int) -> int:
    """Return the port that a monitor probes at an origin with `origin_port`; 0 without one."""
    return monitor.port or origin_port or _DEFAULT_PORTS.get(monitor.type, 0)


def probed_transport(monitor: Monitor) -> str:
    """Return the transport of a monitor's probes, "tcp" or "udp"."""
    return "udp" if monitor.type == "udp_icmp" else "tcp"


def headers_used(apps: Mapping[str, App], balancers: Mapping[str, LoadBalancer]) -> dict[tuple[str, str], set[str]]:
    """Return, per pool and transport, the PROXY headers that apps send to its origins."""
    used: dict[tuple[str, str], set[str]] = {}
    balanced = [app for app in apps.values() if app.load_balancer is not None] if balancers else []
    # Thousands of apps may use a load balancer, and most send the same.
    for name, transport, header in {
        (app.load_balancer, app.protocol.transport, app.proxy_protocol) for app in balanced
    }:
        balancer = balancers.get(name or "")
        for pool in balancer.all_pools() if balancer else ():
            used.setdefault((pool, transport), set()).add(header)
    return used


def monitor_faults(path: tuple[str, ...], monitor: Monitor) -> Iterator[Fault]:
    """Yield the settings of a monitor that contradict each other; `path` is its place."""
    for setting in monitor.model_fields_set:
        types = _TYPES.get(setting)
        if types is not None and monitor.type not in types and not _is_default(monitor, setting):
            yield Fault((*path, setting), f"it is valid for {_listed(types)}, not for {monitor.type}", at_key=True)
    if monitor.type == "tcp" and monitor.method not in (None, "connection_established", "GET"):
        yield Fault((*path, "method"), "tcp monitors have only connection_established")
    if monitor.proxy_protocol == "simple" and monitor.type != "udp_icmp":
        yield Fault((*path, "proxy_protocol"), "simple is for udp_icmp; over TCP use v1 or v2")
    if monitor.proxy_protocol == "v1" and monitor.type == "udp_icmp":
        yield Fault((*path, "proxy_protocol"), "v1 is for TCP; over UDP use simple or v2")


def _is_default(monitor: Monitor, setting: str) -> bool:
    """Return whether a setting has its default: clients of the API send every default, whatever the type."""
    return getattr(monitor, setting) in (Monitor.model_fields[setting].default, _SENT_DEFAULTS.get(setting))


def _listed(types: frozenset[str]) -> str:
    return " and ".join(sorted(types))


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    return f'no {kind} "{name}"' + (nearest(name, list(known)) if known else f"; the file has no {kind}s")


def _group_faults(name: str, group: MonitorGroup, named: Collection[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for i, member in enumerate(group.members):
        path = ("monitor_groups", name, "members", i, "monitor")
        if member.monitor not in named:
            yield Fault(path, _unknown("monitor", member.monitor, named))
        elif member.monitor in seen:
            yield Fault(path, f"{member.monitor} is a member already")
        seen.add(member.monitor)


def _pool_faults(name: str, pool: Pool) -> Iterator[Fault]:
    path = ("pools", name)
    seen: set[str] = set()
    for i, origin in enumerate(pool.origins):
        if origin.name in seen:
            yield Fault((*path, "origins", i, "name"), f"{origin.name} is already the name of another origin")
        seen.add(origin.name)
    if pool.minimum_origins > len(pool.origins):
        yield Fault(
            (*path, "minimum_origins"), f"{pool.minimum_origins} of {len(pool.origins)} origins can never be healthy"
        )
    if (pool.latitude is None) != (pool.longitude is None):
        missing = "longitude" if pool.longitude is None else "latitude"
        yield Fault(path, f'"{missing}" is missing; a location needs both', at_key=True)


def _probing_faults(path: tuple[str, ...], pool: Pool, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield the faults of the health checks of a pool's origins."""
    whole, names = surroundings.whole, surroundings.names
    if pool.monitor is not None and pool.monitor not in names["monitors"]:
        yield Fault((*path, "monitor"), _unknown("monitor", pool.monitor, names["monitors"]))
    if pool.monitor_group is not None and pool.monitor_group not in names["monitor_groups"]:
        yield Fault((*path, "monitor_group"), _unknown("monitor group", pool.monitor_group, names["monitor_groups"]))
    for member in probing(pool, whole.monitor_groups):
        monitor = whole.monitors.get(member.monitor)
        if monitor is None or monitor.type == "icmp_ping":
            continue
        for i, origin in enumerate(pool.origins):
            if not probe_port(monitor, origin.port):
                yield Fault(
                    (*path, "origins", i),
                    f"no port to probe: give this origin or monitor {member.monitor} a port",
                )


def _balancer_faults(name: str, balancer: LoadBalancer, config: Config, named: Collection[str]) -> Iterator[Fault]:
    path: tuple[str | int, ...] = ("load_balancers", name)
    places: list[tuple[tuple[str | int, ...], str]] = [
        (("default_pools", i), pool) for i, pool in enumerate(balancer.default_pools)
    ]
    if balancer.fallback_pool is not None:
        places.append((("fallback_pool",), balancer.fallback_pool))
    for key in ("region_pools", "country_pools", "pop_pools"):
        for place, pools in getattr(balancer, key).items():
            places += [((key, place, i), pool) for i, pool in enumerate(pools)]
    places += [(("random_steering", "pool_weights", pool), pool) for pool in balancer.random_steering.pool_weights]
    for steps, pool in places:
        if pool not in named:
            yield Fault((*path, *steps), _unknown("pool", pool, named))
    if balancer.policy == "proximity":
        yield from _proximity_faults(path, balancer, config)
    if balancer.policy == "random" and not any(
        balancer.random_steering.pool_weights.get(pool, balancer.random_steering.default_weight)
        for pool in balancer.default_pools
    ):
        yield Fault((*path, "random_steering"), "every pool has weight 0; no client could be sent anywhere")


def _proximity_faults(path: tuple[str | int, ...], balancer: LoadBalancer, config: Config) -> Iterator[Fault]:
    if config.node.latitude is None or config.node.longitude is None:
        yield Fault((*path, "steering_policy"), "proximity is measured from node: {latitude: ..., longitude: ...}")
    lacking = [pool for pool in balancer.default_pools if pool in config.pools and config.pools[pool].latitude is None]
    if lacking:
        yield Fault((*path, "steering_policy"), f"proximity needs latitude and longitude of pool {', '.join(lacking)}")


def _app_faults(name: str, app: App, config: Config, named: Collection[str]) -> Iterator[Fault]:
    if app.load_balancer is None:
        return
    if app.load_balancer not in named:
        yield Fault(("apps", name, "load_balancer"), _unknown("load balancer", app.load_balancer, named))
    balancer = config.load_balancers.get(app.load_balancer)
    if balancer is None:
        return
    called = balancer.name or app.load_balancer
    if app.origin_dns is not None and app.origin_dns.name != called:
        yield Fault(
            ("apps", name, "origin_dns", "name"), f"with load_balancer: {app.load_balancer} it is called {called}"
        )
    if balancer.session_affinity == "ip_port" and app.protocol.transport == "tcp":
        yield Fault(
            ("load_balancers", app.load_balancer, "session_affinity"),
            f"ip_port is for UDP; app {name} is TCP, where each connection has a port of its own: use ip",
        )
    for pool_name in balancer.all_pools():
        pool = config.pools.get(pool_name)
        for i, origin in enumerate(pool.origins if pool else ()):
            if len(origin_ports(origin.port, app.protocol.ports)) < len(app.protocol.ports):
                yield Fault(
                    ("pools", pool_name, "origins", i, "port"),
                    f"app {name} has {len(app.protocol.ports)} ports; from {origin.port} on there are fewer",
                )


def _header_faults(apps: Mapping[str, App], whole: Config) -> Iterator[Fault]:
    """Yield the pools of apps whose monitor cannot infer which PROXY header to send."""
    for (pool_name, transport), used in headers_used(apps, whole.load_balancers).items():
        pool = whole.pools.get(pool_name)
        if pool is None or len(used) < 2:
            continue
        for member in probing(pool, whole.monitor_groups):
            monitor = whole.monitors.get(member.monitor)
            if monitor is None or monitor.proxy_protocol != "auto" or monitor.type == "icmp_ping":
                continue
            if probed_transport(monitor) == transport:
                yield Fault(
                    ("pools", pool_name, "monitor" if pool.monitor is not None else "monitor_group"),
                    f"the {transport} apps that use the pool send different proxy_protocol "
                    f"({', '.join(sorted(used))}); say which one monitor {member.monitor} sends: "
                    "proxy_protocol: off, v1, v2 or simple",
                )


def _pool_loops(apps: Mapping[str, App], whole: Config, index: ListenerIndex) -> Iterator[Fault]:
    """Yield the origins of pools that are listeners of this node, for the transports and ports of the apps that use
    them.
    """
    for app_name, app in apps.items():
        balancer = whole.load_balancers.get(app.load_balancer or "")
        for pool_name in balancer.all_pools() if balancer else ():
            pool = whole.pools.get(pool_name)
            for i, origin in enumerate(pool.origins if pool else ()):
                if is_name(origin.address):
                    continue  # Its addresses are checked when they are known.
                ports = origin_ports(origin.port, app.protocol.ports)
                taken = index.owner(app.protocol.transport, parse_address(origin.address), ports)
                if taken is not None:
                    where = f"{host_text(parse_address(origin.address))}:{taken[1]}"
                    yield Fault(
                        ("pools", pool_name, "origins", i, "address"),
                        f"for app {app_name} that is {where}, the listener of app {taken[0]}: a loop; "
                        "use the address of the server behind it",
                    )


def _probed_by(pool: Pool) -> Iterator[Named]:
    if pool.monitor is not None:
        yield "monitors", pool.monitor
    if pool.monitor_group is not None:
        yield "monitor_groups", pool.monitor_group


def _refers_to_pools(balancer: LoadBalancer) -> Iterable[Named]:
    return (("pools", name) for name in (*balancer.all_pools(), *balancer.random_steering.pool_weights))


BALANCING = Feature(
    "balancing",
    sections=(
        Section("monitors", "monitor", Monitor, shows=attrgetter("type", "port", "proxy_protocol")),
        Section(
            "monitor_groups",
            "monitor group",
            MonitorGroup,
            refers_to=lambda group: (("monitors", member.monitor) for member in group.members),
            shows=attrgetter("members"),
            passes_on=True,
        ),
        Section(
            "pools",
            "pool",
            Pool,
            refers_to=_probed_by,
            shows=lambda pool: (pool.latitude, [(origin.address, origin.port) for origin in pool.origins]),
        ),
        Section(
            "load_balancers",
            "load balancer",
            LoadBalancer,
            refers_to=_refers_to_pools,
            shows=lambda balancer: (balancer.all_pools(), balancer.session_affinity),
            passes_on=True,
        ),
    ),
    fixed=("max_affinities",),
    check=check_balancing,
    compile=compile_balancing,
)
