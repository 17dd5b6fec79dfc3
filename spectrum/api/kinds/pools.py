"""Pools of origins: `/accounts/{account}/load_balancers/pools`."""

from typing import Any

from spectrum.api.kinds.balancing import INVALID, code, fields_of
from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, keys_of, refuse, same_place, stamped
from spectrum.api.kinds.times import timestamp
from spectrum.core.balancing.objects import Pool, PoolOrigin
from spectrum.store.objects import StoredObject

_OWN = frozenset({"zone", "account"})
_KEYS = (keys_of(Pool) - _OWN) | {"name"}
_ORIGIN_KEYS = keys_of(PoolOrigin)
_MONITORED = {"monitor": "monitors", "monitor_group": "monitor_groups"}
_READ_ONLY = STAMPS | {"disabled_at"}
_DEFAULTS: Value = {"enabled": True, "minimum_origins": 1}
_SHEDDING: Value = {"default_percent": 0, "default_policy": "random", "session_percent": 0, "session_policy": "hash"}
_ORIGIN_DEFAULTS: Value = {"enabled": True, "weight": 1, "port": 0, "flatten_cname": True}


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a pool, from a body."""
    value = fields_of(body, _KEYS, ("name", "origins"), _READ_ONLY)
    for key, section in _MONITORED.items():
        if not value.get(key, True):
            del value[key]
        elif key in value:
            value[key] = _monitor(key, section, str(value[key]), refs)
    if isinstance(value["origins"], list):
        value["origins"] = [_origin(i, origin) for i, origin in enumerate(value["origins"])]
    return value


def _monitor(key: str, section: str, identity: str, refs: References) -> str:
    found = refs.key_of(section, identity)
    if found is None:
        raise refuse(INVALID, f"{key}: could not find {identity!r}: validation failed", key)
    return found


def _origin(index: int, origin: Any) -> Any:
    if not isinstance(origin, dict):
        return origin
    taken = {key: item for key, item in origin.items() if key != "disabled_at"}
    if not taken.get("virtual_network_id", True):
        del taken["virtual_network_id"]
    for key in taken.keys() - _ORIGIN_KEYS:
        what = "virtual networks are not supported" if key == "virtual_network_id" else f'unknown field "{key}"'
        raise refuse(INVALID, f"{what}: validation failed", "origins", index, key)
    return taken


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a pool."""
    body = {key: item for key, item in value.items() if key not in _OWN}
    for key, section in _MONITORED.items():
        if key in body:
            body[key] = refs.id_of(section, body[key])
    return body


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a pool as the API answers it."""
    body = _DEFAULTS | {"name": api_name(obj)} | to_body(obj.value, refs)
    body["load_shedding"] = _SHEDDING | body.get("load_shedding", {})
    body["origin_steering"] = {"policy": "random"} | body.get("origin_steering", {})
    body["origins"] = [_answered(origin, obj) for origin in body["origins"]]
    if not body["enabled"]:
        body["disabled_at"] = timestamp(obj.modified_on)
    return stamped(obj, body)


def _answered(origin: Value, obj: StoredObject) -> Value:
    answered = _ORIGIN_DEFAULTS | origin
    if "header" in answered:
        answered["header"] = {
            name: given if isinstance(given, list) else [given] for name, given in answered["header"].items()
        }
    return answered if answered["enabled"] else answered | {"disabled_at": timestamp(obj.modified_on)}


def api_name(obj: StoredObject) -> str:
    """Return the name of a pool."""
    return str(obj.value.get("name", obj.name))


POOLS = Kind("pools", "pool", Pool, to_value, to_body, from_value, same_place, code, api_name)
