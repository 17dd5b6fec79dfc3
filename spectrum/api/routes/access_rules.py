"""IP access rules of accounts and zones. The lists of an account and of its zones are separate."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from spectrum.api.access import Call, InEither
from spectrum.api.envelope import ApiError, success
from spectrum.api.kinds.access_rules import ACCESS_RULES, DUPLICATE, NOT_FOUND, wanted_name
from spectrum.api.kinds.kind import Value
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.routes.objects import Objects, with_revision
from spectrum.api.routes.schemas import gives, gives_id, gives_list, takes, takes_part
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["IP access rules"])
_PATHS = (
    "/accounts/{account_id}/firewall/access_rules/rules",
    "/zones/{zone_id}/firewall/access_rules/rules",
)
_WHOM = ("target", "value", "values", "list", "file", "apps")
_ORDERS: dict[str, Callable[[Value], Any]] = {
    "configuration.target": lambda told: told["configuration"]["target"],
    "configuration.value": lambda told: told["configuration"]["value"],
    "mode": lambda told: told["mode"],
}
Order = Literal["configuration.target", "configuration.value", "mode"]


def _check(call: Call, value: Value, before: StoredObject | None) -> None:
    """Refuse a second rule with the same target: they could contradict each other."""
    whom = [value.get(key) for key in _WHOM]
    for one in _rules(call):
        if (before is None or one.id != before.id) and [one.value.get(key) for key in _WHOM] == whom:
            raise ApiError(400, DUPLICATE, "firewallaccessrules.api.duplicate_of_existing", "/configuration")


OBJECTS = Objects(ACCESS_RULES, wanted_name, _check, (NOT_FOUND, "firewallaccessrules.api.not_found"))


def _rules(call: Call) -> list[StoredObject]:
    found = call.objects("access_rules")
    return found if call.zone else [one for one in found if "zone" not in one.value]


def _found(call: Call, rule_id: str) -> StoredObject:
    found = OBJECTS.found(call, rule_id)
    if call.zone is None and "zone" in found.value:
        raise ApiError(404, NOT_FOUND, "firewallaccessrules.api.not_found")
    return found


def _shown(call: Call, one: StoredObject) -> Value:
    if call.zone is not None:
        scope = {"id": call.zone.id}
    else:
        assert call.account is not None, "the path names one"
        scope = {"id": call.account.id, "type": "organization"}
    return OBJECTS.shown(call, one) | {"scope": scope}


def _answer(call: Call, one: StoredObject) -> Response:
    return with_revision(success(_shown(call, one)), one)


@router.get(_PATHS[0], responses=gives_list(ACCESS_RULES))
@router.get(_PATHS[1], responses=gives_list(ACCESS_RULES))
async def list_access_rules(
    call: Annotated[Call, InEither("access_rules")],
    page: Annotated[Page, Depends(page_query())],
    mode: str = "",
    target: Annotated[str, Query(alias="configuration.target")] = "",
    value: Annotated[str, Query(alias="configuration.value")] = "",
    notes: Annotated[str, Query(description="Part of the notes, in any case.")] = "",
    match: Literal["any", "all"] = "all",
    order: Annotated[Order | None, Query()] = None,
    direction: Literal["asc", "desc"] = "asc",
) -> Response:
    """List rules."""

    def meets(told: Value) -> Iterator[bool]:
        if mode:
            yield told["mode"] == mode
        if target:
            yield told["configuration"]["target"] == target
        if value:
            yield told["configuration"]["value"] == value
        if notes:
            yield notes.lower() in told["notes"].lower()

    found = [_shown(call, one) for one in _rules(call)]
    if mode or target or value or notes:
        holds = all if match == "all" else any
        found = [told for told in found if holds(meets(told))]
    if order is not None:
        found.sort(key=_ORDERS[order], reverse=direction == "desc")
    elif direction == "desc":
        found.reverse()
    return paged(found, page, lambda told: told)


@router.post(_PATHS[0], openapi_extra=takes(ACCESS_RULES), responses=gives(ACCESS_RULES))
@router.post(_PATHS[1], openapi_extra=takes(ACCESS_RULES), responses=gives(ACCESS_RULES))
async def create_access_rule(call: Annotated[Call, InEither("access_rules", edit=True)]) -> Response:
    """Make a rule. It holds for all apps of the account or the zone that have ip_firewall."""
    return _answer(call, await OBJECTS.make(call))


@router.get(f"{_PATHS[0]}/{{rule_id}}", responses=gives(ACCESS_RULES))
@router.get(f"{_PATHS[1]}/{{rule_id}}", responses=gives(ACCESS_RULES))
async def get_access_rule(call: Annotated[Call, InEither("access_rules")], rule_id: str) -> Response:
    """Return a rule."""
    return _answer(call, _found(call, rule_id))


@router.patch(f"{_PATHS[0]}/{{rule_id}}", openapi_extra=takes_part(ACCESS_RULES), responses=gives(ACCESS_RULES))
@router.patch(f"{_PATHS[1]}/{{rule_id}}", openapi_extra=takes_part(ACCESS_RULES), responses=gives(ACCESS_RULES))
async def edit_access_rule(call: Annotated[Call, InEither("access_rules", edit=True)], rule_id: str) -> Response:
    """Change some fields of a rule."""
    return _answer(call, await OBJECTS.edit(call, _found(call, rule_id).id))


@router.delete(f"{_PATHS[0]}/{{rule_id}}", responses=gives_id())
@router.delete(f"{_PATHS[1]}/{{rule_id}}", responses=gives_id())
async def delete_access_rule(call: Annotated[Call, InEither("access_rules", edit=True)], rule_id: str) -> Response:
    """Delete a rule."""
    return success({"id": (await OBJECTS.delete(call, _found(call, rule_id).id)).id})
