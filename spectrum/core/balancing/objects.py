"""Monitors, pools and load balancers in the file, with Cloudflare's field names.

The source of names and defaults is the API reference of Cloudflare's Load Balancing. Session affinity by address,
failover across pools for TCP and UDP, outlier detection and slow start are ours; the latter two have Envoy's names.
"""

import re
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from spectrum.core.address import PortRange, ZoneError, is_name, parse_address, parse_reachable_address
from spectrum.core.configuration.cloudflare import (
    CloudflareKeysOfAffinity,
    CloudflareKeysOfBalancer,
    CloudflareKeysOfMonitor,
    CloudflareKeysOfOrigin,
    CloudflareKeysOfPool,
)
from spectrum.core.configuration.fields import (
    AsTuple,
    Duration,
    PositiveDuration,
    Shown,
    Strict,
    country,
    describe,
    positive_duration,
    text,
)
from spectrum.core.origin_bounds import RetrySettings

MonitorType = Literal["http", "https", "tcp", "udp_icmp", "icmp_ping", "smtp"]
# Cloudflare's minimum is 10 s; on one's own machines a second is common, and this limit prevents a flood by a typo.
MIN_INTERVAL_S = 0.1
# Cloudflare's limit.
MAX_AFFINITY_TTL_S = 604_800
# A gibibyte.
MAX_AFFINITIES = 67_108_864

DEFAULT_CODES = ((200, 200),)
_CODES = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _interval(value: Any) -> float:
    seconds = positive_duration(value)
    if seconds < MIN_INTERVAL_S:
        raise ValueError(f"{value!r}: at least {MIN_INTERVAL_S:g}s between probes")
    return seconds


def _codes(value: Any) -> tuple[tuple[int, int], ...]:
    """Return the ranges of "200", "2xx", "200-299" or several of them with commas."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected status codes such as 200 or 2xx, found {describe(value)}")
    if value == "":  # Terraform's for monitors of other types
        return DEFAULT_CODES
    ranges = []
    for part in str(value).split(","):
        match = _CODES.fullmatch(part.strip())
        if match is None:
            raise ValueError(f'{part.strip()!r} is not a status code; write 200, "2xx", "200-299" or "200,302"')
        low = int(match[1]) * 100 if match[1] else int(match[2])
        high = low + 99 if match[1] else int(match[3] or low)
        if high < low:
            raise ValueError(f"{part.strip()!r} ends before it begins")
        ranges.append((low, high))
    return tuple(ranges)


def _host(value: Any) -> str:
    """An IP address in its usual form, or a host name."""
    given = text(value)
    if is_name(given):
        return given
    try:
        parse_address(given)
    except ZoneError:
        raise
    except ValueError as exc:
        raise ValueError(f"{given!r} is neither an IP address nor a host name") from exc
    return str(parse_reachable_address(given))


def _headers(value: Any) -> Any:
    """Accept `Host: a.example` for Cloudflare's `Host: [a.example]`, too."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping of header names to values, found {describe(value)}")
    headers = []
    for name, given in value.items():
        values = given if isinstance(given, list) else [given]
        if not _TOKEN.fullmatch(name) or any(not isinstance(v, str) or re.search(r"[\r\n\0]", v) for v in values):
            raise ValueError(f"{name!r} with {describe(given)} is no header of one line")
        headers += [(name, v) for v in values]
    return tuple(headers)


Interval = Annotated[float, PlainValidator(_interval)]
Codes = Annotated[tuple[tuple[int, int], ...], PlainValidator(_codes)]
Host = Annotated[str, PlainValidator(_host)]
Headers = Annotated[tuple[tuple[str, str], ...], PlainValidator(_headers)]
Country = Annotated[str, PlainValidator(country)]
Region = Literal["WNAM", "ENAM", "WEU", "EEU", "NSAM", "SSAM", "OC", "ME", "NAF", "SAF", "SAS", "SEAS", "NEAS"]
Port = Annotated[int, Field(ge=0, le=65535)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Names = Annotated[tuple[str, ...], AsTuple, Field(min_length=1)]


class Node(Strict):
    """`node`: the location of this machine, from which steering by proximity is measured."""

    name: Annotated[str, Shown(default="none")] = Field(
        "",
        description="the name of this machine, for `pop_pools` and rules of one node",
    )
    region: Region | None = Field(
        None,
        description="the region of this machine",
    )
    country: Annotated[Country | None, Shown("`DE`")] = Field(
        None,
        description="the country of this machine",
    )
    latitude: Latitude | None = Field(
        None,
        description="degrees north",
    )
    longitude: Longitude | None = Field(
        None,
        description="degrees east",
    )


class Monitor(CloudflareKeysOfMonitor):
    """`monitors`: how origins are probed, and how many results make a verdict."""

    type: MonitorType = Field(
        "http",
        description="see below",
    )
    description: str = Field(
        "",
        description="a note, by which the command line knows the monitor",
    )
    interval_s: Annotated[Interval, Shown("duration, at least `0.1s`", unit="s")] = Field(
        60.0,
        alias="interval",
        description="between two probes of an origin; shortened at random by up to a tenth",
    )
    timeout_s: PositiveDuration = Field(
        5.0,
        alias="timeout",
        description="the timeout of one attempt",
    )
    retries: int = Field(
        2,
        ge=0,
        le=10,
        description="further attempts, without delay, after a timeout; other failures are not retried",
    )
    consecutive_up: int = Field(
        0,
        ge=0,
        le=1000,
        description="consecutive successes after which the origin is up; 0 and 1 mean at once",
    )
    consecutive_down: int = Field(
        0,
        ge=0,
        le=1000,
        description="consecutive failures after which the origin is down; 0 and 1 mean at once",
    )
    port: Annotated[Port, Shown("port", default="the origin's, or the default port of HTTP and HTTPS")] = Field(
        0,
        description="the port to probe",
    )
    method: Annotated[str | None, Shown("`GET`, `HEAD`, ...", default="`GET`")] = Field(
        None,
        description="the method of HTTP requests",
    )
    path: str = Field(
        "/",
        description="the path of HTTP requests",
    )
    header: Annotated[Headers, Shown("`{Host: [a.example]}`")] = Field(
        (),
        description="headers of HTTP requests. `header: {Host: ...}` of an origin takes precedence",
    )
    expected_codes: Annotated[Codes, Shown('`200`, `2xx`, `200-299`, `"200,302"`', default="`200`")] = Field(
        DEFAULT_CODES,
        description="status codes of HTTP answers that count as success",
    )
    expected_body: Annotated[str, Shown(default="any")] = Field(
        "",
        description="must be in the first 100 kB of the body as sent (compressed bodies are not "
        "decompressed); case is ignored",
    )
    follow_redirects: bool = Field(
        False,
        description="up to five, on the same host only",
    )
    allow_insecure: bool = Field(
        False,
        description="accept any certificate; its expiry is reported nevertheless",
    )
    sni: Annotated[str | None, Shown("name", default="the Host header")] = Field(
        None,
        description="added: the name that the certificate must have",
    )
    send: Annotated[str, Shown(default="nothing")] = Field(
        "",
        description="added: what is sent, for `tcp` and `udp_icmp`",
    )
    expect: Annotated[str, Shown(default="anything")] = Field(
        "",
        description="added: for `tcp`, what the answer must contain",
    )
    proxy_protocol: Literal["auto", "off", "v1", "v2", "simple"] = Field(
        "auto",
        description="added: the PROXY header at the start of the probe; `auto`: the header that the apps of "
        "the pool send",
    )

    @field_validator("path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not re.fullmatch(r"/[\x21-\x7e]*", value):
            raise ValueError(f"{value!r} is not a path; it begins with / and has no spaces")
        return value

    @field_validator("method")
    @classmethod
    def _is_method(cls, value: str | None) -> str | None:
        if value is not None and not _TOKEN.fullmatch(value):
            raise ValueError(f"{value!r} is not a method; write GET or HEAD")
        return value

    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )


class GroupMember(Strict):
    """One of a monitor group's `members`."""

    monitor: Annotated[str, Shown("name")] = Field(
        description="one of `monitors`; each at most once in a group",
    )
    enabled: bool = Field(
        True,
        description="`false`: the member does not probe",
    )
    monitoring_only: bool = Field(
        False,
        description="its probes are shown, but do not affect health; not together with `must_be_healthy`",
    )
    must_be_healthy: bool = Field(
        False,
        description="an origin is down while this monitor fails, whatever the results of the others",
    )

    @field_validator("must_be_healthy")
    @classmethod
    def _counts(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("monitoring_only"):
            raise ValueError("the verdict of a member with monitoring_only does not count")
        return value


class MonitorGroup(Strict):
    """`monitor_groups`: monitors that decide together on the origins of the pools that name them."""

    members: Annotated[tuple[GroupMember, ...], AsTuple, Shown("list of members", opens=True)] = Field(
        min_length=1,
        description="the monitors",
    )
    description: str = Field(
        "",
        description="a note, by which the command line knows the group",
    )
    name: str | None = Field(
        None,
        description="the name of the group in the API, if it is not its key",
    )
    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )


MAX_SESSIONS = 1_000_000_000
MAX_QUEUE = 100_000


class PoolOrigin(CloudflareKeysOfOrigin):
    """One of a pool's `origins`."""

    name: str = Field(
        min_length=1,
        max_length=128,
        description="the name of the origin, unique in its pool",
    )
    address: Annotated[Host, Shown("IP address or host name")] = Field(
        description="a [name](configuration.md#names) is looked up again when its records expire, at the "
        "latest every minute",
    )
    port: Annotated[Port, Shown("port", default="the port that the client connected to")] = Field(
        0,
        description="with a range of ports, each port keeps its offset",
    )
    enabled: bool = Field(
        True,
        description="`false`: new clients are sent elsewhere",
    )
    weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="its share is its weight divided by the sum of weights of the available origins",
    )
    # HAProxy's maxconn of a server.
    max_sessions: int | None = Field(
        None,
        ge=1,
        le=MAX_SESSIONS,
        description="added: the maximum of open TCP sessions and UDP flows, [see "
        "below](balancing.md#origins-with-bounds)",
    )
    header: Annotated[Headers, Shown("`{Host: a.example}`")] = Field(
        (),
        description="the header of requests of HTTP monitors",
    )

    @field_validator("header")
    @classmethod
    def _is_host(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if [name.lower() for name, _ in value] not in ([], ["host"]):
            raise ValueError("an origin can have one header, Host, which HTTP monitors send")
        return value


class OriginSteering(Strict):
    """`origin_steering` of a pool."""

    policy: Literal["random", "hash", "least_outstanding_requests", "least_connections"] = Field(
        "random",
        description="[which origin](balancing.md#which-origin-origin_steering-policy)",
    )


class LoadShedding(Strict):
    """`load_shedding` of a pool: the share of clients that is sent to other pools instead."""

    default_percent: float = Field(
        0.0,
        ge=0,
        le=100,
        description="percentage of clients without affinity that is sent to other pools instead: [which "
        "pool](balancing.md#which-pool-steering_policy)",
    )
    default_policy: Literal["random", "hash"] = Field(
        "random",
        description="which of them: at random, or by the hash of their address",
    )
    session_percent: float = Field(
        0.0,
        ge=0,
        le=100,
        description="percentage of clients with session affinity that is sent to other pools instead",
    )
    session_policy: Literal["hash"] = Field(
        "hash",
        description="which of them: by the hash of their address",
    )


class OutlierDetection(Strict):
    """`outlier_detection` of a pool: origins that fail clients are ejected, whatever their monitor says. Envoy's model
    and names, except for the share: half of a pool, where Envoy has a tenth and at least one.
    """

    consecutive_failures: int = Field(
        5,
        ge=1,
        description="consecutive failures after which an origin is ejected",
    )
    # Envoy's is 85, beside a rule on standard deviations that needs five hosts.
    failure_percentage_threshold: float = Field(
        30.0,
        ge=0,
        le=100,
        description="percentage of failures in `interval` above which an origin is ejected; it must also be "
        "twice the usual one in the pool. 0: only consecutive failures count",
    )
    failure_percentage_request_volume: int = Field(
        50,
        ge=1,
        description="origins with fewer connects or sessions in `interval` are not compared",
    )
    failure_percentage_minimum_hosts: int = Field(
        2,
        ge=2,
        description="with fewer comparable origins none is ejected by its percentage",
    )
    interval_s: PositiveDuration = Field(
        10.0,
        alias="interval",
        description="the time over which failures are compared",
    )
    base_ejection_time_s: PositiveDuration = Field(
        30.0,
        alias="base_ejection_time",
        description="the time of the first ejection; it grows with each further one",
    )
    max_ejection_time_s: PositiveDuration = Field(
        300.0,
        alias="max_ejection_time",
        description="the longest time of an ejection",
    )
    max_ejection_percent: float = Field(
        50.0,
        ge=0,
        le=100,
        description="at most this percentage of a pool is ejected",
    )


def _outliers(value: Any) -> Any:
    return None if value == "off" else value


class RetryBudgetKeys(Strict):
    """`retry_budget` of a pool, and of an app: how many connects may follow failed ones, as in Linkerd."""

    percent: float = Field(
        20.0,
        ge=0,
        le=1000,
        description="connects that may follow failed ones, as a percentage of the sessions of the last ten seconds",
    )
    min_per_second: float = Field(
        10.0,
        ge=0,
        le=1_000_000,
        description="connects per second that may follow failed ones in any case, in each worker",
    )

    @property
    def settings(self) -> RetrySettings:
        """The settings for workers."""
        return RetrySettings(self.percent, self.min_per_second)


class Pool(CloudflareKeysOfPool):
    """`pools`: origins for the same purpose, at one location."""

    origins: Annotated[tuple[PoolOrigin, ...], AsTuple, Shown("list of origins", opens=True)] = Field(
        min_length=1,
        description="the origins",
    )
    description: str = Field(
        "",
        description="a note",
    )
    enabled: bool = Field(
        True,
        description="`false`: the pool gets no clients",
    )
    monitor: Annotated[str | None, Shown("one of `monitors`")] = Field(
        None,
        description="the health check of its origins",
    )
    monitor_group: Annotated[str | None, Shown("one of `monitor_groups`")] = Field(
        None,
        description="instead of `monitor`: [monitor groups](balancing.md#monitor-groups)",
    )

    @field_validator("monitor_group")
    @classmethod
    def _is_alone(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("monitor") is not None:
            raise ValueError("a pool has a monitor or a monitor_group, not both")
        return value

    minimum_origins: int = Field(
        1,
        ge=1,
        description="the pool is down if fewer origins are healthy",
    )
    origin_steering: OriginSteering = OriginSteering()
    load_shedding: LoadShedding = LoadShedding()
    latitude: Latitude | None = Field(
        None,
        description="degrees north, for `proximity`",
    )
    longitude: Longitude | None = Field(
        None,
        description="degrees east, for `proximity`",
    )
    outlier_detection: Annotated[
        OutlierDetection | None, BeforeValidator(_outliers), Shown("`off`, or a mapping", opens=True, default="on")
    ] = Field(
        OutlierDetection(),
        description="added: passive [health checks](balancing.md#the-verdict)",
    )
    slow_start_s: Duration = Field(
        0.0,
        alias="slow_start",
        description="added: time in which an origin's share grows after a recovery; 0: the whole share at once",
    )
    retry_budget: RetryBudgetKeys | None = Field(
        None,
        description="added: [see below](balancing.md#retry-budgets)",
    )
    name: str | None = Field(
        None,
        description="the name of the pool in the API, if it is not its key",
    )
    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )


class RandomSteering(Strict):
    """`random_steering` of a load balancer: the weights of its pools."""

    default_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="the weight of pools without one of their own",
    )
    pool_weights: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], Shown("`{NAME: weight}`")] = Field(
        default_factory=dict,
        description="weights of pools, 0 to 1",
    )


class AffinityAttributes(CloudflareKeysOfAffinity):
    """`session_affinity_attributes` of a load balancer."""

    drain_duration_s: Annotated[Duration | None, Shown(default="until they end")] = Field(
        None,
        alias="drain_duration",
        description="time for sessions of an origin that is disabled or removed",
    )
    zero_downtime_failover: Literal["none", "temporary", "sticky"] = Field(
        "temporary",
        description="what happens to a client whose origin cannot be reached: [affinity](balancing.md#affinity)",
    )


class AdaptiveRouting(Strict):
    """`adaptive_routing` of a load balancer."""

    failover_across_pools: bool = Field(
        False,
        description="whether origins of other pools are tried after failed ones: [failover](balancing.md#failover)",
    )


def _ttl(value: Any) -> float:
    seconds = positive_duration(value)
    if seconds > MAX_AFFINITY_TTL_S:
        raise ValueError(f"{value!r}: at most 7d")
    return seconds


Steering = Literal[
    "",
    "off",
    "geo",
    "random",
    "dynamic_latency",
    "proximity",
    "least_outstanding_requests",
    "least_connections",
]


def _affinity(value: Any) -> Any:
    """Accept Cloudflare's name for affinity by address; it implies a cookie, too, which layer 4 does not have."""
    return "ip" if value == "ip_cookie" else value


class Queue(Strict):
    """`queue` of a load balancer: sessions that wait while every origin has reached `max_sessions`."""

    size: int = Field(
        1000,
        ge=0,
        le=MAX_QUEUE,
        description="sessions that may wait",
    )
    # HAProxy's timeout queue; by default the connect timeout, as in HAProxy.
    timeout_s: PositiveDuration = Field(
        5.0,
        alias="timeout",
        description="how long one may wait",
    )


class LoadBalancer(CloudflareKeysOfBalancer):
    """`load_balancers`: pools, in order or by share, for groups of clients."""

    default_pools: Annotated[Names, Shown("list of names")] = Field(
        description="pools, in the order of failover",
    )
    fallback_pool: Annotated[str | None, Shown("name", default="the last of `default_pools`")] = Field(
        None,
        description="the pool that serves when no other is healthy",
    )
    region_pools: Annotated[dict[Region, Names], Shown("`{REGION: [name, ...]}`")] = Field(
        default_factory=dict,
        description="pools for clients of a region, with `geo`",
    )
    country_pools: Annotated[dict[Country, Names], Shown("`{DE: [name, ...]}`")] = Field(
        default_factory=dict,
        description="pools for clients of a country, with `geo`",
    )
    pop_pools: Annotated[dict[str, Names], Shown("`{NODE: [name, ...]}`")] = Field(
        default_factory=dict,
        description="pools for the node of this name, with `geo`",
    )
    description: str = Field(
        "",
        description="a note",
    )
    enabled: bool = Field(
        True,
        description="`false`: apps that use it refuse clients",
    )
    steering_policy: Annotated[
        Steering, Shown(default="`off`, or `geo` with `region_pools`, `country_pools` or `pop_pools`")
    ] = Field(
        "",
        description="[which pool](balancing.md#which-pool-steering_policy)",
    )
    random_steering: Annotated[
        RandomSteering, Shown("`{default_weight, pool_weights: {NAME: weight}}`", default="weight 1 for all")
    ] = Field(
        RandomSteering(),
        description="with `random`: weights of pools",
    )
    session_affinity: Annotated[Literal["none", "ip", "ip_port"], BeforeValidator(_affinity)] = Field(
        "none",
        description="[affinity](balancing.md#affinity); Cloudflare's `ip_cookie` is the same as `ip`",
    )
    session_affinity_ttl_s: Annotated[float, PlainValidator(_ttl), Shown("duration, at most `7d`", unit="s")] = Field(
        1800.0,
        alias="session_affinity_ttl",
        description="how long a client keeps its origin after its last session",
    )
    session_affinity_attributes: Annotated[AffinityAttributes, Shown("`{drain_duration, zero_downtime_failover}`")] = (
        Field(
            AffinityAttributes(),
            description="[affinity](balancing.md#affinity)",
        )
    )
    adaptive_routing: AdaptiveRouting = Field(
        AdaptiveRouting(),
        description="whether origins of other pools are tried after failed ones: [failover](balancing.md#failover)",
    )
    queue: Queue = Field(
        Queue(),
        description="added: sessions that wait when all origins are full, and for how long: [origins with "
        "bounds](balancing.md#origins-with-bounds)",
    )
    name: str | None = Field(
        None,
        description="the name of the load balancer in the API, if it is not its key",
    )
    zone: Annotated[str | None, Shown("one of `zones`")] = Field(
        None,
        description="its zone in the API",
    )
    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )

    @property
    def policy(self) -> str:
        """The steering policy; by default by proximity if pools have locations, otherwise in order."""
        if self.steering_policy:
            return self.steering_policy
        return "geo" if self.region_pools or self.country_pools or self.pop_pools else "off"

    @property
    def fallback(self) -> str:
        """The pool that serves when no other is healthy."""
        return self.fallback_pool or self.default_pools[-1]

    def all_pools(self) -> tuple[str, ...]:
        """Return the names of all its pools, each once."""
        places = (*self.region_pools.values(), *self.country_pools.values(), *self.pop_pools.values())
        return tuple(dict.fromkeys((*self.default_pools, *chain.from_iterable(places), self.fallback)))


def origin_ports(port: int, ports: PortRange) -> PortRange:
    """Return the ports of an origin for an app on `ports`: from its own port on, or the same ports if it has none. They
    end at 65535; the file's checks refuse ranges that do not fit.
    """
    first = port or ports.first
    return PortRange(first, min(65535, first + len(ports) - 1))


class BalancingKeys(Strict):
    """At the top of the file."""

    node: Annotated[Node, Shown(default="none")] = Field(
        Node(),
        description="the location of this machine, for geographic steering",
    )
    max_affinities: int = Field(
        262_144,
        ge=4,
        le=MAX_AFFINITIES,
        description="clients in the affinity table, 16 bytes each",
    )
    monitors: dict[str, Monitor] = Field(
        default_factory=dict,
        description="health checks of origins: see [Monitors](balancing.md#monitors)",
    )
    monitor_groups: dict[str, MonitorGroup] = Field(
        default_factory=dict,
        description="monitors that decide together: see [Monitor groups](balancing.md#monitor-groups)",
    )
    pools: dict[str, Pool] = Field(
        default_factory=dict,
        description="groups of origins: see [Pools](balancing.md#pools-and-load-balancers)",
    )
    load_balancers: dict[str, LoadBalancer] = Field(
        default_factory=dict,
        description="pools, in order or by share, for apps: see [Pools](balancing.md#pools-and-load-balancers)",
    )
