"""Advanced TCP protection: `/accounts/{account}/magic/advanced_tcp_protection/configs`.

Rules of both components are one section of the file, as are filters; paths contain the component.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pydantic import BaseModel

from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, given, refuse, stamped
from spectrum.core.configuration.faults import Path
from spectrum.core.tcp_protection.objects import (
    Component,
    TcpAllowed,
    TcpFilter,
    TcpPrefix,
    TcpProtection,
    TcpRule,
)
from spectrum.store.objects import StoredObject

NOT_FOUND, INVALID = 1000, 1001
# Defaults in answers.
_DEFAULTS: dict[str, Value] = {
    "tcp_protection": {"enabled": True},
    "tcp_prefixes": {"comment": "", "excluded": False},
    "tcp_allowlist": {"comment": "", "enabled": True},
    "tcp_rules": {"scope": "global", "name": "global", "rate_sensitivity": "medium", "burst_sensitivity": "medium"},
    "tcp_filters": {},
}


def _to_value(component: Component | None, keys: frozenset[str], body: Body, refs: References) -> Value:
    """Return the value in the file of an object, from a body; it gets the component of the path."""
    taken = given(body, STAMPS)
    for key in taken.keys() - keys - {"component"}:
        raise refuse(INVALID, f"unknown field: {key}", key)
    if component is not None and taken.setdefault("component", component) != component:
        raise refuse(INVALID, f"component: here it is {component}", "component")
    place = taken.pop("name", None)
    return taken | ({"place": place} if place is not None else {})


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes an object."""
    return {key: item for key, item in to_body_with_component(value, refs).items() if key != "component"}


def to_body_with_component(value: Value, refs: References) -> Value:
    """Return the body of a request that makes an object, with the component, for paths without it."""
    names = {"place": "name"}
    return {names.get(key, key): item for key, item in value.items() if key != "account"}


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return an object as the API answers it."""
    fields = _DEFAULTS[obj.section] | to_body(obj.value, refs)
    if obj.section == "tcp_rules" and obj.value["component"] == "syn_protection":
        fields.setdefault("mitigation_type", "challenge")
    return stamped(obj, fields)


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("place", *_):
            return ("name",)
    return place


def _code(place: Path) -> int:
    return INVALID


def api_name(obj: StoredObject) -> str:
    """Return the name of an object in the file: it has no other one."""
    return obj.name


def wanted_name(value: Value) -> str:
    """Return a name for an object in the file."""
    if "prefix" in value:
        return "".join(char if char.isalnum() or char == "." else "-" for char in str(value["prefix"])).strip("-.")
    if "component" in value:
        where = f"-{value['place']}" if value.get("place", "global") != "global" else ""
        what = "filter" if "expression" in value else "rule"
        return f"{value['component']}-{what}{where}".replace("_", "-")
    return "protection"


def _whole(keys: str) -> Callable[[Body, References], Value]:
    return partial(_to_value, None, frozenset(keys.split()))


def _kind(section: str, noun: str, model: type[BaseModel], keys: str, component: Component | None = None) -> Kind:
    to_value: Callable[[Body, References], Value] = partial(_to_value, component, frozenset(keys.split()))
    return Kind(section, noun, model, to_value, to_body, from_value, _place, _code, api_name)


_RULE_KEYS = "scope name mode rate_sensitivity burst_sensitivity"
STATUS = _kind("tcp_protection", "TCP protection", TcpProtection, "enabled")
PREFIXES = _kind("tcp_prefixes", "prefix", TcpPrefix, "prefix comment excluded")
ALLOWLIST = _kind("tcp_allowlist", "allowlist entry", TcpAllowed, "prefix comment enabled")
RULES: dict[Component, Kind] = {
    "syn_protection": _kind("tcp_rules", "rule", TcpRule, f"{_RULE_KEYS} mitigation_type", "syn_protection"),
    "tcp_flow_protection": _kind("tcp_rules", "rule", TcpRule, _RULE_KEYS, "tcp_flow_protection"),
}
FILTERS: dict[Component, Kind] = {
    "syn_protection": _kind("tcp_filters", "filter", TcpFilter, "expression mode", "syn_protection"),
    "tcp_flow_protection": _kind("tcp_filters", "filter", TcpFilter, "expression mode", "tcp_flow_protection"),
}
# As in the file: rules and filters of both components.
SECTIONS = (
    STATUS,
    PREFIXES,
    ALLOWLIST,
    replace(RULES["syn_protection"], to_value=_whole("mitigation_type " + _RULE_KEYS), to_body=to_body_with_component),
    replace(FILTERS["syn_protection"], to_value=_whole("expression mode"), to_body=to_body_with_component),
)
