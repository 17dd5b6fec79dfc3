"""Totals of an account's apps since the daemon's start, and paused apps. Extensions of Cloudflare's API."""

from typing import Annotated, Literal

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import success
from spectrum.api.routes.apps import OBJECTS
from spectrum.api.routes.objects import note_by_hand

router = APIRouter(tags=["Spectrum apps"])
_PATH = "/accounts/{account_id}/spectrum"


@router.get(f"{_PATH}/figures")
async def get_figures(call: Annotated[Call, InAccount("apps")]) -> Response:
    """Return open sessions and totals since the start of each app that has had traffic, and the paused apps.

    Rates are the difference of two answers, divided by that of their `at`.
    """
    told = await call.context.supervisor.ask("GET", "/apps/figures")
    own = {one.name: one.id for one in call.objects("apps")}
    apps = {own[name]: figures for name, figures in told["apps"].items() if name in own}
    paused = [own[name] for name in told["paused"] if name in own]
    return success({"at": told["at"], "keys": told["keys"], "apps": apps, "paused": paused})


@router.post(f"{_PATH}/apps/{{app_id}}/pause")
async def pause_app(call: Annotated[Call, InAccount("apps", edit=True)], app_id: str) -> Response:
    """Refuse new sessions of an app until it is resumed; open ones continue, and the configuration does not change."""
    return await _set(call, app_id, "pause")


@router.post(f"{_PATH}/apps/{{app_id}}/resume")
async def resume_app(call: Annotated[Call, InAccount("apps", edit=True)], app_id: str) -> Response:
    """Accept new sessions of an app again."""
    return await _set(call, app_id, "resume")


async def _set(call: Call, app_id: str, what: Literal["pause", "resume"]) -> Response:
    app = OBJECTS.found(call, app_id)
    told = await call.context.supervisor.ask("POST", f"/apps/{what}", {"app": app.name})
    if told["changed"]:
        await note_by_hand(call, app, what)
    return success({"message": told["message"]})
