"""`/accounts/{account_id}/load_balancers/pools`, and the health of a pool's origins."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import BodyFault, success
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.kinds.health import pool_health
from spectrum.api.kinds.pools import POOLS
from spectrum.api.routes.objects import Objects, referrers
from spectrum.api.routes.schemas import gives, gives_id, gives_list, takes, takes_part
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Load balancing: pools"])
OBJECTS = Objects(POOLS, lambda value: str(value["name"]))
_PATH = "/accounts/{account_id}/load_balancers/pools"


@router.get(_PATH, responses=gives_list(POOLS))
async def list_pools(
    call: Annotated[Call, InAccount("pools")],
    monitor: Annotated[str, Query(description="Only pools with this monitor, or a group that has it; its id.")] = "",
) -> Response:
    """List the pools of an account."""
    found = call.objects("pools")
    if monitor:
        probing = call.object("monitors", monitor)
        probed = pools_of_monitor(call, probing) if probing is not None else []
        found = [one for one in found if one in probed]
    return success([OBJECTS.shown(call, one) for one in found])


def pools_of_monitor(call: Call, monitor: StoredObject) -> list[StoredObject]:
    """Return the pools with a monitor, or with a monitor group that has it."""
    referring = call.catalogue.referrers(monitor.section, monitor.name)
    groups = [one for one in referring if one.section == "monitor_groups"]
    return [one for one in referring if one.section == "pools"] + [
        pool for group in groups for pool in call.catalogue.referrers(group.section, group.name)
    ]


@router.post(_PATH, openapi_extra=takes(POOLS), responses=gives(POOLS))
async def create_pool(call: Annotated[Call, InAccount("pools", edit=True)]) -> Response:
    """Make a pool."""
    return OBJECTS.answer(call, await OBJECTS.make(call))


@router.patch(_PATH)
async def edit_pools(call: Annotated[Call, InAccount("pools", edit=True)]) -> Response:
    """Clear notification_email of all pools: Cloudflare's only bulk edit. Pools have no such setting here."""
    if call.body != {"notification_email": ""}:
        raise BodyFault(INVALID, 'expected {"notification_email": ""}: validation failed', "/notification_email")
    return success([OBJECTS.shown(call, one) for one in call.objects("pools")])


@router.get(f"{_PATH}/{{pool_id}}", responses=gives(POOLS))
async def get_pool(call: Annotated[Call, InAccount("pools")], pool_id: str) -> Response:
    """Return a pool."""
    return OBJECTS.answer(call, OBJECTS.found(call, pool_id))


@router.put(f"{_PATH}/{{pool_id}}", openapi_extra=takes(POOLS), responses=gives(POOLS))
async def replace_pool(call: Annotated[Call, InAccount("pools", edit=True)], pool_id: str) -> Response:
    """Replace a pool; fields that the body leaves out get their defaults."""
    return OBJECTS.answer(call, await OBJECTS.replace(call, pool_id))


@router.patch(f"{_PATH}/{{pool_id}}", openapi_extra=takes_part(POOLS), responses=gives(POOLS))
async def edit_pool(call: Annotated[Call, InAccount("pools", edit=True)], pool_id: str) -> Response:
    """Change some fields of a pool."""
    return OBJECTS.answer(call, await OBJECTS.edit(call, pool_id))


@router.delete(f"{_PATH}/{{pool_id}}", responses=gives_id())
async def delete_pool(call: Annotated[Call, InAccount("pools", edit=True)], pool_id: str) -> Response:
    """Delete a pool that no load balancer refers to."""
    return success({"id": (await OBJECTS.delete(call, pool_id)).id})


@router.get(f"{_PATH}/{{pool_id}}/references")
async def list_pool_references(call: Annotated[Call, InAccount("pools")], pool_id: str) -> Response:
    """List the objects that refer to a pool."""
    return success(referrers(call, OBJECTS.found(call, pool_id)))


@router.get(f"{_PATH}/{{pool_id}}/health")
async def get_pool_health(call: Annotated[Call, InAccount("pools")], pool_id: str) -> Response:
    """Return the health of a pool's origins, from this node's probes."""
    pool = OBJECTS.found(call, pool_id)
    told = await call.context.supervisor.ask("GET", "/pool", {"pool": pool.name})
    return success({"pool_id": pool.id, "pop_health": {told["node"]: pool_health(told)}})
