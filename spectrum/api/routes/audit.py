"""The audit log: who changed what, the values before and after, and from which address; both of Cloudflare's forms."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, InAccount
from spectrum.api.caller import ANY
from spectrum.api.envelope import BodyFault, success
from spectrum.api.kinds.accounts import display_name
from spectrum.api.kinds.audit import first_version, second_version
from spectrum.api.paging import BAD_CURSOR, MOST_PER_PAGE, Page, by_cursor_after, cursor_of, key_of, page_query
from spectrum.store.audit import AuditEntry, AuditFilter
from spectrum.tasks import in_thread

router = APIRouter(tags=["Audit logs"])
BAD_TIME = 1002
MOST_EXPORTED = 10_000
# Limit of the paged entries: each page is read from the front.
MOST_PAGED = 50_000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/csv": {}}}}
_COLUMNS = ("when", "action", "result", "actor", "actor_ip", "resource_type", "resource_id", "old_value", "new_value")


@router.get("/accounts/{account_id}/audit_logs", responses=_FORMS)
async def list_first_version(
    call: Annotated[Call, InAccount("audit_logs")],
    page: Annotated[Page, Depends(page_query(100))],
    since: Annotated[str | None, Query()] = None,
    before: Annotated[str | None, Query()] = None,
    id_: Annotated[str, Query(alias="id")] = "",
    action: Annotated[str, Query(alias="action.type")] = "",
    address: Annotated[str, Query(alias="actor.ip")] = "",
    zone: Annotated[str, Query(alias="zone.name")] = "",
    direction: Annotated[Literal["asc", "desc"], Query()] = "desc",
    hide_user_logs: bool = False,
    export: bool = False,
) -> Response:
    """List changes of an account's objects, the latest first."""
    assert call.account is not None, "the path names one"
    wanted = AuditFilter(
        since=_time(since, "since"),
        before=_time(before, "before", ends=True),
        accounts=(call.account.id,),
        actions=(action,) if action else (),
        address=address,
        id=id_,
    )
    return await _first_version(call, wanted, page, zone, direction, hide_user_logs, export)


@router.get("/user/audit_logs", responses=_FORMS)
async def list_of_user(
    call: Annotated[Call, Anywhere],
    page: Annotated[Page, Depends(page_query(100))],
    since: Annotated[str | None, Query()] = None,
    before: Annotated[str | None, Query()] = None,
    direction: Annotated[Literal["asc", "desc"], Query()] = "desc",
    export: bool = False,
) -> Response:
    """List changes in the accounts whose audit log the caller may read."""
    accounts = None
    if not call.caller.may("audit_logs", False, ANY):
        may = call.caller.may
        accounts = tuple(one.id for one in call.catalogue.all("accounts") if may("audit_logs", False, one.name))
    wanted = AuditFilter(since=_time(since, "since"), before=_time(before, "before", ends=True), accounts=accounts)
    return await _first_version(call, wanted, page, "", direction, False, export)


async def _first_version(
    call: Call, wanted: AuditFilter, page: Page, zone: str, direction: str, hide_users: bool, export: bool
) -> Response:
    store, newest_first = call.context.store, direction == "desc"
    if export:
        entries = await in_thread(store.audit, wanted, MOST_EXPORTED, 0, newest_first)
        return Response(_csv(entries), media_type="text/csv")
    if page.number * page.per_page > MOST_PAGED:
        raise BodyFault(BAD_TIME, f"page: use `before` to go beyond {MOST_PAGED} entries")
    zones = {one.id for one in call.catalogue.all("zones") if zone and display_name(one) == zone}
    # Pages are read from the front; entries that are filtered here are not counted.
    entries = await in_thread(store.audit, wanted, page.number * page.per_page, 0, newest_first)
    found = [
        one for one in entries if (not zone or one.zone in zones) and not (hide_users and one.author.kind != "system")
    ]
    total = await in_thread(store.count_audit, wanted)
    part = [first_version(one) for one in page.slice(found)]
    return success(part, page.info(len(part), total))


def _csv(entries: Sequence[AuditEntry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for line in map(first_version, entries):
        action, actor, resource = line["action"], line["actor"], line["resource"]
        row = (line["when"], action["type"], action["result"], actor["email"], actor["ip"], resource["type"])
        writer.writerow([_plain(str(cell)) for cell in (*row, resource["id"], line["oldValue"], line["newValue"])])
    return text.getvalue()


def _plain(cell: str) -> str:
    """Return a cell that spreadsheets do not evaluate as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


@router.get("/accounts/{account_id}/logs/audit")
async def list_second_version(
    call: Annotated[Call, InAccount("audit_logs")],
    since: Annotated[str, Query(description="A date, or a time (RFC 3339).")],
    before: Annotated[str, Query(description="A date, or a time (RFC 3339).")],
    cursor: str = "",
    limit: Annotated[float, Query(ge=1, le=MOST_PER_PAGE)] = 100,
    direction: Literal["asc", "desc"] = "desc",
    action: Annotated[list[str] | None, Query(alias="action_type")] = None,
    resource: Annotated[list[str] | None, Query(alias="resource_type")] = None,
    resource_id: str = "",
    token_id: Annotated[str, Query(alias="actor_token_id")] = "",
    address: Annotated[str, Query(alias="actor_ip_address")] = "",
    id_: Annotated[str, Query(alias="audit_log_id")] = "",
    zone_id: str = "",
) -> Response:
    """List changes of an account's objects, the latest first; continue with `result_info.cursors.after`."""
    account = call.account
    assert account is not None, "the path names one"
    wanted = AuditFilter(
        since=_time(since, "since"),
        before=_time(before, "before", ends=True),
        accounts=(account.id,),
        actions=tuple(action or ()),
        sections=tuple(resource or ()),
        object_id=resource_id,
        author_id=token_id,
        address=address,
        id=id_,
    )
    entries = await in_thread(call.context.store.audit, wanted, int(limit) + 1, _number(cursor), direction == "desc")
    more, entries = len(entries) > int(limit), entries[: int(limit)]
    after = cursor_of(str(entries[-1].number)) if more else ""
    shown = [
        second_version(one, display_name(account), _zone_name(call, one))
        for one in entries
        if zone_id in ("", one.zone)
    ]
    return by_cursor_after(shown, after)


def _zone_name(call: Call, entry: AuditEntry) -> str:
    zone = call.catalogue.get("zones", entry.zone)
    return display_name(zone) if zone else ""


def _number(cursor: str) -> int:
    if not cursor:
        return 0
    key = key_of(cursor)
    if not (key.isascii() and key.isdecimal() and len(key) < 19):
        raise BodyFault(BAD_CURSOR, "cursor: not one of this API")
    return int(key)


def _time(text: str | None, name: str, ends: bool = False) -> float | None:
    """Return a time, or the begin of a day (for `before` its end), in seconds since 1970."""
    if text is None:
        return None
    try:
        if _DATE.fullmatch(text):
            at = datetime.combine(datetime.fromisoformat(text), time(), UTC)
            return (at + timedelta(days=1) if ends else at).timestamp()
        at = datetime.fromisoformat(text.replace(" ", "+"))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise BodyFault(BAD_TIME, f"{name}: write 2027-01-31 or 2027-01-31T00:00:00Z") from exc
