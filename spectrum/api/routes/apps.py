"""`/zones/{zone_id}/spectrum`: apps, and the protocols of presets."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.responses import Response

from spectrum.api.access import Call, InZone
from spectrum.api.envelope import success
from spectrum.api.kinds.apps import APPS
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.routes.objects import Objects
from spectrum.api.routes.schemas import gives, gives_id, gives_list, takes, takes_part
from spectrum.core.address import parse_protocol
from spectrum.core.configuration.presets import PRESETS
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Spectrum apps"])
OBJECTS = Objects(APPS, lambda value: str(value["dns"]["name"]))
MOST_PER_PAGE = 100
_PATH = "/zones/{zone_id}/spectrum/apps"
_ORDERS: dict[str, Callable[[StoredObject], Any]] = {
    "protocol": lambda one: str(one.value.get("protocol", "")),
    "app_id": lambda one: one.id,
    "created_on": lambda one: one.created_on,
    "modified_on": lambda one: one.modified_on,
    "dns": APPS.api_name,
}
Order = Literal["protocol", "app_id", "created_on", "modified_on", "dns"]


@router.get(_PATH, responses=gives_list(APPS))
async def list_apps(
    call: Annotated[Call, InZone("apps")],
    page: Annotated[Page, Depends(page_query(most=MOST_PER_PAGE))],
    order: Order = "dns",
    direction: Literal["asc", "desc"] = "asc",
) -> Response:
    """List the apps of a zone."""
    found = sorted(call.objects("apps"), key=_ORDERS[order], reverse=direction == "desc")
    return paged(found, page, lambda one: OBJECTS.shown(call, one))


@router.post(_PATH, openapi_extra=takes(APPS), responses=gives(APPS))
async def create_app(call: Annotated[Call, InZone("apps", edit=True)]) -> Response:
    """Make an app. It is served when the answer arrives."""
    return OBJECTS.answer(call, await OBJECTS.make(call))


@router.get(f"{_PATH}/{{app_id}}", responses=gives(APPS))
async def get_app(call: Annotated[Call, InZone("apps")], app_id: str) -> Response:
    """Return an app."""
    return OBJECTS.answer(call, OBJECTS.found(call, app_id))


@router.put(f"{_PATH}/{{app_id}}", openapi_extra=takes(APPS), responses=gives(APPS))
async def replace_app(call: Annotated[Call, InZone("apps", edit=True)], app_id: str) -> Response:
    """Replace an app; fields that the body leaves out get their defaults."""
    return OBJECTS.answer(call, await OBJECTS.replace(call, app_id))


@router.patch(f"{_PATH}/{{app_id}}", openapi_extra=takes_part(APPS), responses=gives(APPS))
async def edit_app(call: Annotated[Call, InZone("apps", edit=True)], app_id: str) -> Response:
    """Change some fields of an app."""
    return OBJECTS.answer(call, await OBJECTS.edit(call, app_id))


@router.delete(f"{_PATH}/{{app_id}}", responses=gives_id())
async def delete_app(call: Annotated[Call, InZone("apps", edit=True)], app_id: str) -> Response:
    """Delete an app. Its on_remove decides about open sessions."""
    return success({"id": (await OBJECTS.delete(call, app_id)).id})


@router.get("/zones/{zone_id}/spectrum/protocols")
async def list_protocols(call: Annotated[Call, InZone("apps")]) -> Response:
    """List the protocols with presets; an app can use any other port as well."""
    return success([_protocol(name, preset.protocol) for name, preset in PRESETS.items()])


def _protocol(name: str, protocol: str) -> dict[str, Any]:
    parsed = parse_protocol(protocol)
    return {
        "name": name,
        "description": f"{name} on {protocol}",
        "ports": [parsed.ports.first],
        "transport": parsed.transport,
    }
