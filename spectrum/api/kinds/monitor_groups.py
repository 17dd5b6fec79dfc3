"""Monitor groups: `/accounts/{account}/load_balancers/monitor_groups`."""

import re
from typing import Any

from spectrum.api.kinds.balancing import INVALID, code, fields_of
from spectrum.api.kinds.kind import Body, Kind, References, Value, refuse, stamped
from spectrum.api.kinds.times import timestamp
from spectrum.core.balancing.objects import MonitorGroup
from spectrum.core.configuration.faults import Path
from spectrum.store.objects import StoredObject

_KEYS = frozenset({"description", "members"})
_MEMBER_KEYS = frozenset({"monitor_id", "enabled", "monitoring_only", "must_be_healthy"})
_MEMBER_READ_ONLY = frozenset({"created_at", "updated_at"})


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a group, from a body."""
    value = fields_of(body, _KEYS, ("description", "members"))
    if isinstance(value["members"], list):
        value["members"] = [_member(i, member, refs) for i, member in enumerate(value["members"])]
    return value


def _member(index: int, member: Any, refs: References) -> Any:
    if not isinstance(member, dict):
        return member
    taken = fields_of(member, _MEMBER_KEYS, (), _MEMBER_READ_ONLY, ("members", index))
    monitor = refs.key_of("monitors", str(taken.pop("monitor_id", "")))
    if monitor is None:
        raise refuse(INVALID, "could not find the monitor: validation failed", "members", index, "monitor_id")
    return {"monitor": monitor, **taken}


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a group."""
    members = [
        {("monitor_id" if key == "monitor" else key): item for key, item in member.items()}
        | {"monitor_id": refs.id_of("monitors", member["monitor"])}
        for member in value["members"]
    ]
    return {**({"description": value["description"]} if "description" in value else {}), "members": members}


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a group as the API answers it."""
    defaults: Value = {
        "enabled": True,
        "monitoring_only": False,
        "must_be_healthy": False,
        "created_at": timestamp(obj.created_on),
        "updated_at": timestamp(obj.modified_on),
    }
    body: Value = {"description": "", **to_body(obj.value, refs)}
    return stamped(obj, body | {"members": [defaults | member for member in body["members"]]})


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("members", int() as index, "monitor", *_):
            return ("members", index, "monitor_id")
    return place


def api_name(obj: StoredObject) -> str:
    """Return the description of a group, without one its name in the file."""
    return str(obj.value.get("description") or obj.name)


def wanted_name(value: Value) -> str:
    """Return a name for a group in the file."""
    return re.sub("[^A-Za-z0-9._-]+", "-", str(value["description"])).strip("-._")[:40] or "group"


MONITOR_GROUPS = Kind(
    "monitor_groups", "monitor group", MonitorGroup, to_value, to_body, from_value, _place, code, api_name
)
