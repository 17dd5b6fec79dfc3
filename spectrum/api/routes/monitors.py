"""`/accounts/{account_id}/load_balancers/monitors`."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import success
from spectrum.api.kinds.monitors import MONITORS, wanted_name
from spectrum.api.routes.objects import Objects, referrers
from spectrum.api.routes.schemas import gives, gives_id, gives_list, takes, takes_part

router = APIRouter(tags=["Load balancing: monitors"])
OBJECTS = Objects(MONITORS, wanted_name)
_PATH = "/accounts/{account_id}/load_balancers/monitors"


@router.get(_PATH, responses=gives_list(MONITORS))
async def list_monitors(call: Annotated[Call, InAccount("monitors")]) -> Response:
    """List the monitors of an account."""
    return success([OBJECTS.shown(call, one) for one in call.objects("monitors")])


@router.post(_PATH, openapi_extra=takes(MONITORS), responses=gives(MONITORS))
async def create_monitor(call: Annotated[Call, InAccount("monitors", edit=True)]) -> Response:
    """Make a monitor."""
    return OBJECTS.answer(call, await OBJECTS.make(call))


@router.get(f"{_PATH}/{{monitor_id}}", responses=gives(MONITORS))
async def get_monitor(call: Annotated[Call, InAccount("monitors")], monitor_id: str) -> Response:
    """Return a monitor."""
    return OBJECTS.answer(call, OBJECTS.found(call, monitor_id))


@router.put(f"{_PATH}/{{monitor_id}}", openapi_extra=takes(MONITORS), responses=gives(MONITORS))
async def replace_monitor(call: Annotated[Call, InAccount("monitors", edit=True)], monitor_id: str) -> Response:
    """Replace a monitor; fields that the body leaves out get their defaults."""
    return OBJECTS.answer(call, await OBJECTS.replace(call, monitor_id))


@router.patch(f"{_PATH}/{{monitor_id}}", openapi_extra=takes_part(MONITORS), responses=gives(MONITORS))
async def edit_monitor(call: Annotated[Call, InAccount("monitors", edit=True)], monitor_id: str) -> Response:
    """Change some fields of a monitor."""
    return OBJECTS.answer(call, await OBJECTS.edit(call, monitor_id))


@router.delete(f"{_PATH}/{{monitor_id}}", responses=gives_id())
async def delete_monitor(call: Annotated[Call, InAccount("monitors", edit=True)], monitor_id: str) -> Response:
    """Delete a monitor that no pool refers to."""
    return success({"id": (await OBJECTS.delete(call, monitor_id)).id})


@router.get(f"{_PATH}/{{monitor_id}}/references")
async def list_monitor_references(call: Annotated[Call, InAccount("monitors")], monitor_id: str) -> Response:
    """List the objects that refer to a monitor."""
    return success(referrers(call, OBJECTS.found(call, monitor_id)))
