"""Reports: what was carried in a time, what went wrong, and what to do, in sentences."""

import socket
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.analytics.reporting import ReportSubject, facts_of
from spectrum.api.analytics.times import instant
from spectrum.api.analytics.visible import visible_to
from spectrum.api.envelope import INTERNAL_ERROR, ApiError, BodyFault, success
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
    """Make a report of a time: headline, figures against the time before, busiest apps, outages, what to do."""
    begin, end = times_of(since, until, time.time())
    made = report(await facts_of(call.ask, subject_of(call), begin, end))
    return success(made) if form == "json" else Response(await in_thread(printed, made), media_type="application/pdf")


def printed(made: Mapping[str, Any]) -> bytes:
    """Return a report as a PDF.

    Raises:
        ApiError: If there is no library for it.
    """
    try:
        from spectrum.analytics.paper import pdf  # most processes make none
    except ImportError as exc:
        message = "A PDF needs reportlab: pip install 'spectrum-edge[analytics]'"
        raise ApiError(501, INTERNAL_ERROR, message) from exc
    return pdf(made)


def times_of(since: str, until: str, now: float) -> tuple[float, float]:
    """Return the time of a report: as asked, otherwise the last seven whole days in UTC.

    Raises:
        BodyFault: If it is none, or too long.
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
    """Return whose report an account's is."""
    assert call.account is not None, "its path names one"
    pools = {
        pool.name: [
            str(origin.get("name", "")) for origin in pool.value.get("origins", ()) if origin.get("enabled", True)
        ]
        for pool in call.objects("pools")
    }
    is_alone = len(call.catalogue.all("accounts")) == 1
    return ReportSubject(socket.gethostname() if is_alone else display_name(call.account), pools, visible_to(call))
