"""Zones: domains that contain the DNS names of apps."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, InZone, unauthorized
from spectrum.api.caller import ANY
from spectrum.api.catalogue import ChangeRefused
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.accounts import display_name, from_zone
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.request_body import PrintableName, RequestBody
from spectrum.api.routes.accounts import IN_USE, in_use
from spectrum.store.objects import ObjectChange, StoredObject, free_name, new_id

router = APIRouter(tags=["Zones"])
ALREADY_THERE, INVALID_NAME, INVALID_ACCOUNT, NOT_HERE = 1061, 1049, 1068, 1004
# Operators of a filter, as in `name=contains:example`; without one, values have to be equal.
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "equal": lambda name, value: name == value,
    "not_equal": lambda name, value: name != value,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": lambda name, value: value in name,
    "starts_with_case_sensitive": str.startswith,
    "ends_with_case_sensitive": str.endswith,
    "contains_case_sensitive": lambda name, value: value in name,
}


class AccountOfZone(RequestBody):
    """The account of a new zone."""

    id: str | None = None


class ZoneBody(RequestBody):
    """A new zone."""

    name: PrintableName = Field(min_length=1, max_length=253)
    account: AccountOfZone = Field(default_factory=AccountOfZone)
    type: Literal["full", "partial", "secondary", "internal"] = "full"
    jump_start: bool | None = None


class ZoneEdit(RequestBody):
    """Changes of a zone; only values that it has already are accepted."""

    paused: bool | None = None
    type: Literal["full", "partial", "secondary", "internal"] | None = None
    vanity_name_servers: list[str] | None = None
    plan: dict[str, Any] | None = None


@router.get("/zones")
async def list_zones(
    call: Annotated[Call, Anywhere],
    page: Annotated[Page, Depends(page_query())],
    name: Annotated[str | None, Query(description="A domain, or an operator before it: `contains:example`.")] = None,
    account_id: Annotated[str | None, Query(alias="account.id")] = None,
    account_name: Annotated[str | None, Query(alias="account.name")] = None,
    status: Annotated[Literal["initializing", "pending", "active", "moved"] | None, Query()] = None,
    type_: Annotated[list[str] | None, Query(alias="type")] = None,
    order: Annotated[Literal["name", "status", "account.id", "account.name", "plan.id"], Query()] = "name",
    direction: Annotated[Literal["asc", "desc"], Query()] = "asc",
    match: Annotated[Literal["any", "all"], Query(description="Whether all filters must match, or any.")] = "all",
) -> Response:
    """List the zones that the caller may read."""
    filters: list[Callable[[StoredObject], bool]] = []
    if name:
        filters.append(lambda zone: _fits(display_name(zone), name))
    if account_id:
        filters.append(lambda zone: _account(call, zone).id == account_id)
    if account_name:
        filters.append(lambda zone: _fits(display_name(_account(call, zone)), account_name))
    if status:
        filters.append(lambda zone: status == "active")
    if type_:
        filters.append(lambda zone: "full" in type_)
    suits = all if match == "all" or not filters else any
    found = [
        zone
        for zone in call.catalogue.all("zones")
        if call.caller.may("zones", False, _account(call, zone).name, zone.name) and suits(one(zone) for one in filters)
    ]
    if order == "account.id":
        found.sort(key=lambda zone: (_account(call, zone).id, display_name(zone)))
    elif order == "account.name":
        found.sort(key=lambda zone: (display_name(_account(call, zone)), display_name(zone)))
    else:
        found.sort(key=display_name)
    if direction == "desc":
        found.reverse()
    return paged(found, page, lambda zone: _shown(call, zone))


@router.post("/zones")
async def create_zone(call: Annotated[Call, Anywhere], body: ZoneBody) -> Response:
    """Make a zone: a domain for the DNS names of apps. Its names are resolved elsewhere."""
    account = _account_for(call, body.account.id)
    if not call.caller.may("zones", True, account.name):
        raise unauthorized()
    if body.type != "full":
        raise BodyFault(NOT_HERE, "type: full is what there is here", "/type")
    domain = body.name.lower().rstrip(".")
    there = [zone for zone in call.catalogue.all("zones") if display_name(zone).lower() == domain]
    if there:
        raise BodyFault(ALREADY_THERE, f"{domain} already exists", "/name")
    zone_id = new_id()
    name = free_name(domain, call.catalogue.names("zones"), zone_id)
    value = call.catalogue.owner_keys(account) | ({} if name == domain else {"name": domain})
    try:
        (made,) = await call.change([ObjectChange("zones", zone_id, name, value)])
    except ChangeRefused as exc:
        raise BodyFault(INVALID_NAME, f"{domain} is not a valid zone: {exc}", "/name") from exc
    return success(_shown(call, made))


@router.get("/zones/{zone_id}")
async def get_zone(call: Annotated[Call, InZone("zones")]) -> Response:
    """Show a zone."""
    assert call.zone is not None, "the path names one"
    return success(_shown(call, call.zone))


@router.patch("/zones/{zone_id}")
async def edit_zone(call: Annotated[Call, InZone("zones", edit=True)], body: ZoneEdit) -> Response:
    """Accept the present values of a zone; no setting can be changed here."""
    assert call.zone is not None, "the path names one"
    if body.paused:
        message = "paused: a zone cannot be paused here; `spectrum app pause` pauses an app"
        raise BodyFault(NOT_HERE, message, "/paused")
    if body.type not in (None, "full"):
        raise BodyFault(NOT_HERE, "type: full is what there is here", "/type")
    if body.vanity_name_servers:
        raise BodyFault(NOT_HERE, "vanity_name_servers: there are none here", "/vanity_name_servers")
    return success(_shown(call, call.zone))


@router.delete("/zones/{zone_id}")
async def delete_zone(call: Annotated[Call, InZone("zones", edit=True)]) -> Response:
    """Delete a zone without objects."""
    zone = call.zone
    assert zone is not None, "the path names one"
    if what := in_use(call, zone):
        raise ApiError(400, IN_USE, f"The zone still has {what}")
    await call.change([ObjectChange("zones", zone.id, zone.name, None)])
    return success({"id": zone.id})


def _account_for(call: Call, account_id: str | None) -> StoredObject:
    """Return the account of a new zone: the one of the body, or the only one in which the caller may make zones."""
    if account_id is not None:
        found = call.catalogue.get("accounts", account_id)
        if found is None:
            if call.caller.may("zones", True, ANY):
                raise BodyFault(INVALID_ACCOUNT, "there is no such account", "/account/id")
            raise unauthorized()
        return found
    allowed = [one for one in call.catalogue.all("accounts") if call.caller.may("zones", True, one.name)]
    if len(allowed) != 1:
        if not allowed:
            raise unauthorized()
        raise BodyFault(INVALID_ACCOUNT, 'name the account: {"account": {"id": ...}}', "/account/id")
    return allowed[0]


def _fits(name: str, wanted: str) -> bool:
    operator, separator, value = wanted.partition(":")
    if separator and operator in _OPERATORS:
        return _OPERATORS[operator](name.lower(), value.lower())
    return name.lower() == wanted.lower()


def _account(call: Call, zone: StoredObject) -> StoredObject:
    account = call.catalogue.named("accounts", call.catalogue.owners(zone)[0])
    assert account is not None, "checks know the account of each zone"
    return account


def _shown(call: Call, zone: StoredObject) -> dict[str, Any]:
    account = _account(call, zone)
    return from_zone(zone, account, call.caller.may("zones", True, account.name, zone.name))
