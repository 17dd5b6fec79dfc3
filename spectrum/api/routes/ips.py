"""The addresses of the edge."""

import hashlib
from ipaddress import ip_network
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call
from spectrum.api.envelope import success

router = APIRouter(tags=["IPs"])


@router.get("/ips")
async def list_ips(call: Annotated[Call, Anywhere]) -> Response:
    """List the listening addresses of the apps that the caller may read."""
    found = set()
    for app in call.catalogue.all("apps"):
        if call.caller.may("apps", False, *call.catalogue.owners(app)):
            edge = app.value.get("edge_ips") or ()
            found |= {ip_network(one) for one in (edge.get("ips", ()) if isinstance(edge, dict) else edge)}
    cidrs = {version: sorted(str(one) for one in found if one.version == version) for version in (4, 6)}
    etag = hashlib.sha256(repr(cidrs).encode()).hexdigest()[:32]
    return success({"ipv4_cidrs": cidrs[4], "ipv6_cidrs": cidrs[6], "etag": etag})
