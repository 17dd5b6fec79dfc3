"""Lists of addresses and of autonomous systems: `/accounts/{account}/rules/lists`, and their items.

An item's id is a digest of the list's id and the item's value: an item has the same id after its list was replaced.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, given, refuse, same_place, stamped
from spectrum.api.kinds.times import timestamp
from spectrum.core.access.lists import ITEM_KEYS, MAX_TEXT, AddressList, item_value
from spectrum.core.configuration.faults import Path
from spectrum.store.objects import StoredObject

INVALID = 10012
_READ_ONLY = STAMPS | {"num_items", "num_referencing_filters"}
_KEYS = frozenset({"kind", "name", "description", "items"})
_NAME = re.compile(r"[a-zA-Z0-9_]{1,50}")
_ELSEWHERE = ("redirect", "hostname")


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a list, from a body."""
    value = given(body, _READ_ONLY)
    for key in value.keys() - _KEYS:
        raise refuse(INVALID, f'unknown field "{key}"', key)
    if value.get("kind") in _ELSEWHERE:
        raise refuse(INVALID, f"kind {value['kind']} is about HTTP; expected ip or asn", "kind")
    if not isinstance(value.get("name"), str) or not _NAME.fullmatch(value["name"]):
        raise refuse(INVALID, "expected a name of letters, digits and underscores, at most 50", "name")
    if "kind" not in value:
        raise refuse(INVALID, '"kind" is missing: ip or asn', "kind")
    value.setdefault("items", [])
    return value


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a list, with its items."""
    return {key: item for key, item in value.items() if key in _KEYS}


def from_value(obj: StoredObject, refs: References, referring: int = 0) -> Value:
    """Return a list as the API answers it, without its items. `referring` is the number of rules that refer to it."""
    body: Value = {"name": api_name(obj)} | to_body(obj.value, refs)
    items: list[Any] = body.pop("items", [])
    return stamped(obj, body | {"num_items": len(items), "num_referencing_filters": referring})


def item_of(obj: StoredObject, item: Any) -> Value:
    """Return an item of a list as the API answers it."""
    kind = obj.value["kind"]
    full = item if isinstance(item, dict) else {kind: item}
    held = item_value(kind, item)
    created = full.get("created_on", timestamp(obj.created_on))
    return {
        "id": item_id(obj, item),
        kind: held if kind == "asn" else str(full[kind]).lower(),
        "comment": full.get("comment", ""),
        "created_on": created,
        "modified_on": full.get("modified_on", created),
    }


def item_id(obj: StoredObject, item: Any) -> str:
    """Return the id of an item of a list, 32 hexadecimal digits."""
    return hashlib.sha256(f"{obj.id} {item_value(obj.value['kind'], item)}".encode()).hexdigest()[:32]


def with_items(obj: StoredObject, body: Any, now: float, *, replaces: bool) -> Value:
    """Return the value of a list with the items of a body, added to its items or in place of them.

    An item that is in the list already gets the comment of the body.

    Raises:
        BodyFault: If the body is not an array of items of the list's kind.
    """
    kind, stamp = obj.value["kind"], timestamp(now)
    if not isinstance(body, list):
        raise refuse(INVALID, "expected an array of items")
    present = {item_value(kind, item): item for item in obj.value.get("items", [])}
    found: dict[Any, Any] = {} if replaces else dict(present)
    for index, one in enumerate(body):
        held, item = _item(kind, one, index)
        before = present.get(held)
        created = before.get("created_on") if isinstance(before, dict) else None
        found[held] = item | {"created_on": created or (stamp if before is None else timestamp(obj.created_on))}
        if before is not None and found[held]["created_on"] != stamp:
            found[held]["modified_on"] = stamp
    return obj.value | {"items": list(found.values())}


def _item(kind: str, body: Any, index: int) -> tuple[Any, Value]:
    """Return the value of an item, and the item in the form of the file."""
    taken = given(body, STAMPS) if isinstance(body, Mapping) else {}
    if kind not in taken:
        raise refuse(INVALID, f'item has no "{kind}"', index)
    for key in taken.keys() - ITEM_KEYS - {kind}:
        raise refuse(INVALID, f'unknown field "{key}" in a list of kind {kind}', index, key)
    if not isinstance(taken.get("comment", ""), str) or len(taken.get("comment", "")) > MAX_TEXT:
        raise refuse(INVALID, f"a comment is text of at most {MAX_TEXT} characters", index, "comment")
    try:
        held = item_value(kind, taken)
    except ValueError as exc:
        raise refuse(INVALID, str(exc), index, kind) from exc
    if kind == "ip":
        taken["ip"] = taken["ip"].lower()
    return held, taken


def without_items(obj: StoredObject, body: Any) -> Value:
    """Return the value of a list without the items with the ids of a body.

    Raises:
        BodyFault: If the body is not `{"items": [{"id": ...}]}`, or there is no item with an id.
    """
    named = body.get("items") if isinstance(body, dict) else None
    if not isinstance(named, list) or not all(isinstance(one, dict) and "id" in one for one in named):
        raise refuse(INVALID, 'expected {"items": [{"id": ...}]}', "items")
    kept = {item_id(obj, item): item for item in obj.value.get("items", [])}
    for index, one in enumerate(named):
        if kept.pop(str(one["id"]), None) is None:
            raise refuse(INVALID, f"there is no item {one['id']!r}", "items", index, "id")
    return obj.value | {"items": list(kept.values())}


def found_items(obj: StoredObject, search: str) -> Sequence[Any]:
    """Return the items that match a search: addresses with that prefix, or that autonomous system."""
    items: Sequence[Any] = obj.value.get("items", [])
    if not search:
        return items
    kind = obj.value["kind"]
    if kind == "asn":
        wanted = search.upper().removeprefix("AS")
        return [item for item in items if str(item_value(kind, item)) == wanted]
    return [item for item in items if _text(kind, item).startswith(search.lower())]


def item_with_id(obj: StoredObject, wanted: str) -> Any:
    """Return the item with an id; None if there is none."""
    return next((item for item in obj.value.get("items", []) if item_id(obj, item) == wanted), None)


def _text(kind: str, item: Any) -> str:
    return str(item[kind] if isinstance(item, dict) else item).lower()


def items_below(items: Iterable[Any], obj: StoredObject) -> list[Value]:
    """Return items of a list as the API answers them."""
    return [item_of(obj, item) for item in items]


def _code(place: Path) -> int:
    return INVALID


def api_name(obj: StoredObject) -> str:
    """Return the name of a list."""
    return str(obj.value.get("name", obj.name))


LISTS = Kind("lists", "list", AddressList, to_value, to_body, from_value, same_place, _code, api_name)
