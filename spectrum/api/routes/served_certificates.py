"""The served certificates, with their ends. An extension of Cloudflare's API."""

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import success
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Certificates"])


@router.get("/accounts/{account_id}/spectrum/certificates")
async def list_served_certificates(call: Annotated[Call, InAccount("certificates")]) -> Response:
    """List the served certificates of an account: names, end, and the state of orders by ACME."""
    told = await call.context.supervisor.ask("GET", "/certificates")
    own = {one.name: one for one in call.objects("certificates")}
    shown = [one | _more(call, own[one["name"]]) for one in told["certificates"] if one["name"] in own]
    return success(shown)


def _more(call: Call, one: StoredObject) -> dict[str, Any]:
    zone = call.catalogue.named("zones", call.catalogue.owners(one)[1])
    return {
        "id": one.id,
        "zone_id": zone.id if zone else None,
        "in_file": one.is_in_file,
        "revision": one.revision,
        "used_by": [app.name for app in call.catalogue.referrers("certificates", one.name)],
    }
