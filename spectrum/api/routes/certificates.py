"""`/zones/{zone_id}/custom_certificates`: certificates uploaded with their keys. No answer contains a key."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.responses import Response

from spectrum.api.access import Call, InZone
from spectrum.api.catalogue import ReadOnly
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.accounts import display_name
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.kinds.certificates import CERTIFICATES, hosts_of, prioritized, sealed, wanted_name
from spectrum.api.kinds.kind import Value, refuse
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.routes.objects import Objects
from spectrum.api.routes.schemas import PRIORITIES, gives, gives_id, gives_list, takes, takes_body, takes_part
from spectrum.store.objects import ObjectChange, StoredObject

router = APIRouter(tags=["Certificates"])
NO_SEALING_KEY = 10002
_PATH = "/zones/{zone_id}/custom_certificates"
_STATUSES = Literal["active", "expired", "deleted", "pending", "initializing"]


def _names_are_of_zone(call: Call, value: Value, before: StoredObject | None) -> None:
    """Refuse a certificate without a name in the zone."""
    assert call.zone is not None, "the path names one"
    domain = display_name(call.zone).lower()
    if not any(f".{host}".lower().endswith(f".{domain}") for host in hosts_of(value)):
        raise refuse(INVALID, f"it is for no name in {domain}: validation failed", "certificate")


def _is_sent(value: Value) -> bool:
    return "acme" not in value


OBJECTS = Objects(CERTIFICATES, wanted_name, _names_are_of_zone, holds=_is_sent)


@router.get(_PATH, responses=gives_list(CERTIFICATES))
async def list_certificates(
    call: Annotated[Call, InZone("certificates")],
    page: Annotated[Page, Depends(page_query())],
    status: _STATUSES | None = None,
    match: Literal["any", "all"] = "any",
) -> Response:
    """List the certificates of a zone."""
    found = _all(call)
    return paged([one for one in found if status in (None, one["status"])], page, _same)


@router.post(_PATH, openapi_extra=takes(CERTIFICATES), responses=gives(CERTIFICATES))
async def create_certificate(call: Annotated[Call, InZone("certificates", edit=True)]) -> Response:
    """Add a certificate with its private key, which no call returns."""
    return OBJECTS.answer(call, await OBJECTS.make(call, _sealed(call, None)))


@router.put(f"{_PATH}/prioritize", openapi_extra=takes_body(PRIORITIES), responses=gives_list(CERTIFICATES))
async def prioritize_certificates(call: Annotated[Call, InZone("certificates", edit=True)]) -> Response:
    """Set priorities of certificates for the same name: the one with the highest priority is served."""
    changes = []
    for certificate_id, priority in prioritized(call.body).items():
        one = _editable(call, certificate_id)
        value = {key: item for key, item in one.value.items() if key != "priority"}
        if priority:
            value["priority"] = priority
        changes.append(ObjectChange(one.section, one.id, one.name, value))
    if changes:
        await OBJECTS.change_all(call, changes)
    return success(_all(call))


@router.get(f"{_PATH}/{{certificate_id}}", responses=gives(CERTIFICATES))
async def get_certificate(call: Annotated[Call, InZone("certificates")], certificate_id: str) -> Response:
    """Return the properties of a certificate."""
    return OBJECTS.answer(call, OBJECTS.found(call, certificate_id))


@router.patch(f"{_PATH}/{{certificate_id}}", openapi_extra=takes_part(CERTIFICATES), responses=gives(CERTIFICATES))
async def edit_certificate(call: Annotated[Call, InZone("certificates", edit=True)], certificate_id: str) -> Response:
    """Replace a certificate, with a new private key or for the same key. Open sessions continue."""
    before = _editable(call, certificate_id)
    if "chain" not in before.value:
        raise refuse(INVALID, "it was not sent to the API: validation failed", "certificate")
    return OBJECTS.answer(call, await OBJECTS.edit(call, certificate_id, _sealed(call, before)))


@router.delete(f"{_PATH}/{{certificate_id}}", responses=gives_id())
async def delete_certificate(call: Annotated[Call, InZone("certificates", edit=True)], certificate_id: str) -> Response:
    """Delete a certificate that no app refers to."""
    return success({"id": (await OBJECTS.delete(call, certificate_id)).id})


def _all(call: Call) -> list[Value]:
    return [OBJECTS.shown(call, one) for one in call.objects("certificates") if _is_sent(one.value)]


def _editable(call: Call, certificate_id: str) -> StoredObject:
    """Return a certificate that is not in the file."""
    found = OBJECTS.found(call, certificate_id)
    if found.is_in_file:
        raise ReadOnly(f"{found.name} is read-only here: it stands in {call.catalogue.path}")
    return found


def _sealed(call: Call, before: StoredObject | None) -> Value:
    if not isinstance(call.body, dict):
        raise BodyFault(INVALID, "expected a JSON object", "")
    public = call.context.sealing.public
    if public is None:
        raise ApiError(
            503,
            NO_SEALING_KEY,
            "private keys cannot be taken: the daemon has no key to seal them for, its log says why",
        )
    return sealed(call.body, public, before)


_same: Callable[[Any], Any] = lambda one: one  # noqa: E731
