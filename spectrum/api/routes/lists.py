"""`/accounts/{account_id}/rules/lists`: lists of addresses and autonomous systems, their items, and bulk operations.

A bulk operation is complete when its id is answered: Terraform's provider polls its state without a time limit.
"""

import time
from collections import OrderedDict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from spectrum.api.access import Call, InAccount, no_such
from spectrum.api.envelope import BodyFault, success
from spectrum.api.kinds.kind import Value
from spectrum.api.kinds.lists import INVALID, LISTS, found_items, item_with_id, items_below, with_items, without_items
from spectrum.api.kinds.times import timestamp
from spectrum.api.paging import by_cursor_after, cursor_of, key_of
from spectrum.api.routes.objects import NamedByCaller, Objects, with_revision
from spectrum.api.routes.schemas import ITEM_IDS, ITEMS, gives, gives_id, gives_list, takes, takes_body, takes_part
from spectrum.store.objects import ObjectChange, StoredObject, new_id
from spectrum.tasks import in_thread

router = APIRouter(tags=["Lists"])
_PATH = "/accounts/{account_id}/rules/lists"
_ITEMS = f"{_PATH}/{{list_id}}/items"
# Bulk operations that are remembered; Terraform polls within seconds.
MAX_OPERATIONS = 10_000
MOST_PER_PAGE, DEFAULT_PER_PAGE = 500, 25


# What takes a step for each item is done in a thread: a list may have a million, and other requests wait for the loop.
OBJECTS = Objects(LISTS, lambda value: str(value["name"]), is_large=True)


class BulkOperations:
    """Completed bulk operations, the latest ones, by account."""

    def __init__(self) -> None:
        self._completed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, account: str, now: float) -> str:
        """Record a completed operation; return its id."""
        operation = new_id()
        self._completed[account, operation] = now
        if len(self._completed) > MAX_OPERATIONS:
            self._completed.popitem(last=False)
        return operation

    def completed(self, account: str, operation: str) -> float | None:
        """Return when an operation of an account was completed; None where it is not known."""
        return self._completed.get((account, operation))


def _operations(request: Request) -> BulkOperations:
    state = request.app.state
    if not hasattr(state, "bulk_operations"):
        state.bulk_operations = BulkOperations()
    operations: BulkOperations = state.bulk_operations
    return operations


def _account(call: Call) -> str:
    assert call.account is not None, "the path names one"
    return call.account.id


def _shown(call: Call, one: StoredObject) -> Value:
    return LISTS.from_value(one, NamedByCaller(call)) | {
        "num_referencing_filters": len(call.catalogue.referrers("lists", one.name))
    }


def _answer(call: Call, one: StoredObject) -> Response:
    return with_revision(success(_shown(call, one)), one)


@router.get(_PATH, responses=gives_list(LISTS))
async def list_lists(call: Annotated[Call, InAccount("lists")]) -> Response:
    """List the lists of an account."""
    return success([_shown(call, one) for one in call.objects("lists")])


@router.post(_PATH, openapi_extra=takes(LISTS), responses=gives(LISTS))
async def create_list(call: Annotated[Call, InAccount("lists", edit=True)]) -> Response:
    """Make a list."""
    return _answer(call, await OBJECTS.make(call))


@router.get(f"{_PATH}/bulk_operations/{{operation_id}}")
async def get_bulk_operation(call: Annotated[Call, InAccount("lists")], operation_id: str) -> Response:
    """Return the state of a bulk operation: completed."""
    completed = _operations(call.request).completed(_account(call), operation_id)
    if completed is None:
        raise no_such(call.request)
    return success({"id": operation_id, "status": "completed", "completed": timestamp(completed)})


@router.get(f"{_PATH}/{{list_id}}", responses=gives(LISTS))
async def get_list(call: Annotated[Call, InAccount("lists")], list_id: str) -> Response:
    """Return a list, without its items."""
    return _answer(call, OBJECTS.found(call, list_id))


@router.put(f"{_PATH}/{{list_id}}", openapi_extra=takes_part(LISTS), responses=gives(LISTS))
async def describe_list(call: Annotated[Call, InAccount("lists", edit=True)], list_id: str) -> Response:
    """Change the description of a list; name and kind cannot be changed."""
    before = OBJECTS.found(call, list_id)
    known = {"kind": before.value["kind"], "name": LISTS.api_name(before)}
    for key in known.keys() & (call.body if isinstance(call.body, dict) else {}).keys():
        if call.body[key] != known[key]:
            raise BodyFault(INVALID, f"the {key} of a list cannot be changed", f"/{key}")
    return _answer(call, await OBJECTS.edit(call, list_id))


@router.delete(f"{_PATH}/{{list_id}}", responses=gives_id())
async def delete_list(call: Annotated[Call, InAccount("lists", edit=True)], list_id: str) -> Response:
    """Delete a list that no rule refers to."""
    return success({"id": (await OBJECTS.delete(call, list_id)).id})


@router.get(_ITEMS)
async def list_list_items(
    call: Annotated[Call, InAccount("lists")],
    list_id: str,
    cursor: str = "",
    per_page: Annotated[int, Query(ge=1, le=MOST_PER_PAGE)] = DEFAULT_PER_PAGE,
    search: Annotated[str, Query(description="Addresses that begin with it, or an autonomous system.")] = "",
) -> Response:
    """List the items of a list."""
    one = OBJECTS.found(call, list_id)
    items = await in_thread(found_items, one, search)
    begin = int(key) if cursor and (key := key_of(cursor)).isdecimal() else 0
    part = items[begin : begin + per_page]
    is_last = begin + per_page >= len(items)
    return by_cursor_after(items_below(part, one), "" if is_last else cursor_of(str(begin + per_page)))


@router.post(_ITEMS, openapi_extra=takes_body(ITEMS))
async def add_list_items(call: Annotated[Call, InAccount("lists", edit=True)], list_id: str) -> Response:
    """Add items to a list; an existing item gets the new comment."""
    one = OBJECTS.found(call, list_id)
    return await _put(call, one, await in_thread(partial(with_items, one, call.body, time.time(), replaces=False)))


@router.put(_ITEMS, openapi_extra=takes_body(ITEMS))
async def replace_list_items(call: Annotated[Call, InAccount("lists", edit=True)], list_id: str) -> Response:
    """Replace all items of a list."""
    one = OBJECTS.found(call, list_id)
    return await _put(call, one, await in_thread(partial(with_items, one, call.body, time.time(), replaces=True)))


@router.delete(_ITEMS, openapi_extra=takes_body(ITEM_IDS))
async def delete_list_items(call: Annotated[Call, InAccount("lists", edit=True)], list_id: str) -> Response:
    """Remove items from a list, by their ids."""
    one = OBJECTS.found(call, list_id)
    return await _put(call, one, await in_thread(without_items, one, call.body))


@router.get(f"{_ITEMS}/{{item_id}}")
async def get_list_item(call: Annotated[Call, InAccount("lists")], list_id: str, item_id: str) -> Response:
    """Return an item of a list."""
    one = OBJECTS.found(call, list_id)
    item = await in_thread(item_with_id, one, item_id)
    if item is None:
        raise no_such(call.request)
    return success(items_below([item], one)[0])


async def _put(call: Call, one: StoredObject, value: Value) -> Response:
    """Store a list with its items. If another request changed the list meanwhile, the client has to retry."""
    change = ObjectChange(one.section, one.id, one.name, value)
    await OBJECTS.change(call, call.body, change, {one.id: one.revision})
    return success({"operation_id": _operations(call.request).add(_account(call), time.time())})
