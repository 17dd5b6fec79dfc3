"""The objects of the configuration file, with Cloudflare's field names. Shape and values only; `checks` relates them.

What load balancing adds is in `balancing.objects`.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from spectrum.core.access.objects import AccessRule
from spectrum.core.address import OriginAddress, is_name, parse_address
from spectrum.core.balancing.objects import LoadBalancer, Monitor, Node, Pool
from spectrum.core.configuration.fields import (
    Address,
    AppProtocol,
    AsTuple,
    Duration,
    Listen,
    Network,
    Origin,
    Ports,
    PositiveDuration,
    Size,
    Strict,
    WholeSeconds,
    describe,
    duration,
    positive_duration,
    size,
    text,
)
from spectrum.core.filter import Filter
from spectrum.core.limits import Limits, Paces
from spectrum.core.records.objects import RecordsSection
from spectrum.core.server_names import server_name
from spectrum.core.tls.objects import Certificate, EdgeTls, Mode, OriginTls
from spectrum.wire.address import IPAddress

# One worker per core is the use; the bound keeps a typo from starting thousands of processes.
MAX_WORKERS = 256
# The table of flows is reserved whole, 250 MB of address space at this number.
MAX_FLOWS = 1_000_000
# A gigabyte.
MAX_AFFINITIES = 67_108_864
MAX_LIMIT = 1_000_000_000
# Below it a datagram of the usual size takes more than a second's worth.
MIN_BYTES_PER_SECOND = 2_000
# Of what slow receivers did not take yet, for all workers together.
MIN_MEMORY = 2**20
# 16 MB/s: above it a slow link would be taken for a stuck peer.
MAX_PACE = 16_000_000
# Each has about 28,000 ports towards one origin.
MAX_SOURCE_IPS = 64
# Workers report each second; a busy machine may delay two reports.
MIN_WORKER_TIMEOUT_S = 3
# sun_path less its end (unix(7)).
MAX_SOCKET_PATH = 107


def _pace(value: Any) -> int:
    pace: int = size(value)
    if pace < MIN_BYTES_PER_SECOND:
        raise ValueError(f"{value!r}: at least {MIN_BYTES_PER_SECOND} bytes per second")
    return pace


Pace = Annotated[int, PlainValidator(_pace)]
ServerName = Annotated[str, PlainValidator(lambda value: server_name(text(value)))]
# Records with a TTL of 0 are asked for as often; Cloudflare's own minimum is 600, Envoy's a second.
MIN_TTL_S = 1
# The busy poll holds the worker's loop; longer than this it would starve everything else on it.
MAX_BUSY_POLL_S = 0.001


class OriginDns(Strict):
    """`origin_dns`: a name, which of its records, and after which time at the latest to look it up again."""

    name: str
    type: Literal["", "A", "AAAA", "SRV"] = ""
    ttl_s: Annotated[float, PlainValidator(positive_duration)] = Field(600.0, alias="ttl")

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if is_name(value):
            return value
        try:
            parse_address(value)
        except ValueError:
            hint = "" if value.isascii() else "; write it in ASCII, as xn--..."
            raise ValueError(f"{value!r} is not a host name{hint}") from None
        raise ValueError(f"{value!r} is an address; it goes into origin_direct")

    @field_validator("ttl_s")
    @classmethod
    def _is_long_enough(cls, value: float) -> float:
        if value < MIN_TTL_S:
            raise ValueError(f"a ttl of at least {MIN_TTL_S} second")
        return value


class AcceptProxyProtocol(Strict):
    """`accept_proxy_protocol`: whose PROXY header is believed. Anybody else is refused."""

    trusted: Annotated[tuple[Network, ...], AsTuple] = Field(alias="from", min_length=1)
    timeout_s: PositiveDuration = Field(5.0, alias="timeout")


# nginx's stream proxy_timeout is 10 minutes, HAProxy insists on a value, Envoy takes 1 hour.
DEFAULT_TCP_IDLE_S = 3600.0
# Cloudflare's for UDP. Traefik's 3 s is what its users complain of (traefik#6859): DTLS and VoIP pause longer.
DEFAULT_UDP_IDLE_S = 30.0


class Timeouts(Strict):
    """`timeouts` of an app."""

    connect_s: PositiveDuration = Field(5.0, alias="connect")
    # 0: never. None: the transport's default.
    idle_s: Duration | None = Field(None, alias="idle")


class Keepalive(Strict):
    """`keepalive` of an app: how a peer that vanished is found, on both legs."""

    idle_s: WholeSeconds = Field(60, alias="idle")
    interval_s: WholeSeconds = Field(15, alias="interval")
    count: int = Field(4, ge=1, le=127)

    @property
    def user_timeout_ms(self) -> int:
        """TCP_USER_TIMEOUT just under the keepalive's own end, so that `count` keeps its meaning (tcp(7))."""
        return (self.idle_s + self.interval_s * self.count) * 1000 - 500


class ClientCounts(Strict):
    """`limits.client` at the top: what one client, by its prefix, has at once and brings per second."""

    sessions: int | None = Field(None, ge=1, le=MAX_LIMIT)
    flows: int | None = Field(None, ge=1, le=MAX_LIMIT)
    new_per_second: int | None = Field(None, ge=1, le=MAX_LIMIT)


class ClientLimits(ClientCounts):
    """`limits.client` of an app: also what one client moves per second."""

    bytes_per_second: Pace | None = None
    datagrams_per_second: int | None = Field(None, ge=1, le=MAX_LIMIT)


class Counts(Strict):
    """What there may be at once, and come per second. TCP counts sessions, UDP flows."""

    sessions: int | None = Field(None, ge=1, le=MAX_LIMIT)
    flows: int | None = Field(None, ge=1, le=MAX_LIMIT)
    new_per_second: int | None = Field(None, ge=1, le=MAX_LIMIT)
    client: ClientCounts = ClientCounts()
    prefix: ClientCounts = ClientCounts()
    # What becomes of new sessions above new_per_second: reset, or held back until it is their turn.
    action: Literal["refuse", "delay"] = "refuse"

    def of(self, transport: str) -> Limits:
        """Return what holds for sessions of "tcp", or for flows of "udp"."""
        tcp, client, prefix = transport == "tcp", self.client, self.prefix
        return Limits(
            sessions=(self.sessions if tcp else self.flows) or 0,
            new_per_second=self.new_per_second or 0,
            client_sessions=(client.sessions if tcp else client.flows) or 0,
            client_new_per_second=client.new_per_second or 0,
            prefix_sessions=(prefix.sessions if tcp else prefix.flows) or 0,
            prefix_new_per_second=prefix.new_per_second or 0,
            delays=tcp and self.action == "delay",
        )


class AppLimits(Counts):
    """`limits` of an app: also what moves per second, each way."""

    client: ClientLimits = ClientLimits()
    prefix: ClientLimits = ClientLimits()
    bytes_per_second: Pace | None = None
    datagrams_per_second: int | None = Field(None, ge=1, le=MAX_LIMIT)

    @property
    def paces(self) -> Paces:
        """What moves per second."""
        of = (self, self.client, self.prefix)
        return Paces(
            *(limits.bytes_per_second or 0 for limits in of), *(limits.datagrams_per_second or 0 for limits in of)
        )


class ClientPrefix(Strict):
    """`limits.client_prefix`: how much of an address makes a client. An IPv6 host has a /64 at least (RFC 6177)."""

    ipv4: int = Field(32, ge=8, le=32)
    ipv6: int = Field(64, ge=16, le=128)


class Prefix(Strict):
    """`limits.prefix_length`: what `limits.prefix` is about. A site has a /48 (RFC 6177)."""

    ipv4: int = Field(24, ge=8, le=32)
    ipv6: int = Field(48, ge=16, le=128)


class NodeLimits(Counts):
    """`limits`: the same for all apps together; `new_per_second` for TCP and UDP each."""

    memory: Size = 512 * 2**20
    client_prefix: ClientPrefix = ClientPrefix()
    prefix_length: Prefix = Prefix()

    @field_validator("memory")
    @classmethod
    def _holds_a_read_per_worker(cls, value: int) -> int:
        if value < MIN_MEMORY:
            raise ValueError(f"at least {MIN_MEMORY // 2**20}MiB: one read is half of one")
        return value


def _edge_ips(value: Any) -> Any:
    """Take a plain list, or Cloudflare's object: {type: static, ips: [...]} or {type: dynamic, connectivity: all}."""
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list listens nowhere; leave edge_ips out for every address")
        return tuple(value)
    if not isinstance(value, dict):
        hint = f"; write [{value}]" if isinstance(value, str) else ""
        raise ValueError(f"expected a list of addresses, found {describe(value)}{hint}")
    kind = value.get("type")
    if kind == "static" and set(value) == {"type", "ips"} and isinstance(value["ips"], list) and value["ips"]:
        return tuple(value["ips"])
    if kind == "dynamic" and set(value) <= {"type", "connectivity"}:
        connectivity = value.get("connectivity", "all")
        if connectivity in _ANY:
            return _ANY[connectivity]
        raise ValueError(f"connectivity {describe(connectivity)}; expected all, ipv4 or ipv6")
    raise ValueError("expected {type: static, ips: [...]} or {type: dynamic, connectivity: all | ipv4 | ipv6}")


def _mode(value: Any) -> Any:
    return "off" if value is False else value  # YAML 1.1 reads off as a boolean


_ANY: dict[str, tuple[str, ...] | None] = {"all": None, "ipv4": ("0.0.0.0",), "ipv6": ("::",)}


class Tproxy(Strict):
    """`tproxy` of an app: it takes what is sent to any address of some prefixes, by way of nftables."""

    # Of the one socket that takes it all.
    port: int = Field(ge=1, le=65535)
    prefixes: Annotated[tuple[Network, ...], AsTuple] = Field(min_length=1)


class BindingTo(Strict):
    """One of `bindings` of an app: what is sent to a prefix is its, by way of sk_lookup."""

    prefix: Network
    # 0: any. None: the app's own ports.
    port: int | None = Field(None, ge=0, le=65535)


class App(Strict):
    """One app: what it listens on, where it goes, what the origin is told."""

    # What it filled in is in the other keys: core.configuration.presets.
    preset: str | None = None
    protocol: AppProtocol
    edge_ips: Annotated[tuple[Address, ...] | None, BeforeValidator(_edge_ips)] = None
    # Instead of edge_ips: addresses that this machine need not have.
    tproxy: Tproxy | None = None
    # Without edge_ips it has no other listeners.
    bindings: Annotated[tuple[BindingTo, ...], AsTuple] = ()
    origin_direct: Annotated[tuple[Origin, ...], AsTuple] | None = None
    origin_dns: OriginDns | None = None
    load_balancer: str | None = None
    origin_port: Ports | None = None
    proxy_protocol: Literal["off", "v1", "v2", "simple"] = "off"
    # Receivers of PROXY v2 over UDP expect one of three dialects: docs/protocols.md.
    proxy_header_datagram: Literal["first", "standalone", "each"] = "first"
    spp_replies: Literal["strict", "lenient"] = "strict"
    origin_socket: Literal["flow", "shared"] = "flow"
    # UDP: whether datagrams that came in fragments, or too long for the path, go on in fragments.
    fragments: Literal["forward", "drop"] = "forward"
    accept_proxy_protocol: AcceptProxyProtocol | None = None
    # Several apps on one port are told apart by what TLS clients ask for; the TLS passes through.
    sni: Annotated[tuple[ServerName, ...], AsTuple] = ()
    alpn: Annotated[tuple[str, ...], AsTuple] = ()
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive = Keepalive()
    # What becomes of TCP sessions when a reload removes the app.
    on_remove: Literal["keep", "drain", "close"] = "keep"
    # Bytes per second that a peer takes at least, of what waits for it. 0: none.
    drain_pace: int = Field(100, ge=0, le=MAX_PACE)
    limits: AppLimits = AppLimits()
    source_ips: Annotated[tuple[Address, ...], AsTuple] = Field((), max_length=MAX_SOURCE_IPS)
    # The address that origins see: one of this machine, or the client's own.
    source: Literal["edge", "client"] = "edge"
    # Whether `access_rules` are asked.
    ip_firewall: bool = False
    # Whether TLS ends here, and whether origins are spoken to with it, verified or not.
    tls: Annotated[Mode, BeforeValidator(_mode)] = "off"
    edge_tls: EdgeTls = EdgeTls()
    origin_tls: OriginTls = OriginTls()

    @field_validator("origin_direct")
    @classmethod
    def _has_origin(cls, value: tuple[OriginAddress, ...] | None) -> tuple[OriginAddress, ...] | None:
        if value is not None and not value:
            raise ValueError("an empty list: name at least one origin, such as tcp://192.0.2.1:22")
        return value

    @model_validator(mode="after")
    def _has_one_kind_of_origin(self) -> "App":
        kinds = ("origin_direct", "origin_dns", "load_balancer")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"an app has exactly one of origin_direct, origin_dns and load_balancer; "
                f"found {' and '.join(given) or 'none of them'}"
            )
        if self.origin_dns is None and self.origin_port is not None:
            raise ValueError("origin_port goes with origin_dns; elsewhere each origin has its own port")
        if self.origin_dns is not None and (self.origin_dns.type == "SRV") is (self.origin_port is not None):
            if self.origin_port is None:
                raise ValueError("origin_dns needs origin_port, unless its type is SRV")
            raise ValueError("the port comes from the SRV record; leave origin_port out")
        return self

    @property
    def idle_timeout_s(self) -> float:
        """Seconds after which a quiet session or flow ends; 0 for never."""
        if self.timeouts.idle_s is not None:
            return self.timeouts.idle_s
        return DEFAULT_UDP_IDLE_S if self.protocol.transport == "udp" else DEFAULT_TCP_IDLE_S

    @property
    def is_named(self) -> bool:
        """Whether it takes only some of the clients on its port, by `sni` or `alpn`."""
        return bool(self.sni or self.alpn)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The addresses to listen on; empty for every address of both families."""
        if self.tproxy is not None:
            versions = sorted({prefix.version for prefix in self.tproxy.prefixes})
            return tuple(_EVERY[version] for version in versions)
        return self.edge_ips or ()

    @property
    def bound_ports(self) -> range:
        """The ports that it has sockets on."""
        if self.tproxy is not None:
            return range(self.tproxy.port, self.tproxy.port + 1)
        if self.bindings and not self.edge_ips:
            return range(0)
        return range(self.protocol.ports.first, self.protocol.ports.last + 1)

    def ports_of(self, binding: BindingTo) -> range:
        """Return the ports that a binding of this app takes; port 0 is any."""
        if binding.port is None:
            return range(self.protocol.ports.first, self.protocol.ports.last + 1)
        return range(binding.port, binding.port + 1)


_EVERY: dict[int, IPAddress] = {4: IPv4Address("0.0.0.0"), 6: IPv6Address("::")}


class Metrics(Strict):
    """`metrics`: where Prometheus scrapes, and where /healthz and /readyz answer."""

    listen: Listen


class Log(Strict):
    """`log`: one line per closed session, and the daemon's own messages."""

    format: Literal["json", "text"] = "json"
    sessions: bool = True
    # Under attack a line per connection is an attack of its own. 0: no limit.
    sessions_per_second: int = Field(1000, ge=0)


class GeoIp(Strict):
    """`geoip`: MMDB files that tell a client's country and autonomous system."""

    database: str | None = Field(None, min_length=1)
    asn_database: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _has_any(self) -> "GeoIp":
        if self.database is None and self.asn_database is None:
            raise ValueError("name a database of countries (database) or of autonomous systems (asn_database)")
        return self


class SessionTickets(Strict):
    """`session_tickets`: the keys by which TLS sessions are resumed, by any worker, change so often."""

    rotate_s: PositiveDuration = Field(12 * 3600.0, alias="rotate")


def _socket_path(value: Any) -> str:
    path = text(value)
    size = len(path.encode("utf-8", "surrogateescape"))
    if "\0" in path or not 1 <= size <= MAX_SOCKET_PATH:
        raise ValueError(f"expected the path of a UNIX socket, at most {MAX_SOCKET_PATH} bytes; this one has {size}")
    return path


class Control(Strict):
    """`control`: the UNIX socket that `spectrum status` and `spectrum reload` talk to."""

    socket: Annotated[str, PlainValidator(_socket_path)]


def _workers(value: Any) -> Any:
    if value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f"expected auto or a number from 1 to {MAX_WORKERS}, found {describe(value)}")
    return value


def _worker_timeout(value: object) -> float:
    seconds = duration(value)
    if 0 < seconds < MIN_WORKER_TIMEOUT_S:
        raise ValueError(f"{value!r}: 0 or at least {MIN_WORKER_TIMEOUT_S:g}s; workers report each second")
    return seconds


def _busy_poll(value: Any) -> float:
    if value == "off":
        return 0.0
    seconds = duration(value)
    if seconds > MAX_BUSY_POLL_S:
        raise ValueError(f"{value!r} would hold a worker too long; off, or up to 1ms")
    return seconds


# Measured: docs/decisions/001-busy-poll.md.
DEFAULT_BUSY_POLL_S = 0.0002


class UdpOffload(Strict):
    """`udp_offload`: the kernel moves the datagrams of known flows by itself, where it can."""

    # Where datagrams of clients and origins come in; none: on every interface with Ethernet headers.
    interfaces: Annotated[tuple[str, ...], AsTuple] = ()


def _switch(value: Any) -> Any:
    """Let `true` stand for a section with nothing in it."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Kernel(Strict):
    """`kernel`: where eBPF programs and their maps are pinned."""

    bpffs: str = Field("/sys/fs/bpf", min_length=1)


class Settings(Strict):
    """The file, less its named objects, which are checked one by one."""

    # What root becomes; None: it stays what it was started as.
    user: str | None = Field(None, min_length=1, max_length=32)
    # Workers do without system calls that they do not need, where libseccomp is present.
    seccomp: bool = False
    # 0: one per core.
    workers: Annotated[int, PlainValidator(_workers)] = 0
    busy_poll_s: Annotated[float, PlainValidator(_busy_poll)] = Field(DEFAULT_BUSY_POLL_S, alias="busy_poll")
    drain_timeout_s: Duration = Field(30.0, alias="drain_timeout")
    # For TCP sessions of the workers before an upgrade; 0: as long as they last.
    handover_timeout_s: Duration = Field(0.0, alias="handover_timeout")
    # A worker without a sign of life for so long is replaced; 0: never.
    worker_timeout_s: Annotated[float, PlainValidator(_worker_timeout)] = Field(30.0, alias="worker_timeout")
    # UDP flows in each worker, 336 bytes each.
    max_flows: int = Field(100_000, ge=1, le=MAX_FLOWS)
    # Clients whose origin is remembered by session affinity, 16 bytes each, for all workers together.
    max_affinities: int = Field(262_144, ge=4, le=MAX_AFFINITIES)
    limits: NodeLimits = NodeLimits()
    node: Node = Node()
    geoip: GeoIp | None = None
    metrics: Metrics | None = None
    log: Log = Log()
    records: RecordsSection = RecordsSection()
    kernel: Kernel = Kernel()
    filter: Filter | None = None
    udp_offload: Annotated[UdpOffload | None, BeforeValidator(_switch)] = None
    session_tickets: SessionTickets = SessionTickets()
    control: Control | None = None


class Config(Settings):
    """A whole file that passed every check."""

    access_rules: dict[str, AccessRule] = Field(default_factory=dict)
    certificates: dict[str, Certificate] = Field(default_factory=dict)
    monitors: dict[str, Monitor] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)
    load_balancers: dict[str, LoadBalancer] = Field(default_factory=dict)
    apps: dict[str, App]
