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

    name: str = ""
    region: Region | None = None
    country: Country | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class Monitor(CloudflareKeysOfMonitor):
    """`monitors`: how origins are probed, and how many results make a verdict."""

    type: MonitorType = "http"
    description: str = ""
    interval_s: Interval = Field(60.0, alias="interval")
    timeout_s: PositiveDuration = Field(5.0, alias="timeout")
    # Retries after a timeout; any other failure counts at once.
    retries: int = Field(2, ge=0, le=10)
    # 0 and 1 both mean: at once.
    consecutive_up: int = Field(0, ge=0, le=1000)
    consecutive_down: int = Field(0, ge=0, le=1000)
    # 0: the origin's.
    port: Port = 0
    method: str | None = None
    path: str = "/"
    header: Headers = ()
    expected_codes: Codes = DEFAULT_CODES
    expected_body: str = ""
    follow_redirects: bool = False
    allow_insecure: bool = False
    # The name that the certificate must have; by default the Host header.
    sni: str | None = None
    send: str = ""
    expect: str = ""
    # auto: the header that the apps send which use the origin.
    proxy_protocol: Literal["auto", "off", "v1", "v2", "simple"] = "auto"

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

    # Its account; by default the first account of the file. The same holds for the following objects.
    account: str | None = None


class GroupMember(Strict):
    """One of a monitor group's `members`."""

    monitor: str
    # If false, it does not probe.
    enabled: bool = True
    # Its verdict is shown, but does not count.
    monitoring_only: bool = False
    # The origin is down whenever this one fails; of the others more than half must fail.
    must_be_healthy: bool = False

    @field_validator("must_be_healthy")
    @classmethod
    def _counts(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("monitoring_only"):
            raise ValueError("the verdict of a member with monitoring_only does not count")
        return value


class MonitorGroup(Strict):
    """`monitor_groups`: monitors that decide together on the origins of the pools that name them."""

    members: Annotated[tuple[GroupMember, ...], AsTuple] = Field(min_length=1)
    description: str = ""
    name: str | None = None
    account: str | None = None


MAX_SESSIONS = 1_000_000_000
MAX_QUEUE = 100_000


class PoolOrigin(CloudflareKeysOfOrigin):
    """One of a pool's `origins`."""

    name: str = Field(min_length=1, max_length=128)
    address: Host
    # 0: the port that the client connected to.
    port: Port = 0
    enabled: bool = True
    weight: float = Field(1.0, ge=0, le=1)
    # Maximum number of open sessions and flows, of all apps; by default no limit. HAProxy's maxconn of a server.
    max_sessions: int | None = Field(None, ge=1, le=MAX_SESSIONS)
    # For HTTP monitors; only Host.
    header: Headers = ()

    @field_validator("header")
    @classmethod
    def _is_host(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if [name.lower() for name, _ in value] not in ([], ["host"]):
            raise ValueError("an origin can have one header, Host, which HTTP monitors send")
        return value


class OriginSteering(Strict):
    """`origin_steering` of a pool."""

    policy: Literal["random", "hash", "least_outstanding_requests", "least_connections"] = "random"


class LoadShedding(Strict):
    """`load_shedding` of a pool: the share of clients that is sent to other pools instead."""

    default_percent: float = Field(0.0, ge=0, le=100)
    default_policy: Literal["random", "hash"] = "random"
    # For clients with session affinity.
    session_percent: float = Field(0.0, ge=0, le=100)
    session_policy: Literal["hash"] = "hash"


class OutlierDetection(Strict):
    """`outlier_detection` of a pool: origins that fail clients are ejected, whatever their monitor says. Envoy's model
    and names, except for the share: half of a pool, where Envoy has a tenth and at least one.
    """

    consecutive_failures: int = Field(5, ge=1)
    # Percentage of failures in `interval`; it must also be twice the usual one in the pool. 0: only consecutive
    # failures count. Envoy's is 85, beside a rule on standard deviations that needs five hosts.
    failure_percentage_threshold: float = Field(30.0, ge=0, le=100)
    # Origins with fewer connects or sessions are not compared.
    failure_percentage_request_volume: int = Field(50, ge=1)
    # With fewer comparable origins none is ejected by its share.
    failure_percentage_minimum_hosts: int = Field(2, ge=2)
    interval_s: PositiveDuration = Field(10.0, alias="interval")
    base_ejection_time_s: PositiveDuration = Field(30.0, alias="base_ejection_time")
    max_ejection_time_s: PositiveDuration = Field(300.0, alias="max_ejection_time")
    max_ejection_percent: float = Field(50.0, ge=0, le=100)


def _outliers(value: Any) -> Any:
    return None if value == "off" else value


class RetryBudgetKeys(Strict):
    """`retry_budget` of a pool, and of an app: how many connects may follow failed ones, as in Linkerd."""

    # The share of the sessions of the last ten seconds that may make a further connect.
    percent: float = Field(20.0, ge=0, le=1000)
    # The number that may in any case, in each worker.
    min_per_second: float = Field(10.0, ge=0, le=1_000_000)

    @property
    def settings(self) -> RetrySettings:
        """The settings for workers."""
        return RetrySettings(self.percent, self.min_per_second)


class Pool(CloudflareKeysOfPool):
    """`pools`: origins for the same purpose, at one location."""

    origins: Annotated[tuple[PoolOrigin, ...], AsTuple] = Field(min_length=1)
    description: str = ""
    enabled: bool = True
    monitor: str | None = None
    # Instead of a monitor.
    monitor_group: str | None = None

    @field_validator("monitor_group")
    @classmethod
    def _is_alone(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("monitor") is not None:
            raise ValueError("a pool has a monitor or a monitor_group, not both")
        return value

    minimum_origins: int = Field(1, ge=1)
    origin_steering: OriginSteering = OriginSteering()
    load_shedding: LoadShedding = LoadShedding()
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    outlier_detection: Annotated[OutlierDetection | None, BeforeValidator(_outliers)] = OutlierDetection()
    # Time in which an origin's share grows after a recovery. 0: the whole share at once.
    slow_start_s: Duration = Field(0.0, alias="slow_start")
    # None: no limit for the connects of failover.
    retry_budget: RetryBudgetKeys | None = None
    # Its name in the API, if that is not its key.
    name: str | None = None
    account: str | None = None


class RandomSteering(Strict):
    """`random_steering` of a load balancer: the weights of its pools."""

    default_weight: float = Field(1.0, ge=0, le=1)
    pool_weights: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


class AffinityAttributes(CloudflareKeysOfAffinity):
    """`session_affinity_attributes` of a load balancer."""

    # None: sessions of an origin that is disabled or removed go on until they end.
    drain_duration_s: Duration | None = Field(None, alias="drain_duration")
    zero_downtime_failover: Literal["none", "temporary", "sticky"] = "temporary"


class AdaptiveRouting(Strict):
    """`adaptive_routing` of a load balancer."""

    failover_across_pools: bool = False


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

    # Per worker; 0: no queue.
    size: int = Field(1000, ge=0, le=MAX_QUEUE)
    # HAProxy's timeout queue; by default the connect timeout, as in HAProxy.
    timeout_s: PositiveDuration = Field(5.0, alias="timeout")


class LoadBalancer(CloudflareKeysOfBalancer):
    """`load_balancers`: pools, in order or by share, for groups of clients."""

    default_pools: Names
    # The last of default_pools by default.
    fallback_pool: str | None = None
    region_pools: dict[Region, Names] = Field(default_factory=dict)
    country_pools: dict[Country, Names] = Field(default_factory=dict)
    pop_pools: dict[str, Names] = Field(default_factory=dict)
    description: str = ""
    enabled: bool = True
    steering_policy: Steering = ""
    random_steering: RandomSteering = RandomSteering()
    session_affinity: Annotated[Literal["none", "ip", "ip_port"], BeforeValidator(_affinity)] = "none"
    session_affinity_ttl_s: Annotated[float, PlainValidator(_ttl)] = Field(1800.0, alias="session_affinity_ttl")
    session_affinity_attributes: AffinityAttributes = AffinityAttributes()
    adaptive_routing: AdaptiveRouting = AdaptiveRouting()
    queue: Queue = Queue()
    name: str | None = None
    # Its account or zone in the API; by default the first account.
    zone: str | None = None
    account: str | None = None

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

    node: Node = Node()
    # Number of clients whose origin session affinity stores, 16 bytes each, for all workers together.
    max_affinities: int = Field(262_144, ge=4, le=MAX_AFFINITIES)
    monitors: dict[str, Monitor] = Field(default_factory=dict)
    monitor_groups: dict[str, MonitorGroup] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)
    load_balancers: dict[str, LoadBalancer] = Field(default_factory=dict)
