"""The compiled configuration that a worker runs on: immutable, small, and cheap to send between processes."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.access.rules import AccessSettings
from spectrum.core.address import PortRange
from spectrum.core.balancing.settings import BalancerSettings, PoolSettings, compile_balancer, compile_pool, labels
from spectrum.core.limits import Limits, Paces
from spectrum.core.names import NameSettings
from spectrum.core.numbers import Numbers
from spectrum.core.tls.settings import TlsFiles, TlsSettings, compile_tls

if TYPE_CHECKING:  # a worker takes settings, and needs no pydantic
    from spectrum.core.configuration.config import App, Config, OriginDns


class ListenerKey(msgspec.Struct, frozen=True, array_like=True):
    """A bound address and port of "tcp" or "udp". An empty address is every address of both families.

    A `transparent` one takes what TPROXY rules or bindings send to it, whatever address and port that was for; with
    port 0 it is bound to any, and is told apart by the `app` whose bindings lead to it.
    """

    address: str
    port: int
    transport: str = "tcp"
    transparent: bool = False
    app: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Its transport and port: only listeners with the same can overlap."""
        return self.transport, self.port

    def at(self, address: str) -> "ListenerKey":
        """Return the same listener at another address."""
        return msgspec.structs.replace(self, address=address)

    def overlaps(self, other: "ListenerKey") -> bool:
        """Tell whether the kernel takes two listeners of one transport and port for the same (bind(2), EADDRINUSE)."""
        one, two = self.address, other.address
        if not one or not two:
            return True
        if (":" in one) != (":" in two):
            return False
        return one == two or not {one, two}.isdisjoint(("0.0.0.0", "::"))

    def __str__(self) -> str:
        if self.app:
            return f"{self.transport} bindings of {self.app}"
        host = f"[{self.address}]" if ":" in self.address else self.address or "*"
        return f"{host}:{self.port}" + ("/udp" if self.transport == "udp" else "")


class AppSettings(msgspec.Struct, frozen=True, array_like=True):
    """One app. Times in seconds, `idle_timeout_s` 0 for never; an origin is an address and the port of offset 0."""

    name: str
    protocol: str
    transport: str
    addresses: tuple[str, ...]
    first_port: int
    last_port: int
    origins: tuple[tuple[str, int], ...]
    origin_name: NameSettings | None
    origin_port: int
    proxy_protocol: str
    header_datagram: str
    spp_replies: str
    origin_socket: str
    trusted: tuple[str, ...] | None
    header_timeout_s: float
    connect_timeout_s: float
    idle_timeout_s: float
    keepalive_idle_s: int
    keepalive_interval_s: int
    keepalive_count: int
    user_timeout_ms: int
    source_addresses: tuple[str, ...]
    load_balancer: str = ""
    on_remove: str = "keep"
    drain_pace: int = 0
    limits: Limits = Limits()
    ip_firewall: bool = False
    # Origins are connected to from the client's own address.
    transparent: bool = False
    sni: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    paces: Paces = Paces()
    tls: TlsSettings | None = None
    # With TPROXY: the port of its socket, else 0; and what is sent to it.
    tproxy_port: int = 0
    tproxy_prefixes: tuple[str, ...] = ()
    # Prefixes and ports that lead to it, 0 for any port.
    bindings: tuple[tuple[str, int], ...] = ()
    fragments: str = "forward"

    def listeners(self) -> Iterator[tuple[ListenerKey, int]]:
        """Yield each listener of the app with its port's offset in the range."""
        if self.tproxy_port:
            for address in self.addresses:
                yield ListenerKey(address, self.tproxy_port, self.transport, True), 0
            return
        for address in self.bound_addresses():
            yield ListenerKey(address, 0, self.transport, True, self.name), 0
        if self.bindings and not self.addresses:
            return
        for port in range(self.first_port, self.last_port + 1):
            for address in self.addresses or ("",):
                yield ListenerKey(address, port, self.transport), port - self.first_port

    def bound_addresses(self) -> list[str]:
        """Return where the sockets are that bindings lead to: one for each family."""
        families = sorted({":" in prefix for prefix, _ in self.bindings})
        return ["::1" if is_ipv6 else "127.0.0.1" for is_ipv6 in families]

    def offset_of(self, port: int) -> int:
        """Return the offset of a port in the app's range; 0 for one that a binding brings from outside it."""
        return port - self.first_port if self.first_port <= port <= self.last_port else 0


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything a worker needs to serve."""

    generation: int
    apps: tuple[AppSettings, ...]
    busy_poll_us: int
    log_sessions: bool
    max_flows: int = 1000
    pools: tuple[PoolSettings, ...] = ()
    balancers: tuple[BalancerSettings, ...] = ()
    geoip: str = ""
    geoip_asn: str = ""
    drain_timeout_s: float = 30.0
    tcp_limits: Limits = Limits()
    udp_limits: Limits = Limits()
    # Of what slow receivers did not take yet, for all workers together.
    memory_bytes: int = 512 * 2**20
    access: AccessSettings = AccessSettings()
    tls: TlsFiles = TlsFiles()
    # Records that were sent are kept until the supervisor tells that they are in its journal.
    has_journal: bool = False

    def listener_keys(self) -> list[ListenerKey]:
        """Return every listener, in the order of the file."""
        return list(dict.fromkeys(key for app in self.apps for key, _ in app.listeners()))

    def names(self) -> frozenset[NameSettings]:
        """Return the names to be looked up."""
        own = {app.origin_name for app in self.apps if app.origin_name}
        return frozenset(own | {origin.dns for pool in self.pools for origin in pool.origins if origin.dns})


Addresses = Mapping[str, tuple[str, ...]]
# For a ClientHello; nginx's preread_timeout is 30 s, and a parked connection costs as much as a session.
HELLO_TIMEOUT_S = 5.0


# Origins and pools of a node together. Their counts take 8 bytes each, for each worker.
MAX_NUMBERS = 65_535


def compile_snapshot(
    config: "Config",
    generation: int,
    numbers: Mapping[str, int] | None = None,
    access: AccessSettings = AccessSettings(),  # noqa: B008 - it is frozen
    tls: TlsFiles = TlsFiles(),  # noqa: B008
    compile_one: "Callable[[str, App], AppSettings] | None" = None,
) -> Snapshot:
    """Return the snapshot of a checked configuration.

    Args:
        config: The configuration.
        generation: Its number.
        numbers: Those of `balancing.settings.labels`.
        access: What `access_rules` came to.
        tls: What is in the files that are named for TLS.
        compile_one: `compile_app`, or something that remembers what it returned.
    """
    compile_one = compile_one or compile_app
    if numbers is None:
        numbers = Numbers(MAX_NUMBERS).plan(labels(config.pools))
    return Snapshot(
        generation=generation,
        apps=tuple(compile_one(name, app) for name, app in config.apps.items()),
        busy_poll_us=round(config.busy_poll_s * 1_000_000),
        log_sessions=config.log.sessions or config.records.journal is not None,
        max_flows=config.max_flows,
        pools=tuple(compile_pool(name, pool, numbers) for name, pool in config.pools.items()),
        balancers=tuple(
            compile_balancer(name, balancer, config.pools, config.node)
            for name, balancer in config.load_balancers.items()
        ),
        geoip=(config.geoip.database or "") if config.geoip else "",
        geoip_asn=(config.geoip.asn_database or "") if config.geoip else "",
        drain_timeout_s=config.drain_timeout_s,
        tcp_limits=config.limits.of("tcp"),
        udp_limits=config.limits.of("udp"),
        memory_bytes=config.limits.memory,
        access=access,
        tls=tls,
        has_journal=config.records.journal is not None,
    )


def _bindings(app: "App") -> Iterator[tuple[str, int]]:
    for binding in app.bindings:
        for port in app.ports_of(binding):
            yield str(binding.prefix), port


def _compile_name(dns: "OriginDns", ports: PortRange | None, transport: str) -> NameSettings:
    first, last = (ports.first, ports.last) if ports else (0, 0)
    return NameSettings(dns.name, dns.type, dns.ttl_s, first, last, transport)


def compile_app(name: str, app: "App") -> AppSettings:
    """Return the settings of an app."""
    accept, dns, keepalive = app.accept_proxy_protocol, app.origin_dns, app.keepalive
    return AppSettings(
        name=name,
        protocol=str(app.protocol),
        transport=app.protocol.transport,
        addresses=tuple(map(str, app.addresses)),
        first_port=app.protocol.ports.first,
        last_port=app.protocol.ports.last,
        origins=tuple((str(origin.address), origin.ports.first) for origin in app.origin_direct or ()),
        origin_name=_compile_name(dns, app.origin_port, app.protocol.transport) if dns else None,
        origin_port=app.origin_port.first if app.origin_port else 0,
        proxy_protocol=app.proxy_protocol,
        header_datagram=app.proxy_header_datagram,
        spp_replies=app.spp_replies,
        origin_socket=app.origin_socket,
        trusted=tuple(map(str, accept.trusted)) if accept else None,
        header_timeout_s=accept.timeout_s if accept else HELLO_TIMEOUT_S,
        connect_timeout_s=app.timeouts.connect_s,
        idle_timeout_s=app.idle_timeout_s,
        keepalive_idle_s=keepalive.idle_s,
        keepalive_interval_s=keepalive.interval_s,
        keepalive_count=keepalive.count,
        user_timeout_ms=keepalive.user_timeout_ms,
        source_addresses=tuple(map(str, app.source_ips)),
        load_balancer=app.load_balancer or "",
        on_remove=app.on_remove,
        drain_pace=app.drain_pace,
        limits=app.limits.of(app.protocol.transport),
        ip_firewall=app.ip_firewall,
        transparent=app.source == "client",
        sni=app.sni,
        alpn=app.alpn,
        paces=app.limits.paces,
        tls=compile_tls(app.tls, app.edge_tls, app.origin_tls),
        tproxy_port=app.tproxy.port if app.tproxy else 0,
        tproxy_prefixes=tuple(map(str, app.tproxy.prefixes)) if app.tproxy else (),
        bindings=tuple(_bindings(app)),
        fragments=app.fragments,
    )
