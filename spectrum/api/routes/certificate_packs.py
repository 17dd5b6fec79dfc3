"""`/zones/{zone_id}/ssl/certificate_packs`: certificates that the daemon orders by ACME.

The file defines the CAs, and the keys for DNS (`acme.authorities`). Limits of CAs hold for all accounts of a daemon
together, so each account has limits of its own here.
"""

import logging
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.responses import Response

from spectrum.api.access import Call, InZone
from spectrum.api.catalogue import NotLive, ReadOnly
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.accounts import display_name
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.kinds.certificate_packs import PACKS, changed, check_order, standing, wanted_name
from spectrum.api.kinds.kind import Value, refuse
from spectrum.api.paging import Page, page_query, paged
from spectrum.api.routes.objects import NamedByCaller, Objects, note_by_hand, with_revision
from spectrum.api.routes.schemas import PACK, PACK_CHANGE, PACK_ORDER, gives_id, gives_result, gives_results, takes_body
from spectrum.api.supervisor import ValueRefused
from spectrum.core.server_names import server_name
from spectrum.store.audit import AuditFilter
from spectrum.store.objects import StoredObject
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)
router = APIRouter(tags=["Certificates"])
TOO_MANY = 10429
WEEK_S = 7 * 86400.0
# A line of the audit log may be this far ahead of the clock, which is corrected all the time.
CLOCK_SLACK_S = 60.0
# The action in the audit log for an order, beside that of its object.
ORDER = "order"
_PATH = "/zones/{zone_id}/ssl/certificate_packs"
_ONE = f"{_PATH}/{{certificate_pack_id}}"


def _names_are_of_zone(call: Call, value: Value, before: StoredObject | None) -> None:
    """Refuse names outside the zone, and names of another account."""
    assert call.zone is not None, "the path names one"
    domain = display_name(call.zone).lower()
    for index, host in enumerate(value["acme"]["names"]):
        name = server_name(host).removeprefix("*.")
        if not _is_in(name, domain):
            raise refuse(INVALID, f"{host} is not in {domain}: validation failed", "hosts", index)
        if not _is_of_account(call, name):
            raise refuse(INVALID, f"{host} is in a zone of another account: validation failed", "hosts", index)


def _is_in(name: str, domain: str) -> bool:
    return f".{name}".endswith(f".{domain}")


def _is_of_account(call: Call, name: str) -> bool:
    """Return whether a name belongs to the caller's account, if zones of several accounts contain it.

    Every name that resolves to this edge passes the CA's validation. So ownership is decided here: by the closest zone
    of the file, and without one by the zone that was made first.
    """
    assert call.account is not None, "the zone has one"
    zones = [zone for zone in call.catalogue.all("zones") if _is_in(name, display_name(zone).lower())]
    of_file = [zone for zone in zones if zone.is_in_file]
    owner = (
        max(of_file, key=lambda zone: len(display_name(zone)))
        if of_file
        else min(zones, key=lambda zone: zone.created_on)
    )
    return call.catalogue.owners(owner)[0] == call.account.name


def _is_ordered(value: Value) -> bool:
    return "acme" in value


OBJECTS = Objects(PACKS, wanted_name, _names_are_of_zone, holds=_is_ordered)


@router.get(_PATH, responses=gives_results(PACK))
async def list_packs(
    call: Annotated[Call, InZone("certificates")],
    page: Annotated[Page, Depends(page_query())],
    status: Literal["all"] | None = None,
    deploy: Literal["staging", "production"] = "production",
) -> Response:
    """List ordered certificates of a zone: the active ones, or with `status=all` all."""
    served = await _served(call)
    packs = [_shown(call, one, served) for one in call.objects("certificates") if _is_ordered(one.value)]
    shown = [one for one in packs if deploy == "production" and (status == "all" or one["status"] == "active")]
    return paged(shown, page, lambda one: one)


@router.get(f"{_PATH}/quota")
async def get_quota(call: Annotated[Call, InZone("certificates")]) -> Response:
    """Return the limit and the number of ordered certificates of the zone's account."""
    return success({"advanced": {"allocated": call.context.ordering.certificates, "used": _count(call)}})


@router.post(f"{_PATH}/order", openapi_extra=takes_body(PACK_ORDER), responses=gives_result(PACK))
async def order_pack(call: Annotated[Call, InZone("certificates", edit=True)]) -> Response:
    """Order a certificate from an authority of the file. Its status shows the progress of the order."""
    if not isinstance(call.body, dict):
        raise BodyFault(INVALID, "expected a JSON object", "")
    ordering = call.context.ordering
    check_order(call.body, ordering.authorities)
    async with ordering.lock:
        if _count(call) >= ordering.certificates:
            limit = f"this account may have {ordering.certificates} ordered certificates (acme.per_account)"
            raise BodyFault(INVALID, f"{limit}; delete one that is not needed", "")
        await _may_order(call)
        made = await OBJECTS.make(call)
        await note_by_hand(call, made, ORDER, made.value)
    return await _answer(call, made)


@router.get(_ONE, responses=gives_result(PACK))
async def get_pack(call: Annotated[Call, InZone("certificates")], certificate_pack_id: str) -> Response:
    """Return an ordered certificate: progress, failure of the latest order, and the certificate's end."""
    return await _answer(call, OBJECTS.found(call, certificate_pack_id))


@router.patch(_ONE, openapi_extra=takes_body(PACK_CHANGE, is_required=False), responses=gives_result(PACK))
async def restart_pack(call: Annotated[Call, InZone("certificates", edit=True)], certificate_pack_id: str) -> Response:
    """Change hosts, authority or validation method; without a body, order again at once if the latest order failed.

    The certificate in use is served until the next one is issued.
    """
    found = OBJECTS.found(call, certificate_pack_id)
    if call.body not in (None, {}, {"cloudflare_branding": False}):
        return await _answer(call, await _changed(call, found))
    async with call.context.ordering.lock:
        await _may_order(call)
        try:
            await call.context.supervisor.ask("POST", "/certificates/order", {"name": found.name})
        except ValueRefused as exc:
            raise BodyFault(INVALID, f"{exc}: validation failed", "") from exc
        await note_by_hand(call, found, ORDER, found.value)
    return await _answer(call, found)


@router.delete(_ONE, responses=gives_id())
async def delete_pack(call: Annotated[Call, InZone("certificates", edit=True)], certificate_pack_id: str) -> Response:
    """Delete a certificate that no app refers to, with its key."""
    gone = await OBJECTS.delete(call, certificate_pack_id)
    try:
        await call.context.supervisor.ask("POST", "/certificates/forget", {"name": gone.name})
    except NotLive as exc:
        log.warning("certificate %s: its files stay in the folder of acme: %s", gone.name, exc)
    return success({"id": gone.id})


async def _changed(call: Call, found: StoredObject) -> StoredObject:
    """Change what is ordered. It counts as an order: the daemon orders at once if the certificate becomes another one,
    or the latest order failed.
    """
    if not isinstance(call.body, dict):
        raise BodyFault(INVALID, "expected a JSON object", "")
    if found.is_in_file:
        raise ReadOnly(f"{found.name} is read-only here: it stands in {call.catalogue.path}")
    ordering = call.context.ordering
    body = changed(call.body, found.value, ordering.authorities, NamedByCaller(call))
    async with ordering.lock:
        await _may_order(call)
        made = await OBJECTS.edit(call, found.id, body)
        await note_by_hand(call, made, ORDER, made.value)
    return made


def _count(call: Call) -> int:
    """Return the number of certificates that the account has ordered by the API."""
    assert call.account is not None, "the zone has one"
    own = call.catalogue.in_account("certificates", call.account.name)
    return sum(_is_ordered(one.value) and not one.is_in_file for one in own)


async def _may_order(call: Call) -> None:
    """Refuse an order beyond the account's weekly limit."""
    assert call.account is not None, "the zone has one"
    most, now = call.context.ordering.orders_per_week, time.time()
    ordered = AuditFilter(
        since=now - WEEK_S,
        before=now + CLOCK_SLACK_S,  # the clock was set back since later ones, which would count for longer
        accounts=(call.account.id,),
        actions=(ORDER,),
        sections=("certificates",),
    )
    if await in_thread(call.context.store.count_audit, ordered) < most:
        return
    first = await in_thread(lambda: call.context.store.audit(ordered, 1, newest_first=False))
    wait_s = int(first[0].at + WEEK_S - now) + 1 if first else int(WEEK_S)
    message = f"this account may give {most} orders in seven days (acme.per_account)"
    raise ApiError(429, TOO_MANY, message, headers={"retry-after": str(wait_s)}, retry=False)


async def _served(call: Call) -> dict[str, Mapping[str, Any]]:
    """Return the daemon's state of certificates, by name."""
    told = await call.context.supervisor.ask("GET", "/certificates")
    return {one["name"]: one for one in told["certificates"]}


def _shown(call: Call, one: StoredObject, served: Mapping[str, Mapping[str, Any]]) -> Value:
    authorities = call.context.ordering.authorities
    return standing(one, NamedByCaller(call), authorities, served.get(one.name), time.time())


async def _answer(call: Call, one: StoredObject) -> Response:
    return with_revision(success(_shown(call, one, await _served(call))), one)
