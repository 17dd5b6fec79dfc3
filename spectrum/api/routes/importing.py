"""Takes objects as they stand in the file: `spectrum import`, for root and the daemon's user on this machine."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, unauthorized
from spectrum.api.envelope import success
from spectrum.store.objects import ObjectChange, new_id

router = APIRouter(tags=["Import"])


class ImportBody(BaseModel):
    """Per section of the file its objects by name."""

    objects: dict[str, dict[str, dict[str, Any]]]


@router.post("/spectrum/import", include_in_schema=False)
async def import_objects(call: Annotated[Call, Anywhere], body: ImportBody) -> Response:
    """Make objects, or replace those of the store with the same names: all, or none."""
    if not call.caller.is_local:
        raise unauthorized()
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    changes = []
    for section, objects in body.objects.items():
        for name, value in objects.items():
            before = call.catalogue.named(section, name)
            if before is not None and before.value == value:
                counts["unchanged"] += 1
                continue
            counts["updated" if before else "created"] += 1
            changes.append(ObjectChange(section, before.id if before else new_id(), name, value))
    if changes:
        await call.change(changes)
    return success(counts)
