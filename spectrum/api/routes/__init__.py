"""The routes of each kind of object, under /client/v4. A new kind adds a line to `ROUTERS`."""

from collections.abc import Sequence

from fastapi import APIRouter

from spectrum.api.routes import accounts, audit, importing, ips, tokens, user, zones

ROUTERS: Sequence[APIRouter] = (
    user.router,
    accounts.router,
    zones.router,
    tokens.router,
    audit.router,
    ips.router,
    importing.router,
)
