"""Previews: a pool is probed once with a monitor of the body, without an effect on traffic."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount, no_such, unauthorized
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.kinds.health import origins_health
from spectrum.api.kinds.monitors import MONITORS
from spectrum.api.kinds.pools import POOLS
from spectrum.api.rates import TOO_MANY
from spectrum.api.routes import monitors, pools
from spectrum.api.routes.objects import NamedByCaller
from spectrum.api.routes.schemas import takes
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Load balancing: previews"])
_PATH = "/accounts/{account_id}/load_balancers"
# Previews take as long as their probes.
_WAIT_S = 5


@router.post(f"{_PATH}/monitors/{{monitor_id}}/preview", openapi_extra=takes(MONITORS))
async def preview_monitor(call: Annotated[Call, InAccount("monitors", edit=True)], monitor_id: str) -> Response:
    """Probe the pools of a monitor once, with the monitor of the body. Traffic is not affected."""
    monitor = monitors.OBJECTS.found(call, monitor_id)
    assert call.account is not None, "the path names one"
    if not call.caller.may("pools", False, call.account.name):
        raise unauthorized()
    return await _begin(call, pools.pools_of_monitor(call, monitor))


@router.post(f"{_PATH}/pools/{{pool_id}}/preview", openapi_extra=takes(MONITORS))
async def preview_pool(call: Annotated[Call, InAccount("pools", edit=True)], pool_id: str) -> Response:
    """Probe a pool once, with the monitor of the body. Traffic is not affected."""
    return await _begin(call, [pools.OBJECTS.found(call, pool_id)])


@router.get(f"{_PATH}/preview/{{preview_id}}")
async def get_preview(call: Annotated[Call, InAccount("pools")], preview_id: str) -> Response:
    """Return the results of a preview, for 10 minutes: each pool when all of its origins are probed."""
    assert call.account is not None, "the path names one"
    asked = {"owner": call.account.id, "id": preview_id}
    told = await call.context.supervisor.ask("GET", "/preview", asked)
    if told["pools"] is None:
        raise no_such(call.request)
    found = ((call.catalogue.named("pools", name), pool) for name, pool in told["pools"].items())
    return success(
        {
            one.id: {"healthy": pool["healthy"], "origins": origins_health(pool["origins"], told["monitor_type"])}
            for one, pool in found
            if one is not None and call.object("pools", one.id) is not None
        }
    )


async def _begin(call: Call, probed: Sequence[StoredObject]) -> Response:
    assert call.account is not None, "the path names one"
    if not isinstance(call.body, dict):
        raise BodyFault(INVALID, "expected a JSON object: a monitor", "")
    value = MONITORS.checked(call.body, NamedByCaller(call))
    asked = {"owner": call.account.id, "monitor": value, "pools": [one.name for one in probed]}
    told = await call.context.supervisor.ask("POST", "/previews", body=asked)
    if busy := told.get("busy"):
        raise ApiError(429, TOO_MANY, f"{busy}: please wait", headers={"retry-after": str(_WAIT_S)})
    if faults := told.get("faults"):
        raise MONITORS.refusal([(tuple(place), message) for place, message in faults], call.body)
    begun = {one.id: POOLS.api_name(one) for one in probed if one.name in told["pools"]}
    return success({"preview_id": told["id"], "pools": begun})
