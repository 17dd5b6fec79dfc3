"""Load balancers: `/zones/{zone_id}/load_balancers`, and the same below `/accounts/{account_id}`."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InEither
from spectrum.api.envelope import BodyFault, success
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.kinds.kind import Value
from spectrum.api.kinds.load_balancers import LOAD_BALANCERS
from spectrum.api.routes.objects import Objects, with_revision
from spectrum.api.routes.schemas import gives, gives_id, gives_list, takes, takes_part
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Load balancing: load balancers"])
_PATHS = ("/zones/{zone_id}/load_balancers", "/accounts/{account_id}/load_balancers")


def _check(call: Call, value: Value, before: StoredObject | None) -> None:
    """Refuse a name outside the zone."""
    zone = call.catalogue.named("zones", call.catalogue.owners(before)[1]) if before else call.zone
    domain = str(zone.value.get("name") or zone.name) if zone else ""
    if domain and not f".{value['name']}".lower().endswith(f".{domain.lower()}"):
        raise BodyFault(INVALID, f"name: {value['name']} is not in zone {domain}: validation failed", "/name")


OBJECTS = Objects(LOAD_BALANCERS, lambda value: str(value["name"]), _check)


def _shown(call: Call, one: StoredObject) -> Value:
    zone = call.catalogue.named("zones", call.catalogue.owners(one)[1])
    told = OBJECTS.shown(call, one)
    return told | {"zone_name": zone.value.get("name") or zone.name} if zone else told


def _answer(call: Call, one: StoredObject) -> Response:
    return with_revision(success(_shown(call, one)), one)


@router.get(_PATHS[0], responses=gives_list(LOAD_BALANCERS))
@router.get(_PATHS[1], responses=gives_list(LOAD_BALANCERS))
async def list_load_balancers(call: Annotated[Call, InEither("load_balancers")]) -> Response:
    """List load balancers."""
    return success([_shown(call, one) for one in call.objects("load_balancers")])


@router.post(_PATHS[0], openapi_extra=takes(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS))
@router.post(_PATHS[1], openapi_extra=takes(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS))
async def create_load_balancer(call: Annotated[Call, InEither("load_balancers", edit=True)]) -> Response:
    """Make a load balancer. Apps refer to it by its name in `origin_dns`."""
    return _answer(call, await OBJECTS.make(call))


@router.get(f"{_PATHS[0]}/{{load_balancer_id}}", responses=gives(LOAD_BALANCERS))
@router.get(f"{_PATHS[1]}/{{load_balancer_id}}", responses=gives(LOAD_BALANCERS))
async def get_load_balancer(call: Annotated[Call, InEither("load_balancers")], load_balancer_id: str) -> Response:
    """Return a load balancer."""
    return _answer(call, OBJECTS.found(call, load_balancer_id))


@router.put(f"{_PATHS[0]}/{{load_balancer_id}}", openapi_extra=takes(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS))
@router.put(f"{_PATHS[1]}/{{load_balancer_id}}", openapi_extra=takes(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS))
async def replace_load_balancer(
    call: Annotated[Call, InEither("load_balancers", edit=True)], load_balancer_id: str
) -> Response:
    """Replace a load balancer; fields that the body leaves out get their defaults."""
    return _answer(call, await OBJECTS.replace(call, load_balancer_id))


@router.patch(
    f"{_PATHS[0]}/{{load_balancer_id}}", openapi_extra=takes_part(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS)
)
@router.patch(
    f"{_PATHS[1]}/{{load_balancer_id}}", openapi_extra=takes_part(LOAD_BALANCERS), responses=gives(LOAD_BALANCERS)
)
async def edit_load_balancer(
    call: Annotated[Call, InEither("load_balancers", edit=True)], load_balancer_id: str
) -> Response:
    """Change some fields of a load balancer."""
    return _answer(call, await OBJECTS.edit(call, load_balancer_id))


@router.delete(f"{_PATHS[0]}/{{load_balancer_id}}", responses=gives_id())
@router.delete(f"{_PATHS[1]}/{{load_balancer_id}}", responses=gives_id())
async def delete_load_balancer(
    call: Annotated[Call, InEither("load_balancers", edit=True)], load_balancer_id: str
) -> Response:
    """Delete a load balancer that no app refers to."""
    return success({"id": (await OBJECTS.delete(call, load_balancer_id)).id})
