"""Tokens: the operator's under /user/tokens, those of an account under /accounts/{account_id}/tokens."""

import time
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, ValidationError
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, Context, InAccount, caller_of, no_such, unauthorized
from spectrum.api.caller import Caller
from spectrum.api.catalogue import NotLive, ReadOnly
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.permissions import GROUPS
from spectrum.api.kinds.tokens import INVALID, MAX_NAME, TenantLookup, from_token, pointer_of, to_value
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.request_body import PrintableName, RequestBody
from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import AuditEntry
from spectrum.store.errors import StoreError
from spectrum.store.objects import new_id
from spectrum.store.tokens import StoredToken, digest, new_token

Network = IPv4Network | IPv6Network
router = APIRouter(tags=["Tokens"])
INVALID_TOKEN, MORE_THAN_ITSELF, VALID = 1000, 9109, 10000


class TokenBody(RequestBody):
    """A token's settings, with policies and conditions in Cloudflare's form."""

    READ_ONLY = frozenset({"id", "issued_on", "modified_on", "last_used_on"})
    name: PrintableName = Field(min_length=1, max_length=MAX_NAME)
    policies: list[dict[str, Any]] = Field(min_length=1)
    condition: dict[str, Any] | None = None
    not_before: str | None = None
    expires_on: str | None = None
    status: Literal["active", "disabled", "expired"] | None = None


class TokenRoll(RequestBody):
    """The body for a new text of a token: empty."""


async def _own(request: Request) -> Call:
    """Authorize a call for the operator's tokens: callers must have permission for tokens in all accounts."""
    return _everywhere(request, edit=False)


async def _own_edit(request: Request) -> Call:
    return _everywhere(request, edit=True)


def _everywhere(request: Request, edit: bool) -> Call:
    caller = caller_of(request)
    if not caller.may("tokens", edit):
        raise unauthorized()
    return Call(request, caller, request.app.state.context)


OwnTokens = Annotated[Call, Depends(_own)]
OwnTokensEdit = Annotated[Call, Depends(_own_edit)]
TheirTokens = Annotated[Call, InAccount("tokens")]
TheirTokensEdit = Annotated[Call, InAccount("tokens", edit=True)]


def _verified(request: Request, account: str | None) -> Response:
    caller: Caller | ApiError = request.state.caller
    if isinstance(caller, ApiError) and caller.status != 401:
        raise caller
    context: Context = request.app.state.context
    if isinstance(caller, ApiError) or caller.token is None or caller.token.value.get("account") != account:
        raise ApiError(401, INVALID_TOKEN, "Invalid API Token")
    if caller.fault is not None and caller.status == "active":
        raise caller.fault
    shown = from_token(caller.token, _owned(context), caller.status, None)
    answer = {key: shown[key] for key in ("id", "status", "not_before", "expires_on") if key in shown}
    messages = [(VALID, "This API Token is valid and active")] if answer["status"] == "active" else []
    return success(answer, messages=messages)


@router.get("/user/tokens/verify")
async def verify_own(request: Request) -> Response:
    """Verify the token of the request."""
    return _verified(request, None)


@router.get("/accounts/{account_id}/tokens/verify")
async def verify_of_account(request: Request, account_id: str) -> Response:
    """Verify the token of the request, which must belong to this account."""
    context: Context = request.app.state.context
    account = context.catalogue.get("accounts", account_id)
    if account is None:
        raise ApiError(401, INVALID_TOKEN, "Invalid API Token")
    return _verified(request, account.name)


@router.get("/user/tokens/permission_groups")
async def list_own_groups(
    call: Annotated[Call, Anywhere],
    name: Annotated[str | None, Query()] = None,
    scope: Annotated[str | None, Query()] = None,
) -> Response:
    """List the permissions that a token may have."""
    return _groups(name, scope)


@router.get("/accounts/{account_id}/tokens/permission_groups")
async def list_groups_of_account(
    call: TheirTokens, name: Annotated[str | None, Query()] = None, scope: Annotated[str | None, Query()] = None
) -> Response:
    """List the permissions that a token of an account may have."""
    return _groups(name, scope)


def _groups(name: str | None, scope: str | None) -> Response:
    return success([one.shown() for one in GROUPS.values() if name in (None, one.name) and scope in (None, one.scope)])


@router.get("/user/tokens")
async def list_own(
    call: OwnTokens,
    page: Annotated[Page, Depends(page_query())],
    direction: Annotated[Literal["asc", "desc"], Query()] = "asc",
) -> Response:
    """List the operator's tokens."""
    return _list(call, page, direction)


@router.get("/accounts/{account_id}/tokens")
async def list_of_account(
    call: TheirTokens,
    page: Annotated[Page, Depends(page_query())],
    direction: Annotated[Literal["asc", "desc"], Query()] = "asc",
) -> Response:
    """List an account's tokens."""
    return _list(call, page, direction)


def _list(call: Call, page: Page, direction: str) -> Response:
    account = _account_name(call)
    found = [one for one in call.context.tokens.all() if one.value.get("account") == account]
    if direction == "desc":
        found.reverse()
    return paged(found, page, lambda token: _shown(call, token))


@router.post("/user/tokens")
async def create_own(call: OwnTokensEdit, body: TokenBody) -> Response:
    """Make a token. Only this answer contains its text."""
    return await _create(call, body)


@router.post("/accounts/{account_id}/tokens")
async def create_of_account(call: TheirTokensEdit, body: TokenBody) -> Response:
    """Make a token of an account. Only this answer contains its text."""
    return await _create(call, body)


async def _create(call: Call, body: TokenBody) -> Response:
    text, now = new_token(), time.time()
    value = _value(call, body)
    token = StoredToken(new_id(), body.name, digest(text), value, now, now)
    await put_token(call, token, None, "create", now)
    return success({**_shown(call, token), "value": text})


@router.get("/user/tokens/{token_id}")
async def get_own(call: OwnTokens, token_id: str) -> Response:
    """Show a token, without its text."""
    return success(_shown(call, _token(call, token_id)))


@router.get("/accounts/{account_id}/tokens/{token_id}")
async def get_of_account(call: TheirTokens, token_id: str) -> Response:
    """Show a token of an account, without its text."""
    return success(_shown(call, _token(call, token_id)))


@router.put("/user/tokens/{token_id}")
async def update_own(call: OwnTokensEdit, token_id: str, body: TokenBody) -> Response:
    """Change the settings of a token; its text stays."""
    return await _update(call, token_id, body)


@router.put("/accounts/{account_id}/tokens/{token_id}")
async def update_of_account(call: TheirTokensEdit, token_id: str, body: TokenBody) -> Response:
    """Change the settings of a token of an account; its text stays."""
    return await _update(call, token_id, body)


async def _update(call: Call, token_id: str, body: TokenBody) -> Response:
    before, now = _changeable(call, token_id), time.time()
    value = _value(call, body)
    token = replace(before, name=body.name, value=value, modified_on=now)
    await put_token(call, token, before, "update", now)
    return success(_shown(call, token))


@router.put("/user/tokens/{token_id}/value")
async def roll_own(call: OwnTokensEdit, token_id: str, body: TokenRoll | None = None) -> Response:
    """Replace the text of a token; only this answer contains it. The former one is invalid at once."""
    return await _roll(call, token_id)


@router.put("/accounts/{account_id}/tokens/{token_id}/value")
async def roll_of_account(call: TheirTokensEdit, token_id: str, body: TokenRoll | None = None) -> Response:
    """Replace the text of an account's token; only this answer contains it. The former one is invalid at once."""
    return await _roll(call, token_id)


async def _roll(call: Call, token_id: str) -> Response:
    before, now, text = _changeable(call, token_id), time.time(), new_token()
    await put_token(call, replace(before, digest=digest(text), modified_on=now), before, "roll", now)
    return success(text)


@router.delete("/user/tokens/{token_id}")
async def delete_own(call: OwnTokensEdit, token_id: str) -> Response:
    """Delete a token."""
    return await _delete(call, token_id)


@router.delete("/accounts/{account_id}/tokens/{token_id}")
async def delete_of_account(call: TheirTokensEdit, token_id: str) -> Response:
    """Delete a token of an account."""
    return await _delete(call, token_id)


async def _delete(call: Call, token_id: str) -> Response:
    before = _changeable(call, token_id)
    try:
        await call.context.tokens.delete(before, [_entry(call, "delete", before, None)], time.time())
    except StoreError as exc:
        raise NotLive(f"the token cannot be deleted: {exc}") from exc
    return success({"id": before.id})


def _account_name(call: Call) -> str | None:
    return call.account.name if call.account is not None else None


def _token(call: Call, token_id: str) -> StoredToken:
    found = call.context.tokens.get(token_id)
    if found is None or found.value.get("account") != _account_name(call):
        raise no_such(call.request)
    return found


def _changeable(call: Call, token_id: str) -> StoredToken:
    """Return a token that the caller may change: one with more permissions than the caller's would leak by its text."""
    found = _token(call, token_id)
    if found.is_in_file:
        raise ReadOnly(f"the token {found.name} is read-only here: it is defined in the file")
    _check_reach(call, call.context.tokens.limits(found))
    return found


def _value(call: Call, body: TokenBody) -> dict[str, Any]:
    value = to_value(body.model_dump(), _owned(call.context), _account_name(call))
    try:
        limits = Token.model_validate({**value, "hash": digest("")})
    except ValidationError as exc:
        first = exc.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise BodyFault(INVALID, message, pointer_of(first["loc"])) from exc
    _check_reach(call, limits)
    return value


def _check_reach(call: Call, other: Token) -> None:
    """Refuse a token that exceeds the caller's: in permissions, addresses, or lifetime.

    Raises:
        ApiError: If it does.
    """
    own = call.caller.limits
    if own is None:
        return
    catalogue = call.catalogue

    def account_of_zone(zone: str) -> str:
        found = catalogue.named("zones", zone)
        return catalogue.owners(found)[0] if found else ""

    what = ""
    if not own.includes(other.policies, account_of_zone):
        what = "its policies allow more"
    elif own.expires_s is not None and (other.expires_s is None or other.expires_s > own.expires_s):
        what = "it is valid for longer"
    elif (
        own.addresses
        and not (other.addresses and all(any(_within(one, of) for of in own.addresses) for one in other.addresses))
    ) or not all(any(_within(one, of) for of in other.not_addresses) for one in own.not_addresses):
        what = "it may be used from more addresses"
    if what:
        raise ApiError(403, MORE_THAN_ITSELF, f"A token cannot give more than it has: {what}")


def _within(one: Network, of: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(of, IPv4Network) and one.subnet_of(of)
    return isinstance(of, IPv6Network) and one.subnet_of(of)


def _owned(context: Context) -> TenantLookup:
    catalogue = context.catalogue
    return TenantLookup(catalogue.get, catalogue.named, lambda one: catalogue.owners(one)[0])


def _shown(call: Call, token: StoredToken) -> dict[str, Any]:
    tokens = call.context.tokens
    status = tokens.limits(token).state(time.time())
    return from_token(token, _owned(call.context), status, tokens.last_used(token))


async def put_token(call: Call, token: StoredToken, before: StoredToken | None, action: str, now: float) -> None:
    """Make or change a token.

    Raises:
        NotLive: If it cannot be saved.
    """
    try:
        await call.context.tokens.put(token, [_entry(call, action, before, token)], now)
    except StoreError as exc:
        raise NotLive(f"the token cannot be saved: {exc}") from exc


def _entry(call: Call, action: str, before: StoredToken | None, after: StoredToken | None) -> AuditEntry:
    token = after or before
    assert token is not None, "it was, or it is"
    cause = call.cause
    return AuditEntry(
        cause.author,
        action,
        "tokens",
        token.id,
        token.name,
        before.value if before else None,
        after.value if after else None,
        call.account.id if call.account else "",
        method=cause.method,
        path=cause.path,
        status=200,
        request_id=cause.request_id,
    )
