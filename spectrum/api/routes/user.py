"""The user, and its memberships of accounts."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, no_such
from spectrum.api.envelope import success
from spectrum.api.kinds.accounts import from_membership, user
from spectrum.api.paging import Page, page_query, paged
from spectrum.core.tenants.tokens import RESOURCES
from spectrum.store.objects import StoredObject, file_id

router = APIRouter(tags=["User"])


@router.get("/user")
async def get_user(call: Annotated[Call, Anywhere]) -> Response:
    """Show the user. There is one, the operator, whose tokens are `/user/tokens`."""
    return success(user())


@router.get("/memberships")
async def list_memberships(
    call: Annotated[Call, Anywhere],
    page: Annotated[Page, Depends(page_query())],
    status: Annotated[str | None, Query(description="accepted, as all are.")] = None,
    name: Annotated[str | None, Query(description="Of the account.")] = None,
    account_name: Annotated[str | None, Query(alias="account.name", description="Of the account.")] = None,
) -> Response:
    """List the accounts in which the caller may read something."""
    wanted = name or account_name
    found = [
        account
        for account in call.catalogue.all("accounts")
        if _belongs(call, account) and wanted in (None, account.name) and status in (None, "accepted")
    ]
    return paged(found, page, lambda account: from_membership(account, partial(_may, call, account)))


@router.get("/memberships/{membership_id}")
async def get_membership(call: Annotated[Call, Anywhere], membership_id: str) -> Response:
    """Show a membership."""
    for account in call.catalogue.all("accounts"):
        if file_id("memberships", account.id) == membership_id and _belongs(call, account):
            return success(from_membership(account, partial(_may, call, account)))
    raise no_such(call.request)


def _belongs(call: Call, account: StoredObject) -> bool:
    return any(_may(call, account, resource, False) for resource in RESOURCES)


def _may(call: Call, account: StoredObject, resource: str, edit: bool) -> bool:
    return call.caller.may(resource, edit, account.name)
