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
    FilePath,
    KeyFault,
    Listen,
    Network,
    Origin,
    Ports,
    PositiveDuration,
    Shown,
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
# Each worker has an order of trying for each of them: their number is quadratic. Pools have no such orders.
MAX_DIRECT_ORIGINS = 256
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

    name: Annotated[str, Shown("host name")] = Field(
        description="the name that is looked up",
    )
    type: Literal["", "A", "AAAA", "SRV"] = Field(
        "",
        description="the records: both families, one of them, or SRV",
    )
    ttl_s: Annotated[float, PlainValidator(positive_duration), Shown("duration, at least `1s`", unit="s")] = Field(
        600.0,
        alias="ttl",
        description="the longest interval between look-ups",
    )

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

    trusted: Annotated[tuple[Network, ...], AsTuple] = Field(
        alias="from",
        min_length=1,
        description="the proxies whose headers are trusted; other senders are refused",
    )
    timeout_s: PositiveDuration = Field(
        5.0,
        alias="timeout",
        description="TCP: time for the header",
    )


# nginx's stream proxy_timeout is 10 minutes, HAProxy has no default, Envoy has 1 hour.
DEFAULT_TCP_IDLE_S = 3600.0
# Cloudflare's for UDP. Users of Traefik complain of its 3 s (traefik#6859): DTLS and VoIP pause longer.
DEFAULT_UDP_IDLE_S = 30.0


class Timeouts(Strict):
    """`timeouts` of an app."""

    connect_s: PositiveDuration = Field(
        5.0,
        alias="connect",
        description="TCP: time to reach an origin, over all attempts; each attempt gets an equal part of the "
        "remaining time",
    )
    idle_s: Annotated[Duration | None, Shown("duration, `0` for never", default="`1h`, UDP `30s`")] = Field(
        None,
        alias="idle",
        description="a session or flow without data in either direction ends after this time",
    )


class Keepalive(Strict):
    """`keepalive` of an app: detection of dead peers, on both legs."""

    idle_s: WholeSeconds = Field(
        60,
        alias="idle",
        description="time without data before the first probe",
    )
    interval_s: WholeSeconds = Field(
        15,
        alias="interval",
        description="time between two probes",
    )
    count: int = Field(
        4,
        ge=1,
        le=127,
        description="unanswered probes after which the peer is dead",
    )

    @property
    def user_timeout_ms(self) -> int:
        """TCP_USER_TIMEOUT just below the end of keepalive, so that `count` keeps its meaning (tcp(7))."""
        return (self.idle_s + self.interval_s * self.count) * 1000 - 500


def read_edge_ips(value: Any) -> Any:
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
        if isinstance(connectivity, str) and connectivity in _ANY:
            return _ANY[connectivity]
        raise ValueError(f"connectivity {describe(connectivity)}; expected all, ipv4 or ipv6")
    raise ValueError("expected {type: static, ips: [...]} or {type: dynamic, connectivity: all | ipv4 | ipv6}")


_ANY: dict[str, tuple[str, ...] | None] = {"all": None, "ipv4": ("0.0.0.0",), "ipv6": ("::",)}


class AppBasics(Strict):
    """The basic settings of an app: listeners, origins, PROXY protocol."""

    # Its values are filled in other keys: core.configuration.presets.
    preset: Annotated[str | None, Shown("`ssh`, `rdp`, `postgresql`, `dns`, `minecraft`, ...")] = Field(
        None,
        description="sets defaults for a protocol: see [Presets](configuration.md#presets)",
    )
    protocol: AppProtocol = Field(
        description="what clients connect to; each port of a range keeps its offset at the origin. TCP and "
        "UDP may share a port",
    )
    edge_ips: Annotated[
        tuple[Address, ...] | None,
        BeforeValidator(read_edge_ips),
        Shown(
            "list of addresses, or Cloudflare's `{type: static, ips: [...]}` or "
            "`{type: dynamic, connectivity: all / ipv4 / ipv6}`",
            default="every address",
        ),
    ] = Field(
        None,
        description="addresses to listen on",
    )
    origin_direct: Annotated[
        Annotated[tuple[Origin, ...], Field(max_length=MAX_DIRECT_ORIGINS), AsTuple] | None,
        Shown(default="one of these three"),
    ] = Field(
        None,
        description="the origins: round robin; if one cannot be reached, the next one is tried before the client "
        "notices",
    )
    origin_dns: Annotated[
        OriginDns | None, Shown('`{name, type: A / AAAA / "" / SRV, ttl: 600s}`', default="one of these three")
    ] = Field(
        None,
        description='a name; `""` means both families, tried as in RFC 8305; `SRV` means a service. `ttl` '
        "limits the TTL of the records: see [Names](configuration.md#names)",
    )
    load_balancer: Annotated[str | None, Shown("name of one of `load_balancers`", default="one of these three")] = (
        Field(
            None,
            description="pools of origins with health checks, steering and affinity: [Load balancing](balancing.md)",
        )
    )
    origin_port: Annotated[Ports | None, Shown(default="required with `origin_dns`, except for `SRV`")] = Field(
        None,
        description="as many ports as `protocol` has. With `origin_direct`, whose origins have ports of their "
        "own, it has no effect",
    )
    proxy_protocol: Annotated[
        Literal["off", "v1", "v2", "simple"], Shown("`off`, `v1` (TCP), `v2`, `simple` (UDP)")
    ] = Field(
        "off",
        description="the header that passes the client's address to the origin, see [Protocols](protocols.md)",
    )
    # Receivers of PROXY v2 over UDP expect one of three variants: docs/protocols.md.
    proxy_header_datagram: Literal["first", "standalone", "each"] = Field(
        "first",
        description="UDP with `v2`: which datagrams have the header",
    )
    spp_replies: Literal["strict", "lenient"] = Field(
        "strict",
        description="UDP with `simple`: a reply without its flow's header is dropped and counted, or "
        "forwarded unchanged",
    )
    origin_socket: Literal["flow", "shared"] = Field(
        "flow",
        description="UDP: each flow has a socket, and so a source port, of its own to the origin; or all "
        "flows of a worker to one origin share one, which needs `simple`. See "
        "[Limits](operations.md#limits)",
    )
    fragments: Literal["forward", "drop"] = Field(
        "forward",
        description="UDP: fragmented datagrams, and datagrams that exceed the path MTU, are forwarded in "
        "fragments if their sender allows it; or fragmented datagrams are dropped and none are "
        "fragmented. See [Protocols](protocols.md#datagrams-that-do-not-fit)",
    )
    accept_proxy_protocol: Annotated[AcceptProxyProtocol | None, Shown("`{from: [prefix, ...], timeout: 5s}`")] = Field(
        None,
        description="the clients are proxies that send a PROXY header, or over UDP a PROXY or Simple Proxy "
        "header. The header is required, over TCP within `timeout`; senders outside `from` are "
        "refused",
    )
    sni: Annotated[tuple[ServerName, ...], AsTuple] = Field(
        (),
        description="TCP: names of the TLS clients of this app, if several apps share a port: see [Several "
        "apps on one port](configuration.md#several-apps-on-one-port)",
    )
    alpn: Annotated[tuple[str, ...], AsTuple, Shown("list of protocols")] = Field(
        (),
        description="TCP: protocols of the TLS clients of this app, if several apps share a port",
    )
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive = Field(
        Keepalive(),
        description="TCP: keepalive on both legs. TCP_USER_TIMEOUT is half a second less than idle + interval × count",
    )
    on_remove: Literal["keep", "drain", "close"] = Field(
        "keep",
        description="TCP: when a reload removes the app, its sessions continue, end one by one over "
        "`drain_timeout`, or end at once",
    )
    drain_pace: Annotated[int, Shown("bytes per second, `0` for none")] = Field(
        100,
        ge=0,
        le=MAX_PACE,
        description="TCP: while data waits for a peer, the peer must read at least this many bytes per second on "
        "average, or the session is reset (`client_stuck`, `origin_stuck`). The peer has the time that "
        "`keepalive` gives a dead peer (two minutes by default)",
    )
    source_ips: Annotated[
        tuple[Address, ...], AsTuple, Shown("list of addresses, at most 64", default="the kernel's choice")
    ] = Field(
        (),
        max_length=MAX_SOURCE_IPS,
        description="source addresses for connections to origins; those of the origin's family are used in "
        "turn, and one without a free port to the origin is skipped. Ports are chosen per "
        "destination (`IP_BIND_ADDRESS_NO_PORT`)",
    )
    source: Literal["edge", "client"] = Field(
        "edge",
        description="the source address that origins see: one of this machine, or the client's: [Transparent "
        "proxying](transparent.md)",
    )

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
            raise KeyFault(
                f"origin_port {self.origin_port}: the ports of a load balancer's origins are in its pools; "
                f"omit it, or write {self.protocol.ports}",
                "origin_port",
            )
        if self.looked_up is not None and (self.looked_up.type == "SRV") is (self.origin_port is not None):
            if self.origin_port is None:
                raise ValueError("origin_dns needs origin_port, unless its type is SRV")
            raise KeyFault("the port comes from the SRV record; omit origin_port", "origin_port")
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

    listen: Annotated[Listen, Shown(default="none")] = Field(
        description="address of `/metrics`, `/healthz` and `/readyz`",
    )


def _socket_path(value: Any) -> str:
    path = text(value)
    size = len(path.encode("utf-8", "surrogateescape"))
    if "\0" in path or not 1 <= size <= MAX_SOCKET_PATH:
        raise ValueError(f"expected the path of a UNIX socket, at most {MAX_SOCKET_PATH} bytes; this one has {size}")
    return path


class Control(Strict):
    """`control`: the UNIX socket for `spectrum status`, `spectrum reload` and other commands."""

    socket: Annotated[
        str,
        PlainValidator(_socket_path),
        Shown(
            "path, at most 107 bytes",
            default="`control.sock` in `$RUNTIME_DIRECTORY` (systemd), `/run/spectrum/control.sock` as root, "
            "else `spectrum.sock` in `$XDG_RUNTIME_DIR` or `/tmp/spectrum-UID`",
        ),
    ] = Field(
        description="the socket for `spectrum status`, `reload` and other commands. Its folder is created if "
        "it is missing; a folder that another user can write to is [refused or causes a "
        "warning](operations.md#the-control-socket)",
    )


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

    bpffs: FilePath = Field(
        "/sys/fs/bpf",
        description="the folder in which eBPF programs and their maps are pinned",
    )


class DaemonKeys(Strict):
    """Top-level keys that every daemon has."""

    user: Annotated[str | None, Shown("name")] = Field(
        None,
        min_length=1,
        max_length=32,
        description="the user that root changes to before it serves, recommended; see "
        "[operations](operations.md#without-root)",
    )
    seccomp: bool = Field(
        False,
        description="a seccomp filter denies workers the system calls that they do not need, if libseccomp is "
        "installed",
    )
    workers: Annotated[int, PlainValidator(_workers), Shown("`auto`, 1 to 256", default="`auto`")] = Field(
        0,
        description="processes that carry traffic; `auto` is one per available core: of the CPU affinity, or "
        "of the control group's quota if that is less",
    )
    busy_poll_s: Annotated[float, PlainValidator(_busy_poll), Shown("`off`, up to `1ms`", unit="s")] = Field(
        DEFAULT_BUSY_POLL_S,
        alias="busy_poll",
        description="how long a worker looks for the next event before it sleeps, while few sessions exchange "
        "small messages at such intervals. Reduces latency and costs processor time "
        "(`spectrum_busy_poll_seconds_total`)",
    )
    drain_timeout_s: Duration = Field(
        30.0,
        alias="drain_timeout",
        description="time for open sessions to end on SIGTERM, and for those of removed apps with `on_remove: drain`",
    )
    handover_timeout_s: Annotated[Duration, Shown("duration, `0` for no limit")] = Field(
        0.0,
        alias="handover_timeout",
        description="after an [upgrade](operations.md#upgrades): time for TCP sessions in the old workers; in "
        "its last ten seconds they are ended one by one",
    )
    worker_timeout_s: Annotated[
        float, PlainValidator(_worker_timeout), Shown("`3s` or longer, `0` for never", unit="s")
    ] = Field(
        30.0,
        alias="worker_timeout",
        description="a worker that has not reported for this time is killed and replaced: "
        "[Reloads](operations.md#reloads)",
    )
    # UDP flows in each worker, 336 bytes each.
    max_flows: int = Field(
        100_000,
        ge=1,
        le=MAX_FLOWS,
        description="UDP flows in each worker. Beyond it the flow that has been idle longest ends "
        "(`evicted`), flows whose client never answered a reply first",
    )
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

    apps: Annotated[dict[str, App], Shown(default="required without `api`")] = Field(
        default_factory=dict,
        description="what is served, see [An app](configuration.md#an-app)",
    )
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
