"""The objects of the configuration file, with Cloudflare's field names. Shape and values only; `checks` compares
objects. This file has the common part: apps, and the daemon's own settings. Features add theirs in their folders, as
classes that `App` or `Config` inherits from. Keys are listed in the opposite order of these classes.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, PrivateAttr, field_validator, model_validator

from spectrum.core.access.objects import AccessKeys, AccessKeysOfApp
from spectrum.core.address import OriginAddress, is_name, parse_address
from spectrum.core.analytics.section import AnalyticsKeys
from spectrum.core.api import ApiKeys
from spectrum.core.balancing.objects import BalancingKeys
from spectrum.core.bindings import BindingKeys, BindingTo
from spectrum.core.configuration.cloudflare import CloudflareKeysOfApp
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
    Strict,
    WholeSeconds,
    describe,
    duration,
    positive_duration,
    text,
)
from spectrum.core.ddos.ruleset_objects import RulesetKeys
from spectrum.core.ddos.section import DdosKeys
from spectrum.core.dns import DnsKeys
from spectrum.core.filter import FilterKeys
from spectrum.core.flow_programs.objects import FlowProgramKeys
from spectrum.core.limits.objects import LimitKeys, LimitKeysOfApp
from spectrum.core.offload import OffloadKeys
from spectrum.core.origins import OriginKeysOfApp
from spectrum.core.records.objects import RecordKeys
from spectrum.core.server_names import server_name
from spectrum.core.tcp import TcpKeysOfApp
from spectrum.core.tcp_protection.objects import TcpProtectionKeys
from spectrum.core.tenants.objects import TenantKeys, TenantKeysOfApp
from spectrum.core.tls.objects import TlsKeys, TlsKeysOfApp
from spectrum.core.tproxy import TproxyKeys
from spectrum.wire.address import IPAddress

# One worker per core is usual; the limit prevents that a typo starts thousands of processes.
MAX_WORKERS = 256
# The table of flows is reserved whole, 250 MB of address space at this number.
MAX_FLOWS = 1_000_000
# 16 MB/s: above it a slow link would count as a receiver that does not read.
MAX_PACE = 16_000_000
# Each has about 28,000 ports towards one origin.
MAX_SOURCE_IPS = 64
# Workers report each second; a busy machine may delay two reports.
MIN_WORKER_TIMEOUT_S = 3
# sun_path without its terminator (unix(7)).
MAX_SOCKET_PATH = 107


ServerName = Annotated[str, PlainValidator(lambda value: server_name(text(value)))]
# The interval for records with a TTL of 0; Cloudflare's minimum is 600, Envoy's a second.
MIN_TTL_S = 1
# Busy polling blocks the worker's loop; longer than this would starve all other tasks.
MAX_BUSY_POLL_S = 0.001


class OriginDns(Strict):
    """`origin_dns`: a name, the type of its records, and the maximum interval between look-ups."""

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
        raise ValueError(f"{value!r} is an address; write it in origin_direct")

    @field_validator("ttl_s")
    @classmethod
    def _is_long_enough(cls, value: float) -> float:
        if value < MIN_TTL_S:
            raise ValueError(f"a ttl of at least {MIN_TTL_S} second")
        return value


class AcceptProxyProtocol(Strict):
    """`accept_proxy_protocol`: the proxies whose PROXY headers are trusted. Others are refused."""

    trusted: Annotated[tuple[Network, ...], AsTuple] = Field(alias="from", min_length=1)
    timeout_s: PositiveDuration = Field(5.0, alias="timeout")


# nginx's stream proxy_timeout is 10 minutes, HAProxy has no default, Envoy has 1 hour.
DEFAULT_TCP_IDLE_S = 3600.0
# Cloudflare's for UDP. Users of Traefik complain of its 3 s (traefik#6859): DTLS and VoIP pause longer.
DEFAULT_UDP_IDLE_S = 30.0


class Timeouts(Strict):
    """`timeouts` of an app."""

    connect_s: PositiveDuration = Field(5.0, alias="connect")
    # 0: never. None: the default of the transport.
    idle_s: Duration | None = Field(None, alias="idle")


class Keepalive(Strict):
    """`keepalive` of an app: detection of dead peers, on both legs."""

    idle_s: WholeSeconds = Field(60, alias="idle")
    interval_s: WholeSeconds = Field(15, alias="interval")
    count: int = Field(4, ge=1, le=127)

    @property
    def user_timeout_ms(self) -> int:
        """TCP_USER_TIMEOUT just below the end of keepalive, so that `count` keeps its meaning (tcp(7))."""
        return (self.idle_s + self.interval_s * self.count) * 1000 - 500


def _edge_ips(value: Any) -> Any:
    """Accept a list, or Cloudflare's object: {type: static, ips: [...]} or {type: dynamic, connectivity: all}."""
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list would listen nowhere; omit edge_ips for every address")
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


_ANY: dict[str, tuple[str, ...] | None] = {"all": None, "ipv4": ("0.0.0.0",), "ipv6": ("::",)}


class AppBasics(Strict):
    """The basic settings of an app: listeners, origins, PROXY protocol."""

    # Its values are filled in other keys: core.configuration.presets.
    preset: str | None = None
    protocol: AppProtocol
    edge_ips: Annotated[tuple[Address, ...] | None, BeforeValidator(_edge_ips)] = None
    origin_direct: Annotated[tuple[Origin, ...], AsTuple] | None = None
    origin_dns: OriginDns | None = None
    load_balancer: str | None = None
    origin_port: Ports | None = None
    proxy_protocol: Literal["off", "v1", "v2", "simple"] = "off"
    # Receivers of PROXY v2 over UDP expect one of three variants: docs/protocols.md.
    proxy_header_datagram: Literal["first", "standalone", "each"] = "first"
    spp_replies: Literal["strict", "lenient"] = "strict"
    origin_socket: Literal["flow", "shared"] = "flow"
    # UDP: whether datagrams that arrive in fragments, or are too long for the path, are forwarded in fragments.
    fragments: Literal["forward", "drop"] = "forward"
    accept_proxy_protocol: AcceptProxyProtocol | None = None
    # Several apps on one port are selected by the TLS ClientHello; the TLS passes through.
    sni: Annotated[tuple[ServerName, ...], AsTuple] = ()
    alpn: Annotated[tuple[str, ...], AsTuple] = ()
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive = Keepalive()
    # What happens to TCP sessions when a reload removes the app.
    on_remove: Literal["keep", "drain", "close"] = "keep"
    # Minimum rate in bytes per second at which a peer must read buffered data. 0: none.
    drain_pace: int = Field(100, ge=0, le=MAX_PACE)
    source_ips: Annotated[tuple[Address, ...], AsTuple] = Field((), max_length=MAX_SOURCE_IPS)
    # The source address that origins see: one of this machine, or the client's.
    source: Literal["edge", "client"] = "edge"

    @field_validator("origin_direct")
    @classmethod
    def _has_origin(cls, value: tuple[OriginAddress, ...] | None) -> tuple[OriginAddress, ...] | None:
        if value is not None and not value:
            raise ValueError("an empty list: name at least one origin, such as tcp://192.0.2.1:22")
        return value

    @property
    def looked_up(self) -> OriginDns | None:
        """The name that origins are looked up by; with a load balancer `origin_dns` only repeats its name."""
        return self.origin_dns if self.load_balancer is None else None

    @model_validator(mode="after")
    def _has_one_kind_of_origin(self) -> "AppBasics":
        kinds = ("origin_direct", "origin_dns", "load_balancer")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if given == ["origin_dns", "load_balancer"]:  # Cloudflare's: the name of the load balancer
            given = ["load_balancer"]
        if len(given) != 1:
            raise ValueError(
                f"an app needs exactly one of origin_direct, origin_dns and load_balancer; "
                f"found {' and '.join(given) or 'none of them'}"
            )
        if self.load_balancer is not None and self.origin_port not in (None, self.protocol.ports):
            raise ValueError(
                f"origin_port {self.origin_port}: the ports of a load balancer's origins are in its pools; "
                f"omit it, or write {self.protocol.ports}"
            )
        if self.looked_up is not None and (self.looked_up.type == "SRV") is (self.origin_port is not None):
            if self.origin_port is None:
                raise ValueError("origin_dns needs origin_port, unless its type is SRV")
            raise ValueError("the port comes from the SRV record; omit origin_port")
        return self


class App(
    TenantKeysOfApp,
    TcpKeysOfApp,
    OriginKeysOfApp,
    TlsKeysOfApp,
    AccessKeysOfApp,
    LimitKeysOfApp,
    BindingKeys,
    TproxyKeys,
    CloudflareKeysOfApp,
    AppBasics,
):
    """One app."""

    @property
    def idle_timeout_s(self) -> float:
        """Seconds after which an idle session or flow ends; 0 for never."""
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

    def shares_with(self, other: "App") -> bool:
        """Return whether it has the same listeners as another app, distinguished by clients' names."""
        same = self.addresses == other.addresses and self.protocol == other.protocol and self.tproxy == other.tproxy
        return same and (self.is_named or other.is_named)

    def ports_of(self, binding: BindingTo) -> range:
        """Return the ports that a binding of this app covers; port 0 is any."""
        if binding.port is None:
            return range(self.protocol.ports.first, self.protocol.ports.last + 1)
        return range(binding.port, binding.port + 1)


_EVERY: dict[int, IPAddress] = {4: IPv4Address("0.0.0.0"), 6: IPv6Address("::")}


class Metrics(Strict):
    """`metrics`: the address for Prometheus, /healthz and /readyz."""

    listen: Listen


def _socket_path(value: Any) -> str:
    path = text(value)
    size = len(path.encode("utf-8", "surrogateescape"))
    if "\0" in path or not 1 <= size <= MAX_SOCKET_PATH:
        raise ValueError(f"expected the path of a UNIX socket, at most {MAX_SOCKET_PATH} bytes; this one has {size}")
    return path


class Control(Strict):
    """`control`: the UNIX socket for `spectrum status`, `spectrum reload` and other commands."""

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
        raise ValueError(f"{value!r} would block a worker too long; write off, or up to 1ms")
    return seconds


# Measured: docs/decisions/001-busy-poll.md.
DEFAULT_BUSY_POLL_S = 0.0002


class Kernel(Strict):
    """`kernel`: where eBPF programs and their maps are pinned."""

    bpffs: str = Field("/sys/fs/bpf", min_length=1)


class DaemonKeys(Strict):
    """Top-level keys that every daemon has."""

    # The user that root switches to; None: no switch.
    user: str | None = Field(None, min_length=1, max_length=32)
    # Whether workers run under seccomp, without system calls that they do not need, if libseccomp is present.
    seccomp: bool = False
    # 0: one per core.
    workers: Annotated[int, PlainValidator(_workers)] = 0
    busy_poll_s: Annotated[float, PlainValidator(_busy_poll)] = Field(DEFAULT_BUSY_POLL_S, alias="busy_poll")
    drain_timeout_s: Duration = Field(30.0, alias="drain_timeout")
    # Time limit for TCP sessions of former workers after an upgrade; 0: none.
    handover_timeout_s: Duration = Field(0.0, alias="handover_timeout")
    # A worker that does not respond for this time is replaced; 0: never.
    worker_timeout_s: Annotated[float, PlainValidator(_worker_timeout)] = Field(30.0, alias="worker_timeout")
    # UDP flows in each worker, 336 bytes each.
    max_flows: int = Field(100_000, ge=1, le=MAX_FLOWS)
    metrics: Metrics | None = None
    kernel: Kernel = Kernel()
    control: Control | None = None


class Config(
    TenantKeys,
    AnalyticsKeys,
    ApiKeys,
    OffloadKeys,
    FlowProgramKeys,
    TcpProtectionKeys,
    RulesetKeys,
    DdosKeys,
    FilterKeys,
    RecordKeys,
    DnsKeys,
    TlsKeys,
    AccessKeys,
    BalancingKeys,
    LimitKeys,
    DaemonKeys,
):
    """A whole file that has passed all checks."""

    apps: dict[str, App] = Field(default_factory=dict)
    _hidden: frozenset[tuple[str | int, ...]] = PrivateAttr(frozenset())

    def hide(self, places: Iterable[tuple[str | int, ...]]) -> None:
        """Note the paths of values that may be secrets."""
        self._hidden = frozenset(place[:length] for place in places for length in range(1, len(place) + 1))

    def with_objects(self, objects: Mapping[str, Mapping[str, BaseModel]]) -> "Config":
        """Return a copy with more named objects, by section; it has none of these names."""
        return self._with({section: {**getattr(self, section), **some} for section, some in objects.items()})

    def changed(self, objects: Mapping[str, Mapping[str, BaseModel | None]]) -> "Config":
        """Return a copy with some named objects replaced, by section; None removes one."""
        parts = {}
        for section, some in objects.items():
            part = dict(getattr(self, section))
            for name, one in some.items():
                if one is None:
                    part.pop(name, None)
                else:
                    part[name] = one
            parts[section] = part
        return self._with(parts)

    def _with(self, parts: Mapping[str, Any]) -> "Config":
        config = Config.model_construct(**{**dict(self), **parts})
        config._hidden = self._hidden
        return config

    def hides(self, place: tuple[str | int, ...]) -> bool:
        """Return whether a path of the file, or one below it, may hold a secret."""
        return place in self._hidden
