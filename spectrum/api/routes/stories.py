"""One client's story: all that is kept of it, from the journal; of an account's apps alone."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import ApiError, success
from spectrum.api.rates import TOO_MANY
from spectrum.api.routes.sessions import ask
from spectrum.core.analytics.event_rows import event_row

router = APIRouter(tags=["Sessions"])
_WAIT_S = 2


@router.get("/accounts/{account_id}/story")
async def tell_story(
    call: Annotated[Call, InAccount("analytics")],
    subject: Annotated[str, Query(description="A client's address, or the id of a session or of a record.")],
    since: Annotated[str, Query(description="30m for so long ago, 14:02, or 2026-11-26T14:02; in UTC.")] = "24h",
    until: str = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Tell what happened to a client or a session: refusals with their rule or limit, sessions with their end."""
    assert call.account is not None, "its path names one"
    asked = {"subject": subject, "since": since, "until": until, "limit": str(limit), "account": call.account.name}
    told = await ask(call, "GET", "/story", {key: value for key, value in asked.items() if value})
    if busy := told.get("busy"):
        raise ApiError(429, TOO_MANY, f"{busy}: please wait", headers={"retry-after": str(_WAIT_S)})
    return success(
        {
            "subject": subject,
            "source": "journal",
            "is_kept": told["is_kept"],
            "kept_since": min((one["since"] for one in told["searched"] if one["since"]), default=None),
            "rows": _rows(told["records"]),
            "several": _rows(told["of_several_clients"]),
            **{key: told[key] for key in ("omitted", "refused", "reasons", "notes")},
        }
    )


def _rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return records as rows of `events`."""
    rows = []
    for record in records:
        with suppress(ValueError):  # another program's, in the same folder
            rows.append(event_row(record))
    return rows
