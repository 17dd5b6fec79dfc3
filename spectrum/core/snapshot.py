"""The compiled configuration that a worker runs on: immutable, small, and cheap to send between processes."""

from collections.abc import Iterator, Mapping

import msgspec

from spectrum.core.access.rules import AccessSettings
from spectrum.core.balancing.settings import BalancerSettings, PoolSettings
from spectrum.core.limits.rules import Limits, Paces
from spectrum.core.names import NameSettings
from spectrum.core.origin_bounds import OriginBounds
from spectrum.core.tcp_options import TcpOptions
from spectrum.core.tls.settings import TlsFiles, TlsSettings


class ListenerKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A bound address and port of "tcp" or "udp". An empty address is every address of both families.

    A `transparent` one receives packets by TPROXY rules or bindings, with any destination address and port; with port 0
    it is bound to an ephemeral port, and identified by the `app` of its bindings.
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

    def with_address(self, address: str) -> "ListenerKey":
        """Return the same listener at another address."""
        return msgspec.structs.replace(self, address=address)

    def overlaps(self, other: "ListenerKey") -> bool:
        """Return whether the kernel treats two listeners of one transport and port as equal (bind(2), EADDRINUSE)."""
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


class AppSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
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
    # Connections to origins use the client's address as source.
    transparent: bool = False
    sni: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    paces: Paces = Paces()
    tls: TlsSettings | None = None
    # With TPROXY: the port of its socket, otherwise 0; and the destinations it receives.
    tproxy_port: int = 0
    tproxy_prefixes: tuple[str, ...] = ()
    # Prefixes and ports of its bindings, 0 for any port.
    bindings: tuple[tuple[str, int], ...] = ()
    fragments: str = "forward"
    # It accepts no new sessions or flows.
    paused: bool = False
    # Options of the sockets to clients and to origins.
    client_tcp: TcpOptions = TcpOptions()
    origin_tcp: TcpOptions = TcpOptions()
    # Its zone and account, for access rules: core.access.rules.scope_name.
    scopes: tuple[str, ...] = ()
    bounds: OriginBounds = OriginBounds()

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
        """Return the addresses of the sockets for bindings: one for each family."""
        families = sorted({":" in prefix for prefix, _ in self.bindings})
        return ["::1" if is_ipv6 else "127.0.0.1" for is_ipv6 in families]

    def offset_of(self, port: int) -> int:
        """Return the offset of a port in the app's range; 0 for one outside it, by a binding."""
        return port - self.first_port if self.first_port <= port <= self.last_port else 0


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything a worker needs to serve."""

    generation: int
    apps: tuple[AppSettings, ...]
    busy_poll_us: int
    log_sessions: bool
    pools: tuple[PoolSettings, ...] = ()
    balancers: tuple[BalancerSettings, ...] = ()
    geoip: str = ""
    geoip_asn: str = ""
    drain_timeout_s: float = 30.0
    tcp_limits: Limits = Limits()
    udp_limits: Limits = Limits()
    # Buffered data for slow receivers, for all workers together.
    memory_bytes: int = 512 * 2**20
    access: AccessSettings = AccessSettings()
    tls: TlsFiles = TlsFiles()
    # Sent records are kept until the supervisor confirms that they are in its journal.
    has_journal: bool = False
    # Sessions are recorded when they are connected, and then at this interval in milliseconds (0: never).
    tells_connects: bool = False
    progress_ms: int = 0
    # For apps with limits of their own origins: the number under which each is counted, in all workers.
    origin_places: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    # Limit of records per second of each app, of sessions at an origin; 0 for no limit.
    records_per_s: int = 0

    def listener_keys(self) -> list[ListenerKey]:
        """Return every listener, in the order of the file."""
        return list(dict.fromkeys(key for app in self.apps for key, _ in app.listeners()))

    def names(self) -> frozenset[NameSettings]:
        """Return the names to be looked up."""
        own = {app.origin_name for app in self.apps if app.origin_name}
        return frozenset(own | {origin.dns for pool in self.pools for origin in pool.origins if origin.dns})


Addresses = Mapping[str, tuple[str, ...]]

# Origins and pools of a node together. Their counters take 8 bytes each, for each worker.
MAX_NUMBERS = 65_535
