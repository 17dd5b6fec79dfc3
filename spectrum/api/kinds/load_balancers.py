"""Load balancers: `/zones/{zone}/load_balancers`."""

from collections.abc import Callable
from typing import Any

from spectrum.api.kinds.balancing import INVALID, code, fields_of
from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, keys_of, refuse, same_place, seconds, stamped
from spectrum.core.balancing.objects import LoadBalancer
from spectrum.store.objects import StoredObject

_OWN = frozenset({"zone", "account"})
_KEYS = (keys_of(LoadBalancer) - _OWN) | {"name"}
_READ_ONLY = STAMPS | {"zone_name"}
_OF_PLACES = ("region_pools", "country_pools", "pop_pools")
_DEFAULTS: Value = {
    "enabled": True,
    "proxied": False,
    "session_affinity": "none",
    "steering_policy": "",
    "region_pools": {},
    "country_pools": {},
    "pop_pools": {},
    "rules": [],
}
_AFFINITY: Value = {
    "zero_downtime_failover": "temporary",
    "samesite": "Auto",
    "secure": "Auto",
    "require_all_headers": False,
}
_LOCATION: Value = {"mode": "pop", "prefer_ecs": "proximity"}
DEFAULT_AFFINITY_TTL_S = 1800
# Cloudflare's settings that need HTTP, which layer 4 does not see.
_AFFINITIES_OF_HTTP = ("cookie", "header")


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a load balancer, from a body."""
    value = fields_of(body, _KEYS, ("name", "default_pools", "fallback_pool"), _READ_ONLY)
    if value.get("session_affinity") in _AFFINITIES_OF_HTTP:
        raise refuse(
            INVALID,
            f"session_affinity {value['session_affinity']} needs HTTP; expected none, ip_cookie, ip or ip_port: "
            "validation failed",
            "session_affinity",
        )
    if value.get("rules"):
        raise refuse(INVALID, "rules are not supported: validation failed", "rules")

    def key_of(pool: Any, *place: str | int) -> str:
        key = refs.key_of("pools", str(pool))
        if key is None:
            raise refuse(INVALID, f"could not find pool {pool!r}: validation failed", *place)
        return key

    return _with_pools(value, key_of)


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a load balancer."""
    body = {key: item for key, item in value.items() if key not in _OWN}
    return _with_pools(body, lambda pool, *place: refs.id_of("pools", pool))


def _with_pools(value: Value, named: Callable[..., Any]) -> Value:
    """Return a body or value with each pool replaced by `named(pool, *place)`."""
    changed = dict(value)
    if isinstance(value.get("default_pools"), list):
        changed["default_pools"] = [named(pool, "default_pools", i) for i, pool in enumerate(value["default_pools"])]
    if "fallback_pool" in value:
        changed["fallback_pool"] = named(value["fallback_pool"], "fallback_pool")
    for key in _OF_PLACES:
        if isinstance(value.get(key), dict):
            changed[key] = {
                where: [named(pool, key, where, i) for i, pool in enumerate(pools)]
                if isinstance(pools, list)
                else pools
                for where, pools in value[key].items()
            }
    steering = value.get("random_steering")
    if isinstance(steering, dict) and isinstance(steering.get("pool_weights"), dict):
        weights = {
            named(pool, "random_steering", "pool_weights", pool): weight
            for pool, weight in steering["pool_weights"].items()
        }
        changed["random_steering"] = steering | {"pool_weights": weights}
    return changed


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a load balancer as the API answers it."""
    body = _DEFAULTS | {"name": api_name(obj)} | to_body(obj.value, refs)
    body.setdefault("fallback_pool", body["default_pools"][-1])
    attributes = _AFFINITY | body.get("session_affinity_attributes", {})
    if "drain_duration" in attributes:
        attributes["drain_duration"] = seconds(attributes["drain_duration"])
    body["session_affinity_attributes"] = attributes
    body["session_affinity_ttl"] = seconds(body.get("session_affinity_ttl", DEFAULT_AFFINITY_TTL_S))
    body["adaptive_routing"] = {"failover_across_pools": False} | body.get("adaptive_routing", {})
    body["location_strategy"] = _LOCATION | body.get("location_strategy", {})
    body["random_steering"] = {"default_weight": 1} | body.get("random_steering", {})
    return stamped(obj, body)


def api_name(obj: StoredObject) -> str:
    """Return the host name of a load balancer."""
    return str(obj.value.get("name", obj.name))


LOAD_BALANCERS = Kind(
    "load_balancers", "load balancer", LoadBalancer, to_value, to_body, from_value, same_place, code, api_name
)
