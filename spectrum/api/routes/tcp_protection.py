"""Advanced TCP protection: its switch, prefixes, allowlist, and the rules and filters of both components.

The filter belongs to the machine: only the account that owns the machine may use these calls.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from spectrum.api.access import UNAUTHORIZED, Call, InAccount
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.kind import Kind, Value
from spectrum.api.kinds.tcp_protection import (
    ALLOWLIST,
    FILTERS,
    INVALID,
    NOT_FOUND,
    PREFIXES,
    RULES,
    STATUS,
    wanted_name,
)
from spectrum.api.kinds.tcp_protection import SECTIONS as KINDS_AS_IN_FILE
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.routes.objects import NamedByCaller, Objects
from spectrum.api.routes.schemas import gives, gives_list, takes, takes_body, takes_part
from spectrum.core.tcp_protection.objects import Component
from spectrum.store.objects import ObjectChange, StoredObject

router = APIRouter(tags=["Advanced TCP protection"])
_PATH = "/accounts/{account_id}/magic/advanced_tcp_protection/configs"
# Objects of one request.
MAX_BULK = 1000
PER_PAGE = 25
Reading = Annotated[Call, InAccount("tcp_protection")]
Editing = Annotated[Call, InAccount("tcp_protection", edit=True)]
Direction = Annotated[Literal["ASC", "DESC", "asc", "desc"], Query(description="Of the order.")]
Order = Annotated[str, Query(description="A field of the objects.")]
Paging = Annotated[Page, Depends(page_query(PER_PAGE))]
# Keys that identify an object; they cannot be changed.
_FIXED = {"tcp_prefixes": ("prefix",), "tcp_allowlist": ("prefix",), "tcp_rules": ("scope", "name"), "tcp_filters": ()}


# --- the switch ---------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/tcp_protection_status")
async def get_tcp_protection_status(call: Reading) -> Response:
    """Return whether TCP protection is on. It is by default, and follows its rules and filters."""
    return _status(call)


@router.patch(f"{_PATH}/tcp_protection_status", openapi_extra=takes(STATUS))
async def edit_tcp_protection_status(call: Editing) -> Response:
    """Switch TCP protection off, or on again."""
    check_owner(call)
    if not isinstance(call.body, dict) or not isinstance(call.body.get("enabled"), bool):
        raise BodyFault(INVALID, "expected enabled: true or false", "/enabled")
    objects = Objects(STATUS, wanted_name)
    if found := call.objects("tcp_protection"):
        await objects.edit(call, found[0].id)
    else:
        await objects.make(call)
    return _status(call)


def _status(call: Call) -> Response:
    return success({"enabled": all(one.value.get("enabled", True) for one in call.objects("tcp_protection"))})


# --- objects ------------------------------------------------------------------------------------------------------


def check_owner(call: Call) -> None:
    """Refuse accounts other than the machine's: a flood affects all accounts."""
    assert call.account is not None, "the path names one"
    if call.account.name != call.catalogue.default_account:
        raise ApiError(403, UNAUTHORIZED, "the protection of this machine is not this account's to change")


def _check(call: Call, value: Value, before: StoredObject | None) -> None:
    check_owner(call)


# Objects in the form of the file, for previews.
SECTIONS = tuple(Objects(kind, wanted_name, _check) for kind in KINDS_AS_IN_FILE)


class _Collection:
    """The objects of a path.

    Args:
        kind: Their kind.
        component: The component of rules and filters.
    """

    def __init__(self, kind: Kind, component: Component | None = None) -> None:
        self.kind = kind
        self._component = component
        self._objects = Objects(kind, wanted_name, missing=(NOT_FOUND, f"could not find the {kind.noun}"))

    def _all(self, call: Call) -> list[StoredObject]:
        return [one for one in call.objects(self.kind.section) if self._is_of(one)]

    def _is_of(self, one: StoredObject) -> bool:
        return self._component is None or one.value.get("component") == self._component

    def _found(self, call: Call, object_id: str) -> StoredObject:
        found = self._objects.found(call, object_id)
        if not self._is_of(found):
            raise ApiError(404, NOT_FOUND, f"could not find the {self.kind.noun}")
        return found

    def list(self, call: Call, page: Page, order: str, direction: str, mode: str = "") -> Response:
        """Return a page."""
        shown = [self._objects.shown(call, one) for one in self._all(call)]
        if mode:
            shown = [one for one in shown if one["mode"] == mode]
        if order and all(order in one for one in shown):
            shown.sort(key=lambda one: str(one[order]), reverse=direction.upper() == "DESC")
        elif direction.upper() == "DESC":
            shown.reverse()
        return paged(shown, page, lambda one: one)

    async def make(self, call: Call) -> Response:
        """Make one."""
        check_owner(call)
        return self._objects.answer(call, await self._objects.make(call))

    async def make_many(self, call: Call) -> Response:
        """Make all of a list, or none."""
        check_owner(call)
        if not isinstance(call.body, list) or not 0 < len(call.body) <= MAX_BULK:
            raise BodyFault(INVALID, f"expected an array of 1 to {MAX_BULK} objects", "")
        changes: list[ObjectChange] = []
        for body in call.body:
            if not isinstance(body, dict):
                raise BodyFault(INVALID, "expected an array of objects", "")
            changes.append(self._objects.new(call, body, [one.name for one in changes]))
        kept = await self._objects.change_all(call, changes)
        return success([self._objects.shown(call, one) for one in kept])

    def get(self, call: Call, object_id: str) -> Response:
        """Return one."""
        return self._objects.answer(call, self._found(call, object_id))

    async def edit(self, call: Call, object_id: str) -> Response:
        """Change some fields of one; the keys that identify it cannot be changed."""
        before = self._found(call, object_id)  # first: objects of another account answer as missing ones
        check_owner(call)
        shown = self.kind.from_value(before, NamedByCaller(call))
        for key in _FIXED[self.kind.section]:
            if isinstance(call.body, dict) and call.body.get(key, shown[key]) != shown[key]:
                raise BodyFault(INVALID, f"the {key} of a {self.kind.noun} cannot be changed", f"/{key}")
        return self._objects.answer(call, await self._objects.edit(call, before.id))

    async def delete(self, call: Call, object_id: str) -> Response:
        """Delete one."""
        found = self._found(call, object_id)
        check_owner(call)
        await self._objects.delete(call, found.id)
        return success(None)

    async def delete_all(self, call: Call) -> Response:
        """Delete all, or none."""
        check_owner(call)
        if found := self._all(call):
            await self._objects.change_all(call, [ObjectChange(one.section, one.id, one.name, None) for one in found])
        return success(None)


def _routes(path: str, noun: str, collection: _Collection, has_mode: bool = False) -> None:
    """Add the calls of a collection."""
    kind, name = collection.kind, path.replace("/", "_")

    async def list_all(
        call: Reading, page: Paging, order: Order = "", direction: Direction = "ASC", mode: str = ""
    ) -> Response:
        return collection.list(call, page, order, direction, mode if has_mode else "")

    async def make(call: Editing) -> Response:
        return await collection.make(call)

    async def delete_all(call: Editing) -> Response:
        return await collection.delete_all(call)

    async def get(call: Reading, object_id: str) -> Response:
        return collection.get(call, object_id)

    async def edit(call: Editing, object_id: str) -> Response:
        return await collection.edit(call, object_id)

    async def delete(call: Editing, object_id: str) -> Response:
        return await collection.delete(call, object_id)

    one = f"{path}/{{object_id}}"
    calls: Sequence[tuple[str, str, str, Any, Any, str]] = (
        ("GET", path, f"list_{name}", list_all, {"responses": gives_list(kind)}, f"List {noun}."),
        ("POST", path, f"create_{name}", make, _both(kind, takes(kind)), f"Make one of {noun}."),
        ("DELETE", path, f"delete_all_{name}", delete_all, {}, f"Delete all {noun}."),
        ("GET", one, f"get_{name}", get, {"responses": gives(kind)}, f"Return one of {noun}."),
        ("PATCH", one, f"edit_{name}", edit, _both(kind, takes_part(kind)), f"Change one of {noun}."),
        ("DELETE", one, f"delete_{name}", delete, {}, f"Delete one of {noun}."),
    )
    for method, place, operation, endpoint, more, text in calls:
        router.add_api_route(
            f"{_PATH}/{place}", endpoint, methods=[method], name=operation, description=text, summary=text, **more
        )


def _both(kind: Kind, body: Value) -> dict[str, Any]:
    return {"openapi_extra": body, "responses": gives(kind)}


_PREFIXES = _Collection(PREFIXES)


@router.post(
    f"{_PATH}/prefixes/bulk",
    openapi_extra=takes_body({"type": "array", "items": {"type": "object"}}),
    responses=gives_list(PREFIXES),
)
async def create_prefixes_bulk(call: Editing) -> Response:
    """Make prefixes, all or none."""
    return await _PREFIXES.make_many(call)


_routes("prefixes", "prefixes", _PREFIXES)
_routes("allowlist", "allowlist entries", _Collection(ALLOWLIST))
for _component in RULES:
    _routes(f"{_component}/rules", f"rules of {_component}", _Collection(RULES[_component], _component))
    _routes(f"{_component}/filters", f"filters of {_component}", _Collection(FILTERS[_component], _component), True)
