"""Live figures: a stream with an event per second, for the dashboard."""

import time
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from spectrum.api.access import Anywhere, Call, no_such, unauthorized
from spectrum.api.caller import ANY
from spectrum.api.connection import Connection
from spectrum.api.envelope import ApiError
from spectrum.api.live import LiveScope
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Live"])
TOO_MANY = 10429
# Share of all connections that streams may take.
SHARE = 0.5


@router.get("/accounts/{account_id}/live")
async def follow(call: Annotated[Call, Anywhere], account_id: str) -> Response:
    """Stream the current state, once per second, as text/event-stream: traffic, busiest apps, and what is wrong."""
    feed, account = call.context.live, call.catalogue.get("accounts", account_id)
    if account is None:
        raise no_such(call.request) if call.caller.may("apps", False, ANY) else unauthorized()
    scope = _scope(call, account)
    if scope is None:
        raise unauthorized()
    if feed.listeners >= max(1, int(Connection.most * SHARE)):
        message = f"{feed.listeners} streams are open, half of max_connections: close one, or raise max_connections"
        raise ApiError(503, TOO_MANY, message)
    # Proxies would otherwise buffer seconds.
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(feed.follow(scope, lambda: _is_good(call)), 200, headers, "text/event-stream")


def _scope(call: Call, account: StoredObject) -> LiveScope | None:
    """Return what a caller may see; None for nothing."""
    caller = call.caller
    node = caller.may("diagnostics", False, account.name), caller.may("diagnostics", False, ANY)
    if caller.may("apps", False, account.name):
        return LiveScope(account.name, None, *node)
    zones = [one.name for one in call.catalogue.in_account("zones", account.name)]
    seen = frozenset(zone for zone in zones if caller.may("apps", False, account.name, zone))
    return LiveScope(account.name, seen, *node) if seen else None


def _is_good(call: Call) -> bool:
    """Return whether the token is still as it was when the stream began."""
    token = call.caller.token
    if token is None:
        return True
    known = call.context.tokens.get(token.id)
    return known is not None and known is token and call.context.tokens.limits(known).state(time.time()) == "active"
