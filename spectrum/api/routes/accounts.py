"""Accounts: tenants of the edge. To make and to delete them requires a permission for all accounts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, InAccount, unauthorized
from spectrum.api.caller import ANY
from spectrum.api.envelope import ApiError, success
from spectrum.api.kinds.accounts import display_name, from_account
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.request_body import PrintableName, RequestBody
from spectrum.core.features import SECTIONS
from spectrum.store.objects import ObjectChange, StoredObject, free_name, new_id

router = APIRouter(tags=["Accounts"])
IN_USE = 1005


class AccountSettings(RequestBody):
    """What Cloudflare's accounts have: the values that there are here alone."""

    enforce_twofactor: Literal[False] = False
    abuse_contact_email: None = None


class AccountBody(RequestBody):
    """The settings of an account."""

    READ_ONLY = frozenset({"id", "created_on", "managed_by"})
    name: PrintableName = Field(min_length=1, max_length=100)
    type: Literal["standard", "enterprise"] = "standard"
    settings: AccountSettings = Field(default_factory=AccountSettings)


@router.get("/accounts")
async def list_accounts(
    call: Annotated[Call, Anywhere],
    page: Annotated[Page, Depends(page_query())],
    name: Annotated[str | None, Query(description="Those with this name alone.")] = None,
    direction: Annotated[Literal["asc", "desc"], Query(description="By name.")] = "asc",
) -> Response:
    """List the accounts that the caller may read."""
    found = [
        one
        for one in call.catalogue.all("accounts")
        if call.caller.may("accounts", False, one.name) and name in (None, display_name(one))
    ]
    found.sort(key=display_name, reverse=direction == "desc")
    return paged(found, page, from_account)


@router.post("/accounts")
async def create_account(call: Annotated[Call, Anywhere], body: AccountBody) -> Response:
    """Make an account."""
    if not call.caller.may("accounts", True, ANY):
        raise unauthorized()
    account_id = new_id()
    name = free_name(body.name, call.catalogue.names("accounts"), account_id)
    first = []
    if (implied := call.catalogue.implied_account()) is not None:  # the new account would otherwise own its objects
        first = [ObjectChange("accounts", implied.id, implied.name, {})]
    *_, made = await call.change([*first, ObjectChange("accounts", account_id, name, _value(name, body))])
    return success(from_account(made))


@router.get("/accounts/{account_id}")
async def get_account(call: Annotated[Call, InAccount("accounts")]) -> Response:
    """Show an account."""
    assert call.account is not None, "the path names one"
    return success(from_account(call.account))


@router.put("/accounts/{account_id}")
async def update_account(call: Annotated[Call, InAccount("accounts", edit=True)], body: AccountBody) -> Response:
    """Change the name of an account."""
    account = call.account
    assert account is not None, "the path names one"
    change = ObjectChange("accounts", account.id, account.name, _value(account.name, body))
    (made,) = await call.change([change])
    return success(from_account(made))


@router.delete("/accounts/{account_id}")
async def delete_account(call: Annotated[Call, InAccount("accounts", edit=True)]) -> Response:
    """Delete an account without objects."""
    account = call.account
    assert account is not None, "the path names one"
    if not call.caller.may("accounts", True, ANY):
        raise unauthorized()
    if len(call.catalogue.all("accounts")) == 1:
        raise ApiError(400, IN_USE, "There is always an account, and this is the only one")
    if what := in_use(call, account):
        raise ApiError(400, IN_USE, f"The account still has {what}")
    await call.change([ObjectChange("accounts", account.id, account.name, None)])
    return success({"id": account.id})


def _value(name: str, body: AccountBody) -> dict[str, str]:
    value: dict[str, str] = {} if body.name == name else {"name": body.name}
    if body.type != "standard":
        value["type"] = body.type
    return value


def in_use(call: Call, owner: StoredObject) -> str:
    """Return a description of an object that an account or a zone has; "" where it has none."""
    has = call.catalogue.in_zone if owner.section == "zones" else call.catalogue.in_account
    found = [one.key for one in SECTIONS if one.key != owner.section and has(one.key, owner.name)]
    return ", ".join(found).replace("_", " ")
