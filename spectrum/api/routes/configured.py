"""Objects in the form of the file: a whole section, the place of an object, and previews of changes.

Extensions of Cloudflare's API, used by the dashboard: Cloudflare's lists are paged, and their fields differ from those
of the file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, InSection, no_such
from spectrum.api.envelope import success
from spectrum.api.kinds.kind import Kind, Value, stamped
from spectrum.api.routes import (
    access_rules,
    apps,
    lists,
    load_balancers,
    monitor_groups,
    monitors,
    pools,
    rulesets,
    tcp_protection,
)
from spectrum.api.routes.objects import Objects
from spectrum.api.routes.schemas import body_schema
from spectrum.core.configuration.presets import PRESETS
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Objects as in the file"])
Section = Literal[
    "apps",
    "load_balancers",
    "pools",
    "monitors",
    "monitor_groups",
    "access_rules",
    "lists",
    "rulesets",
    "tcp_protection",
    "tcp_prefixes",
    "tcp_allowlist",
    "tcp_rules",
    "tcp_filters",
]
_KINDS: Mapping[str, Objects] = {
    objects.kind.section: objects
    for objects in (
        *(module.OBJECTS for module in (apps, load_balancers, pools, monitors, monitor_groups, access_rules, lists)),
        rulesets.OBJECTS,
        *tcp_protection.SECTIONS,
    )
}
_PATH = "/accounts/{account_id}/spectrum/objects/{section}"
_PREVIEWS = (f"{_PATH}/preview", "/zones/{zone_id}/spectrum/objects/{section}/preview")


@router.get("/spectrum/schemas/{section}")
async def get_schema(call: Annotated[Call, Anywhere], section: Section) -> Response:
    """Return the JSON Schema of the body for an object of a section."""
    return success(body_schema(_KINDS[section].kind))


@router.get("/spectrum/presets")
async def list_presets(call: Annotated[Call, Anywhere]) -> Response:
    """List the presets: port, idle timeout and health check of each protocol."""
    return success([{"name": name, **preset._asdict()} for name, preset in PRESETS.items()])


@router.get(_PATH)
async def list_configured(
    call: Annotated[Call, InSection()],
    section: Section,
    key: Annotated[str, Query(description="Return only objects whose key of this name has the value `equals`.")] = "",
    equals: Annotated[str, Query(description="The value of `key`: a text as it is, others in JSON.")] = "",
) -> Response:
    """List all objects of a section in one answer, in the form of the file; lists with their number of items only."""
    kind = _KINDS[section].kind
    found = [one for one in call.objects(section) if not key or (key in one.value and _text(one.value[key]) == equals)]
    return success([_shown(call, kind, one) for one in found])


@router.get(f"{_PATH}/{{object_id}}")
async def get_configured(call: Annotated[Call, InSection()], section: Section, object_id: str) -> Response:
    """Return an object in the form of the file; for an object of the file with its path and line."""
    found = call.object(section, object_id)
    if found is None:
        raise no_such(call.request)
    shown = _shown(call, _KINDS[section].kind, found)
    if found.is_in_file:
        asked = {"section": section, "name": found.name}
        shown |= await call.context.supervisor.ask("GET", "/objects/standing", asked)
    return success(shown)


@router.post(_PREVIEWS[0])
@router.post(_PREVIEWS[1])
async def preview_change(
    call: Annotated[Call, InSection(edit=True)],
    section: Section,
    object_id: Annotated[str, Query(alias="id", description="Of the object that is changed; none makes one.")] = "",
) -> Response:
    """Check a change of an object, as its PATCH takes it, and return the resulting value. Nothing is changed."""
    before, change = await _KINDS[section].preview(call, object_id)
    assert change.value is not None, "nothing is deleted"
    shown = StoredObject(section, change.id, change.name, change.value, 0.0, 0.0)
    return success(
        {
            "key": change.name,
            "name": _KINDS[section].kind.api_name(shown),
            "before": before.value if before else None,
            "after": change.value,
        }
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _shown(call: Call, kind: Kind, one: StoredObject) -> Value:
    value: dict[str, Any] = dict(one.value)
    more: Value = {}
    if one.section == "lists":
        more = {"num_items": len(value.pop("items", ()))}
    zone = call.catalogue.named("zones", call.catalogue.owners(one)[1])
    fields = {
        "name": kind.api_name(one),
        "key": one.name,
        "zone_id": zone.id if zone else None,
        "revision": one.revision,
        "in_file": one.is_in_file,
        "value": value,
    }
    return stamped(one, fields | more)
