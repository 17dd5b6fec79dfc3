"""Reports of a time: traffic, problems, and recommendations, in sentences."""

import socket
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount, no_such
from spectrum.api.analytics.reporting import ReportSubject, facts_of, pools_of, printed
from spectrum.api.analytics.times import instant
from spectrum.api.analytics.visible import visible_to
from spectrum.api.analytics.weekly import names_in
from spectrum.api.caller import ANY
from spectrum.api.envelope import BodyFault, success
from spectrum.api.kinds.accounts import display_name
from spectrum.core.analytics.report import DAY_S, report
from spectrum.tasks import in_thread

router = APIRouter(tags=["Reports"])
BAD_VALUE = 1002
LONGEST_S = 400 * DAY_S
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "application/pdf": {}}}}


@router.get("/accounts/{account_id}/report", responses=_FORMS)
async def get_report(
    call: Annotated[Call, InAccount("analytics")],
    since: Annotated[
        str, Query(description="RFC 3339, or seconds since 1970; 7 days before `until` if left out.")
    ] = "",
    until: Annotated[str, Query(description="The end; midnight before now in UTC if left out.")] = "",
    form: Annotated[Literal["json", "pdf"], Query(alias="format")] = "json",
) -> Response:
    """Make a report of a time: headline, figures compared with the time before, busiest apps, outages, advice."""
    begin, end = times_of(since, until, time.time())
    made = report(await facts_of(call.ask, subject_of(call), begin, end))
    return success(made) if form == "json" else Response(await in_thread(printed, made), media_type="application/pdf")


@router.get("/accounts/{account_id}/reports")
async def list_reports(call: Annotated[Call, InAccount("analytics")]) -> Response:
    """List the stored weekly reports, which cover all accounts: for callers who may read everything."""
    folder = _folder(call)
    names = await in_thread(names_in, folder) if folder is not None else []
    return success([{"until": name} for name in names])


@router.get("/accounts/{account_id}/reports/{until}", responses=_FORMS)
async def get_kept_report(call: Annotated[Call, InAccount("analytics")], until: str) -> Response:
    """Return the weekly report that ends at a day, as PDF."""
    folder = _folder(call)
    if folder is None or until not in await in_thread(names_in, folder):
        raise no_such(call.request)
    return Response(await in_thread((folder / f"{until}.pdf").read_bytes), media_type="application/pdf")


def _folder(call: Call) -> Path | None:
    return call.context.weekly.folder if call.caller.may("analytics", False, ANY) else None


def times_of(since: str, until: str, now: float) -> tuple[float, float]:
    """Return the time of a report: as requested, by default the last seven whole days in UTC.

    Raises:
        BodyFault: If it is invalid, or too long.
    """
    times = {}
    for name, text in (("until", until), ("since", since)):
        try:
            times[name] = instant(text) if text else None
        except ValueError as exc:
            raise BodyFault(BAD_VALUE, f"{name}: {exc}") from exc
    end = times["until"] if times["until"] is not None else now // DAY_S * DAY_S
    begin = times["since"] if times["since"] is not None else end - 7 * DAY_S
    if not 0 < end - begin <= LONGEST_S:
        raise BodyFault(BAD_VALUE, f"since: before until, by {LONGEST_S / DAY_S:.0f} days at most")
    return begin, end


def subject_of(call: Call) -> ReportSubject:
    """Return the subject of an account's report."""
    assert call.account is not None, "the path names one"
    is_alone = len(call.catalogue.all("accounts")) == 1
    name = socket.gethostname() if is_alone else display_name(call.account)
    return ReportSubject(name, pools_of(call.objects("pools")), visible_to(call))
