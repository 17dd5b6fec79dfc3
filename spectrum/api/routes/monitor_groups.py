"""`/accounts/{account_id}/load_balancers/monitor_groups`."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import success
from spectrum.api.kinds.monitor_groups import MONITOR_GROUPS, wanted_name
from spectrum.api.routes.objects import Objects, referrers
from spectrum.api.routes.schemas import gives, gives_list, takes, takes_part

router = APIRouter(tags=["Load balancing: monitor groups"])
OBJECTS = Objects(MONITOR_GROUPS, wanted_name)
_PATH = "/accounts/{account_id}/load_balancers/monitor_groups"


@router.get(_PATH, responses=gives_list(MONITOR_GROUPS))
async def list_monitor_groups(call: Annotated[Call, InAccount("monitor_groups")]) -> Response:
    """List the monitor groups of an account."""
    return success([OBJECTS.shown(call, one) for one in call.objects("monitor_groups")])


@router.post(_PATH, openapi_extra=takes(MONITOR_GROUPS), responses=gives(MONITOR_GROUPS))
async def create_monitor_group(call: Annotated[Call, InAccount("monitor_groups", edit=True)]) -> Response:
    """Make a monitor group."""
    return OBJECTS.answer(call, await OBJECTS.make(call))


@router.get(f"{_PATH}/{{group_id}}", responses=gives(MONITOR_GROUPS))
async def get_monitor_group(call: Annotated[Call, InAccount("monitor_groups")], group_id: str) -> Response:
    """Return a monitor group."""
    return OBJECTS.answer(call, OBJECTS.found(call, group_id))


@router.put(f"{_PATH}/{{group_id}}", openapi_extra=takes(MONITOR_GROUPS), responses=gives(MONITOR_GROUPS))
async def replace_monitor_group(
    call: Annotated[Call, InAccount("monitor_groups", edit=True)], group_id: str
) -> Response:
    """Replace a monitor group."""
    return OBJECTS.answer(call, await OBJECTS.replace(call, group_id))


@router.patch(f"{_PATH}/{{group_id}}", openapi_extra=takes_part(MONITOR_GROUPS), responses=gives(MONITOR_GROUPS))
async def edit_monitor_group(call: Annotated[Call, InAccount("monitor_groups", edit=True)], group_id: str) -> Response:
    """Change some fields of a monitor group."""
    return OBJECTS.answer(call, await OBJECTS.edit(call, group_id))


@router.delete(f"{_PATH}/{{group_id}}", responses=gives(MONITOR_GROUPS))
async def delete_monitor_group(
    call: Annotated[Call, InAccount("monitor_groups", edit=True)], group_id: str
) -> Response:
    """Delete a monitor group; the answer has the whole group, as Cloudflare's."""
    return OBJECTS.answer(call, await OBJECTS.delete(call, group_id))


@router.get(f"{_PATH}/{{group_id}}/references")
async def list_monitor_group_references(call: Annotated[Call, InAccount("monitor_groups")], group_id: str) -> Response:
    """List the objects that refer to a monitor group."""
    return success(referrers(call, OBJECTS.found(call, group_id)))
