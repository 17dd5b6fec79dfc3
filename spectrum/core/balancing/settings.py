"""Pools and load balancers as compiled for workers: decisions that depend on the file and on this node alone are made
here.
"""

from collections.abc import Mapping
from hashlib import blake2b
from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING

import msgspec

from spectrum.core.address import is_name
from spectrum.core.names import NameSettings
from spectrum.core.origin_bounds import RetrySettings

if TYPE_CHECKING:  # A worker decodes settings without pydantic.
    from spectrum.core.balancing.objects import LoadBalancer, Node, Pool, PoolOrigin

# Names of origins are looked up by their own TTL, as at Cloudflare; this is the maximum.
ORIGIN_NAME_TTL_S = 60.0
EARTH_RADIUS_KM = 6371.0


class OriginSettings(msgspec.Struct, frozen=True, array_like=True):
    """One origin of a pool.

    Attributes:
        number: Its number in messages and shared memory; the same over reloads.
        tag: Its tag in the table of affinities: a hash of pool and name, 40 bits.
        address: An IP address; empty if `dns` is the name to look up.
        port: The port of offset 0; 0 for the port that the client connected to.
        host: Its own Host header for HTTP monitors; empty for theirs.
        max_sessions: Maximum number of open sessions; 0 for no limit.
    """

    number: int
    tag: int
    name: str
    address: str
    dns: NameSettings | None
    port: int
    weight: float
    enabled: bool
    host: str = ""
    max_sessions: int = 0


class PoolSettings(msgspec.Struct, frozen=True, array_like=True):
    """One pool.

    Attributes:
        number: Its number, as that of an origin.
        monitored: Whether the health of its origins counts.
        retries: The retry budget of its origins; None for no limit.
    """

    number: int
    name: str
    origins: tuple[OriginSettings, ...]
    enabled: bool
    monitored: bool
    minimum_origins: int
    policy: str
    slow_start_s: float
    shed_percent: float
    shed_by_hash: bool
    shed_session_percent: float
    retries: RetrySettings | None = None


class BalancerSettings(msgspec.Struct, frozen=True, array_like=True):
    """One load balancer, as this node sees it.

    Attributes:
        policy: How one of several pools is chosen; `geo` is resolved into `pools` and `country_pools`.
        pools: Names in the order of failover.
        country_pools: The pools for clients of a country, if that decides.
        weights: Of `pools`, in their order.
        affinity: "none", "ip" or "ip_port".
    """

    name: str
    enabled: bool
    policy: str
    pools: tuple[str, ...]
    country_pools: dict[str, tuple[str, ...]]
    fallback: str
    weights: tuple[float, ...]
    affinity: str
    affinity_ttl_s: float
    drain_s: float | None
    failover: str
    failover_across_pools: bool
    # Of waiting sessions, in each worker.
    queue_size: int = 0
    queue_timeout_s: float = 0.0

    def all_pools(self) -> tuple[str, ...]:
        """Return the names of all pools that this node may use."""
        named = [*self.pools, *(name for names in self.country_pools.values() for name in names), self.fallback]
        return tuple(dict.fromkeys(named))


def pool_label(pool: str) -> str:
    """Return the label of a pool to which its number is assigned."""
    return f"pool {pool}"


def origin_label(pool: str, origin: str) -> str:
    """Return the label of an origin to which its number is assigned."""
    return f"origin {pool}\0{origin}"


def origin_tag(pool: str, origin: str) -> int:
    """Return the tag of an origin; never 0."""
    return int.from_bytes(blake2b(f"{pool}\0{origin}".encode(), digest_size=5).digest(), "big") or 1


def labels(pools: Mapping[str, "Pool"]) -> list[str]:
    """Return the labels of everything in `pools` that needs a number."""
    found = []
    for name, pool in pools.items():
        found += [pool_label(name), *(origin_label(name, origin.name) for origin in pool.origins)]
    return found


def compile_pool(name: str, pool: "Pool", monitored: bool, numbers: Mapping[str, int]) -> PoolSettings:
    """Return a pool with the numbers of its origins; `monitored` says whether a monitor decides on their health."""
    shedding = pool.load_shedding
    return PoolSettings(
        number=numbers[pool_label(name)],
        name=name,
        origins=tuple(_compile_origin(name, origin, numbers) for origin in pool.origins),
        enabled=pool.enabled,
        monitored=monitored,
        minimum_origins=pool.minimum_origins,
        policy=pool.origin_steering.policy,
        slow_start_s=pool.slow_start_s,
        shed_percent=shedding.default_percent,
        shed_by_hash=shedding.default_policy == "hash",
        shed_session_percent=shedding.session_percent,
        retries=pool.retry_budget.settings if pool.retry_budget is not None else None,
    )


def _compile_origin(pool: str, origin: "PoolOrigin", numbers: Mapping[str, int]) -> OriginSettings:
    named = is_name(origin.address)
    return OriginSettings(
        number=numbers[origin_label(pool, origin.name)],
        tag=origin_tag(pool, origin.name),
        name=origin.name,
        address="" if named else origin.address,
        dns=NameSettings(origin.address, "", ORIGIN_NAME_TTL_S, origin.port, origin.port) if named else None,
        port=origin.port,
        weight=origin.weight,
        enabled=origin.enabled,
        host=origin.header[0][1] if origin.header else "",
        max_sessions=origin.max_sessions or 0,
    )


def compile_balancer(
    name: str, balancer: "LoadBalancer", pools: Mapping[str, "Pool"], node: "Node"
) -> BalancerSettings:
    """Return a load balancer with its pools in the order for this node."""
    attributes = balancer.session_affinity_attributes
    order, by_country = _order(balancer, pools, node)
    steering = balancer.random_steering
    return BalancerSettings(
        name=name,
        enabled=balancer.enabled,
        policy="off" if balancer.policy in ("geo", "proximity") else balancer.policy,
        pools=order,
        country_pools=by_country,
        fallback=balancer.fallback,
        weights=tuple(steering.pool_weights.get(pool, steering.default_weight) for pool in order),
        affinity=balancer.session_affinity,
        affinity_ttl_s=balancer.session_affinity_ttl_s,
        drain_s=attributes.drain_duration_s,
        failover=attributes.zero_downtime_failover,
        failover_across_pools=balancer.adaptive_routing.failover_across_pools,
        queue_size=balancer.queue.size,
        queue_timeout_s=balancer.queue.timeout_s,
    )


def _order(
    balancer: "LoadBalancer", pools: Mapping[str, "Pool"], node: "Node"
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the pools in their order here, and those for clients of a country. Cloudflare: pop, country, region."""
    if balancer.policy == "proximity":
        return tuple(sorted(balancer.default_pools, key=lambda pool: _distance(node, pools[pool]))), {}
    if balancer.policy != "geo":
        return balancer.default_pools, {}
    if node.name in balancer.pop_pools:
        return balancer.pop_pools[node.name], {}
    by_country: dict[str, tuple[str, ...]] = {str(country): names for country, names in balancer.country_pools.items()}
    if node.country in by_country:
        return by_country[node.country], by_country
    if node.region is not None and node.region in balancer.region_pools:
        return balancer.region_pools[node.region], by_country
    return balancer.default_pools, by_country


def _distance(node: "Node", pool: "Pool") -> float:
    places = (node.latitude, node.longitude, pool.latitude, pool.longitude)
    assert None not in places, "checked with the file"
    return distance_km(*places)  # type: ignore[arg-type]


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the length of the great circle between two places in degrees (the haversine formula)."""
    here, there = radians(latitude), radians(other_latitude)
    a = sin((there - here) / 2) ** 2
    a += cos(here) * cos(there) * sin(radians(other_longitude - longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(a)))
