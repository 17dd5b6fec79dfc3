"""IP access rules: `/accounts/{account}/firewall/access_rules/rules`, and the same below `/zones/{zone}`.

Modes are `block`, and `whitelist`, which the file calls allow; Spectrum has no other ones. Extensions of Cloudflare's
form: rules for a list (its name after a dollar sign, as in Cloudflare's expressions: `{"target": "ip_range", "value":
"$banned"}`), for several values, and for some apps.
"""

import html
import re
from ipaddress import ip_address
from typing import Any

from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, given, refuse, stamped
from spectrum.core.access.objects import AccessRule
from spectrum.core.configuration.faults import Path
from spectrum.store.objects import StoredObject

NOT_FOUND, INVALID, DUPLICATE = 10001, 10002, 10009
_WORDS = "firewallaccessrules.api."
MODES = ["block", "whitelist"]
_ACTIONS = {"block": "block", "whitelist": "allow"}
_READ_ONLY = STAMPS | {"allowed_modes", "scope"}
_KEYS = frozenset({"mode", "configuration", "notes", "apps"})
_TARGETS = ("ip", "ip6", "ip_range", "asn", "country")
LIST = "$"
# Targets of a rule with a list, by the kind of the list.
_TARGETS_OF_LISTS = {"ip": ("ip_range", "ip"), "asn": ("asn",)}


def _invalid(message: str, *place: str | int) -> Exception:
    return refuse(INVALID, f"{_WORDS}validation_error: {message}", *place)


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a rule, from a body."""
    taken = given(body, _READ_ONLY)
    for key in taken.keys() - _KEYS:
        raise _invalid(f"unknown field: {key}", key)
    mode = taken.get("mode")
    if mode not in MODES:
        raise _invalid(f"invalid mode received: {mode or ''}; expected {' or '.join(MODES)}", "mode")
    value = {"action": _ACTIONS[mode], **_whom(taken.get("configuration"), refs)}
    if taken.get("notes"):
        value["notes"] = taken["notes"]
    if "apps" in taken:
        value["apps"] = _apps(taken["apps"], refs)
    return value


def _whom(configuration: Any, refs: References) -> Value:
    """Return the keys of the file that define the target of a rule."""
    if not isinstance(configuration, dict) or configuration.get("target") not in _TARGETS:
        found = configuration.get("target", "") if isinstance(configuration, dict) else ""
        raise _invalid(
            f"unsupported target received: {found}; expected {', '.join(_TARGETS)}", "configuration", "target"
        )
    for key in configuration.keys() - {"target", "value", "values"}:
        raise _invalid(f"unknown field: {key}", "configuration", key)
    target, value = configuration["target"], configuration.get("value")
    if isinstance(value, str) and value.startswith(LIST):
        return _list(target, value.removeprefix(LIST), refs)
    if isinstance(configuration.get("values"), list) and value is None:
        return {"target": "ip" if target == "ip6" else target, "values": configuration["values"]}
    if not isinstance(value, str) or not value:
        raise _invalid("no value provided", "configuration", "value")
    if target in ("ip", "ip6") and _version(value) != (4 if target == "ip" else 6):
        raise _invalid("invalid ip provided", "configuration", "value")
    if target == "country":
        value = value.upper()
    return {"target": "ip" if target == "ip6" else target, "value": value}


def _list(target: str, name: str, refs: References) -> Value:
    key = refs.key_named("lists", name)
    if key is None:
        raise _invalid(f"there is no list {name!r}", "configuration", "value")
    kind = refs.kind_of_list(key)
    if target not in _TARGETS_OF_LISTS[kind]:
        expected = " or ".join(_TARGETS_OF_LISTS[kind])
        raise _invalid(f"list {name} is of kind {kind}; expected {expected}", "configuration", "target")
    return {"target": target, "list": key}


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0


def _apps(ids: Any, refs: References) -> Any:
    if not isinstance(ids, list):
        return ids
    keys = [refs.key_of("apps", str(identity)) for identity in ids]
    for index, key in enumerate(keys):
        if key is None:
            raise _invalid(f"there is no app {ids[index]!r}", "apps", index)
    return keys


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a rule."""
    body: Value = {
        "mode": "block" if value["action"] == "block" else "whitelist",
        "configuration": _configuration(value, refs),
    }
    if "notes" in value:
        body["notes"] = value["notes"]
    if "apps" in value:
        apps = [value["apps"]] if isinstance(value["apps"], str) else value["apps"]
        body["apps"] = [refs.id_of("apps", app) for app in apps]
    return body


def _configuration(value: Value, refs: References) -> Value:
    target = value["target"]
    if "list" in value:
        return {"target": target, "value": f"{LIST}{refs.name_of('lists', value['list'])}"}
    if "file" in value:
        return {"target": target, "value": value["file"]}
    if "values" in value:
        return {"target": target, "values": list(map(str, value["values"]))}
    text = str(value["value"])
    if target == "asn" and text.isdecimal():
        text = f"AS{text}"
    return {"target": "ip6" if target == "ip" and _version(text) == 6 else target, "value": text}


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a rule as the API answers it. Cloudflare's clients decode entities in notes, so they are encoded."""
    body = to_body(obj.value, refs)
    notes = str(body.get("notes", ""))
    body["notes"] = notes if html.unescape(notes) == notes else html.escape(notes, quote=False)
    if "values" in body["configuration"]:
        body["configuration"]["value"] = ",".join(body["configuration"]["values"])
    return stamped(obj, {"allowed_modes": MODES, **body})


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("target", *_):
            return ("configuration", "target")
        case ("value" | "list", *_):
            return ("configuration", "value")
        case ("values", *rest):
            return ("configuration", "values", *rest)
        case ("action", *_):
            return ("mode",)
        case ():
            return ("configuration", "value")
    return place


def _code(place: Path) -> int:
    return INVALID


def api_name(obj: StoredObject) -> str:
    """Return the name of a rule in the file: it has no other one."""
    return obj.name


def wanted_name(value: Value) -> str:
    """Return a name for a rule in the file, from its action and target: block-192.0.2.1."""
    whom = value.get("value") or value.get("list") or value["target"]
    return re.sub("[^A-Za-z0-9._-]+", "-", f"{value['action']}-{whom}")[:60]


ACCESS_RULES = Kind("access_rules", "access rule", AccessRule, to_value, to_body, from_value, _place, _code, api_name)
