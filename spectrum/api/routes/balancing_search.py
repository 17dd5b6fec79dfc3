"""Search of load balancing objects: `/accounts/{account_id}/load_balancers/search`, and the regions of pools."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount, no_such
from spectrum.api.envelope import success
from spectrum.api.kinds.kind import Value
from spectrum.api.kinds.regions import ISO, REGIONS, countries_of
from spectrum.api.paging import Page, page_query, paged_items
from spectrum.api.references import references
from spectrum.api.routes.objects import name_of, reference, referrers
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Load balancing"])
_PATH = "/accounts/{account_id}/load_balancers"
_SECTIONS = ("load_balancers", "pools", "monitors")
DEFAULT_PER_PAGE = 25


@router.get(f"{_PATH}/search")
async def search_load_balancing(
    call: Annotated[Call, InAccount("load_balancers")],
    page: Annotated[Page, Depends(page_query(DEFAULT_PER_PAGE))],
    query: Annotated[str, Query(description="Part of a name, in any case.")] = "",
    direction: Annotated[Literal["", "*", "referral", "referrer"], Query(alias="references")] = "",
) -> Response:
    """Find load balancers, pools and monitors by name."""
    found = [
        one
        for section in _SECTIONS
        if call.caller.may(section, False, call.account.name if call.account else "")
        for one in call.objects(section)
        if query.lower() in name_of(one).lower()
    ]
    return paged_items(found, page, lambda one: _shown(call, one, direction), "resources")


def _shown(call: Call, one: StoredObject, direction: str) -> Value:
    told = {key: item for key, item in reference(one, "").items() if key != "reference_type"}
    if not direction:
        return told
    referring = referrers(call, one) if direction in ("*", "referrer") else []
    referred = []
    for section, name in dict.fromkeys(references(one.section, one.value)) if direction in ("*", "referral") else ():
        other = call.catalogue.named(section, name)
        if section in _SECTIONS and other is not None:
            referred.append(reference(other, "referral"))
    return told | {"references": referring + referred}


@router.get(f"{_PATH}/regions")
async def list_regions(
    call: Annotated[Call, InAccount("load_balancers")],
    country: Annotated[str, Query(alias="country_code_a2")] = "",
) -> Response:
    """List the regions, with their countries."""
    found = [
        {"region_code": region, "countries": countries_of(region)}
        for region, codes in REGIONS.items()
        if not country or country in codes
    ]
    return success({"iso_standard": ISO, "regions": found})


@router.get(f"{_PATH}/regions/{{region_id}}")
async def get_region(call: Annotated[Call, InAccount("load_balancers")], region_id: str) -> Response:
    """Return a region, with its countries."""
    if region_id not in REGIONS:
        raise no_such(call.request)
    told = {"region_code": region_id, "countries": countries_of(region_id)}
    return success({"iso_standard": ISO, "regions": [told]})
