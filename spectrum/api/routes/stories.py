"""The story of a client: all stored records at an account's apps, from the store of analytics or the journal."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.analytics.visible import visible_to
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.rates import TOO_MANY
from spectrum.api.routes.sessions import BAD_VALUE, ask
from spectrum.core.analytics.event_rows import event_row
from spectrum.core.analytics.question import ALL_COLUMNS, MAX_RAW_ROWS, Compare, Question, Sorting
from spectrum.core.records.story import parse_subject, parse_time

router = APIRouter(tags=["Sessions"])
_WAIT_S = 2


@router.get("/accounts/{account_id}/story")
async def tell_story(
    call: Annotated[Call, InAccount("analytics")],
    subject: Annotated[str, Query(description="A client's address, or the id of a session or of a record.")],
    since: Annotated[str, Query(description="30m before now, 14:02, or 2026-11-26T14:02; in UTC.")] = "24h",
    until: str = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Tell the story of a client or session: refusals with their rule or limit, sessions with their end."""
    if call.context.asking.service.store is not None:
        told = await _from_store(call, subject, since, until, limit)
        return success(told | {"ids": _ids(call, told["rows"])})
    assert call.account is not None, "the path names one"
    asked = {"subject": subject, "since": since, "until": until, "limit": str(limit), "account": call.account.name}
    told = await ask(call, "GET", "/story", {key: value for key, value in asked.items() if value})
    if busy := told.get("busy"):
        raise ApiError(429, TOO_MANY, f"{busy}: please wait", headers={"retry-after": str(_WAIT_S)})
    rows = _rows(told["records"])
    return success(
        {
            "subject": subject,
            "source": "journal",
            "is_kept": told["is_kept"],
            "kept_since": min((one["since"] for one in told["searched"] if one["since"]), default=None),
            "rows": rows,
            "several": _rows(told["of_several_clients"]),
            **{key: told[key] for key in ("omitted", "refused", "reasons", "notes")},
            "ids": _ids(call, rows),
        }
    )


def _ids(call: Call, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the ids of apps and access rules that rows name, where the account still has them."""
    found: dict[str, dict[str, str]] = {"apps": {}, "access_rules": {}}
    for row in rows:
        for section, name in (("apps", row["app"]), ("access_rules", row["access_rule"])):
            one = call.catalogue.named(section, name) if name else None
            if one is not None and call.object(section, one.id) is not None:
                found[section][name] = one.id
    return found


async def _from_store(call: Call, subject: str, since: str, until: str, limit: int) -> dict[str, Any]:
    """Return the same from the store of analytics, which covers more time; the subject may be a prefix."""
    now = datetime.now(UTC)
    try:
        where, is_client = _subject(subject)
        begin, end = parse_time(since, now), parse_time(until, now) if until else now + timedelta(seconds=1)
    except ValueError as exc:
        raise BodyFault(BAD_VALUE, str(exc)) from exc
    asked = Question(
        "events",
        (),
        (ALL_COLUMNS,),
        begin.timestamp(),
        end.timestamp(),
        where=where,
        order=(Sorting("time", True),),
        limit=min(limit, MAX_RAW_ROWS),
        visible=visible_to(call),
    )
    found = await call.ask(asked)
    rows = [dict(zip(found.columns, row, strict=True)) for row in reversed(found.rows)]
    first = await call.ask(replace(asked, since=0.0, order=(Sorting("time"),), limit=1)) if is_client else None
    counts = await call.ask(
        replace(asked, metrics=("sessions", "refused"), dimensions=("reason",), order=(), limit=100)
    )
    reasons = {str(reason): int(sessions) for reason, sessions, _ in counts.rows if sessions}
    return {
        "subject": subject,
        "source": "analytics",
        "is_kept": True,
        "kept_since": None,
        "first_seen": first.rows[0][first.columns.index("time")] if first and first.rows else None,
        "rows": rows,
        "several": [],
        "omitted": max(0, found.groups - len(rows)),
        "refused": int(counts.totals.get("refused", 0)),
        "reasons": reasons,
        "notes": [found.partial] if found.partial else [],
    }


def _subject(text: str) -> tuple[Compare, bool]:
    """Return the condition of a subject's rows, and whether the subject is a client.

    Raises:
        ValueError: If the text is not a subject.
    """
    if "/" in text:
        with suppress(ValueError):
            return Compare("client_ip", "prefix", (str(ip_network(text, strict=False)),)), True
    subject = parse_subject(text)
    match subject.kind:
        case "client":
            return Compare("client_ip", "=", (subject.text,)), True
        case "session":
            return Compare("session", "=", (subject.text,)), False
    raise ValueError(f'"{text}" is the id of a record: use that of its session')


def _rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return records as rows of `events`."""
    rows = []
    for record in records:
        with suppress(ValueError):  # a record of another program in the same folder
            rows.append(event_row(record))
    return rows
