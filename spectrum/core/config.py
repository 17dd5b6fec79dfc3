"""The objects of the configuration file, with Cloudflare's field names. Shape and values only; `checks` relates apps.

Every field takes the plain value that YAML gives and says, in one sentence, what is wrong with it and what would be
right.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, field_validator, model_validator

from spectrum.core.address import (
    IPAddress,
    OriginAddress,
    PortRange,
    Protocol,
    SocketAddress,
    is_name,
    parse_address,
    parse_origin,
    parse_ports,
    parse_protocol,
    parse_socket_address,
)
from spectrum.core.durations import parse_duration_s

# One worker per core is the use; the bound keeps a typo from starting thousands of processes.
MAX_WORKERS = 256
# The table of flows is reserved whole, 250 MB of address space at this number.
MAX_FLOWS = 1_000_000
# RFC 1035 TTLs below a second would be a query per connection; Cloudflare's own minimum is 600.
MIN_TTL_S = 1
# The busy poll holds the worker's loop; longer than this it would starve everything else on it.
MAX_BUSY_POLL_S = 0.001

_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {describe(value)}")
    return value


def describe(value: object) -> str:
    """Return a value from the file as an error message shows it."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return "true" if value else "false"
        case _:
            shown = repr(value)
            return shown if len(shown) <= 60 else shown[:57] + "..."


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a duration such as 5s or 1h, found {describe(value)}")
    return parse_duration_s(value)


def _positive_duration(value: Any) -> float:
    seconds = _duration(value)
    if seconds <= 0:
        raise ValueError(f"{value!r}: longer than nothing, please")
    return seconds


def _whole_seconds(value: Any) -> int:
    seconds = _positive_duration(value)
    # TCP_KEEPIDLE and TCP_KEEPINTVL count seconds, 1 to 32767 (linux/include/net/tcp.h, MAX_TCP_KEEPIDLE).
    if seconds != int(seconds) or not 1 <= seconds <= 32767:
        raise ValueError(f"{value!r}: whole seconds between 1s and 32767s; the kernel counts no finer")
    return int(seconds)


def _network(value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(_text(value))
    except ValueError as exc:
        raise ValueError(f"{value!r} is not a prefix; write 192.0.2.0/24 or 2001:db8::/32 ({exc})") from exc


def _ports(value: Any) -> PortRange:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a port or a range of ports, found {describe(value)}")
    return parse_ports(value)


def _listen(value: Any) -> SocketAddress:
    return parse_socket_address(_text(value))


Duration = Annotated[float, PlainValidator(_duration)]
PositiveDuration = Annotated[float, PlainValidator(_positive_duration)]
WholeSeconds = Annotated[int, PlainValidator(_whole_seconds)]
Address = Annotated[IPAddress, PlainValidator(lambda value: parse_address(_text(value)))]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Ports = Annotated[PortRange, PlainValidator(_ports)]
Listen = Annotated[SocketAddress, PlainValidator(_listen)]
Origin = Annotated[OriginAddress, PlainValidator(lambda value: parse_origin(_text(value)))]
AppProtocol = Annotated[Protocol, PlainValidator(lambda value: parse_protocol(_text(value)))]


class Strict(BaseModel):
    """A mapping that takes the keys it knows and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class OriginDns(Strict):
    """`origin_dns`: a name, which of its addresses, and how often to look it up again."""

    name: str
    type: Literal["", "A", "AAAA"] = ""
    ttl_s: Annotated[float, PlainValidator(_positive_duration)] = Field(600.0, alias="ttl")

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not is_name(value):
            raise ValueError(f"{value!r} is not a host name")
        return value

    @field_validator("ttl_s")
    @classmethod
    def _is_long_enough(cls, value: float) -> float:
        if value < MIN_TTL_S:
            raise ValueError(f"a ttl of at least {MIN_TTL_S} second")
        return value


class AcceptProxyProtocol(Strict):
    """`accept_proxy_protocol`: whose PROXY header is believed. Anybody else is refused."""

    trusted: Annotated[tuple[Network, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] = Field(
        alias="from", min_length=1
    )
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


def _edge_ips(value: Any) -> Any:
    """Take a plain list, or Cloudflare's object: {type: static, ips: [...]} or {type: dynamic, connectivity: all}."""
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list listens nowhere; leave edge_ips out for every address")
        return tuple(value)
    if not isinstance(value, dict):
        raise ValueError(f"expected a list of addresses, found {describe(value)}")
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


def _sequence(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class App(Strict):
    """One app: what it listens on, where it goes, what the origin is told."""

    protocol: AppProtocol
    edge_ips: Annotated[tuple[Address, ...] | None, BeforeValidator(_edge_ips)] = None
    origin_direct: Annotated[tuple[Origin, ...], BeforeValidator(_sequence)] | None = None
    origin_dns: OriginDns | None = None
    origin_port: Ports | None = None
    proxy_protocol: Literal["off", "v1", "v2", "simple"] = "off"
    # Receivers of PROXY v2 over UDP expect one of three dialects: docs/protocols.md.
    proxy_header_datagram: Literal["first", "standalone", "each"] = "first"
    spp_replies: Literal["strict", "lenient"] = "strict"
    origin_socket: Literal["flow", "shared"] = "flow"
    accept_proxy_protocol: AcceptProxyProtocol | None = None
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive = Keepalive()
    source_ips: Annotated[tuple[Address, ...], BeforeValidator(_sequence)] = ()

    @field_validator("origin_direct")
    @classmethod
    def _has_origin(cls, value: tuple[OriginAddress, ...] | None) -> tuple[OriginAddress, ...] | None:
        if value is not None and not value:
            raise ValueError("an empty list: name at least one origin, such as tcp://192.0.2.1:22")
        return value

    @model_validator(mode="after")
    def _has_one_kind_of_origin(self) -> "App":
        if (self.origin_direct is None) == (self.origin_dns is None):
            found = "neither" if self.origin_direct is None else "both"
            raise ValueError(f"an app has exactly one of origin_direct and origin_dns; found {found}")
        if self.origin_dns is None and self.origin_port is not None:
            raise ValueError("origin_port goes with origin_dns; origin_direct has the port in its address")
        if self.origin_dns is not None and self.origin_port is None:
            raise ValueError("origin_dns needs origin_port")
        return self

    @property
    def idle_timeout_s(self) -> float:
        """Seconds after which a quiet session or flow ends; 0 for never."""
        if self.timeouts.idle_s is not None:
            return self.timeouts.idle_s
        return DEFAULT_UDP_IDLE_S if self.protocol.transport == "udp" else DEFAULT_TCP_IDLE_S

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The addresses to listen on; empty for every address of both families."""
        return self.edge_ips or ()


class Metrics(Strict):
    """`metrics`: where Prometheus scrapes, and where /healthz and /readyz answer."""

    listen: Listen


class Log(Strict):
    """`log`: one line per closed session, and the daemon's own messages."""

    format: Literal["json", "text"] = "json"
    sessions: bool = True
    # Under attack a line per connection is an attack of its own. 0: no limit.
    sessions_per_second: int = Field(1000, ge=0)


class Control(Strict):
    """`control`: the UNIX socket that `spectrum status` and `spectrum reload` talk to."""

    socket: str = Field(min_length=1, max_length=107)


def _workers(value: Any) -> Any:
    if value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f"expected auto or a number from 1 to {MAX_WORKERS}, found {describe(value)}")
    return value


def _busy_poll(value: Any) -> float:
    if value == "off":
        return 0.0
    seconds = _duration(value)
    if seconds > MAX_BUSY_POLL_S:
        raise ValueError(f"{value!r} would hold a worker too long; off, or up to 1ms")
    return seconds


# Measured: docs/decisions/001-busy-poll.md.
DEFAULT_BUSY_POLL_S = 0.0002


class Settings(Strict):
    """The file, less its apps, which are checked one by one."""

    # 0: one per core.
    workers: Annotated[int, PlainValidator(_workers)] = 0
    busy_poll_s: Annotated[float, PlainValidator(_busy_poll)] = Field(DEFAULT_BUSY_POLL_S, alias="busy_poll")
    drain_timeout_s: Duration = Field(30.0, alias="drain_timeout")
    # UDP flows in each worker, about 250 bytes each.
    max_flows: int = Field(100_000, ge=1, le=MAX_FLOWS)
    metrics: Metrics | None = None
    log: Log = Log()
    control: Control | None = None


class Config(Settings):
    """A whole file that passed every check."""

    apps: dict[str, App]


def check_app_name(name: object) -> str | None:
    """Return what is wrong with the name of an app, or None."""
    if isinstance(name, str) and _APP_NAME.fullmatch(name):
        return None
    return f"{describe(name)} is no name for an app; letters, digits, dot, dash and underscore, at most 63"
