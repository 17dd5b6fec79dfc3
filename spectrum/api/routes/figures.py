"""What the apps of an account have served since the daemon's start. This call is ours."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import success

router = APIRouter(tags=["Spectrum apps"])


@router.get("/accounts/{account_id}/spectrum/figures")
async def get_figures(call: Annotated[Call, InAccount("apps")]) -> Response:
    """Return of each app that has served something: open sessions and flows, and what was counted since the start.

    Rates are the difference of two answers, over that of their `at`.
    """
    told = await call.context.supervisor.ask("GET", "/apps/figures")
    own = {one.name: one.id for one in call.objects("apps")}
    apps = {own[name]: figures for name, figures in told["apps"].items() if name in own}
    return success({"at": told["at"], "keys": told["keys"], "apps": apps})
