"""Monitors: `/accounts/{account}/load_balancers/monitors`."""

import re

from spectrum.api.kinds.balancing import code, fields_of
from spectrum.api.kinds.kind import Body, Kind, References, Value, keys_of, same_place, seconds, stamped
from spectrum.core.balancing.objects import Monitor
from spectrum.store.objects import StoredObject

_OWN = frozenset({"zone", "account", "name"})
_KEYS = keys_of(Monitor) - _OWN
_DEFAULTS: Value = {
    "type": "http",
    "interval": 60,
    "timeout": 5,
    "retries": 2,
    "consecutive_up": 0,
    "consecutive_down": 0,
    "port": 0,
    "follow_redirects": False,
    "allow_insecure": False,
}
_HTTP: Value = {"method": "GET", "path": "/", "expected_codes": "200"}
_BY_TYPE: dict[str, Value] = {"http": _HTTP, "https": _HTTP, "tcp": {"method": "connection_established"}}
# Fields of answers that a monitor's type does not use.
_EMPTY = ("method", "path")
_ELSEWHERE: Value = {"method": "", "path": "", "expected_codes": ""}


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a monitor, from a body."""
    value = fields_of(body, _KEYS)
    return {key: item for key, item in value.items() if item != "" or key not in _EMPTY}


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a monitor."""
    return {key: item for key, item in value.items() if key not in _OWN}


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a monitor as the API answers it."""
    body = _DEFAULTS | to_body(obj.value, refs)
    body = _ELSEWHERE | _BY_TYPE.get(body["type"], {}) | body
    for key in ("interval", "timeout"):
        body[key] = seconds(body[key])
    body["expected_codes"] = str(body["expected_codes"])
    if "header" in body:
        body["header"] = {name: item if isinstance(item, list) else [item] for name, item in body["header"].items()}
    return stamped(obj, body)


def api_name(obj: StoredObject) -> str:
    """Return the description of a monitor, without one its name in the file."""
    return str(obj.value.get("description") or obj.name)


def wanted_name(value: Value) -> str:
    """Return a name for a monitor in the file, from its settings."""
    described = re.sub("[^A-Za-z0-9._-]+", "-", str(value.get("description", ""))).strip("-._")
    return described[:40].rstrip("-._") or str(value.get("type", "http"))


MONITORS = Kind("monitors", "monitor", Monitor, to_value, to_body, from_value, same_place, code, api_name)
