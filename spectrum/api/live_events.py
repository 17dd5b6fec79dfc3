"""The events of the stream of live figures. The descriptions of their keys are those in docs/api.md."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

Rate = float | None
Facts = Mapping[str, Any]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions and traffic. Rates are None in the first event."""

    open: Annotated[float, Meta(description="open sessions")]
    new: Annotated[Rate, Meta(description="new sessions per second; this and all other rates are `null` at first")]
    refused: Annotated[Rate, Meta(description="refused sessions per second")]
    failed: Annotated[Rate, Meta(description="failed sessions per second")]
    received: Annotated[Rate, Meta(description="bits per second from clients")] = msgspec.field(name="in")
    sent: Annotated[Rate, Meta(description="bits per second to clients")] = msgspec.field(name="out")
    dropped: Annotated[Rate, Meta(description="dropped datagrams per second")]


class AppFigures(Traffic, frozen=True, kw_only=True):
    """The figures of an app. The last three keys are there if it has a problem."""

    id: Annotated[str, Meta(description="the app's id")]
    name: Annotated[str, Meta(description="its name in the file")]
    zone: Annotated[str, Meta(description="the id of its zone; empty without one")]
    protocol: Annotated[str, Meta(description="what clients connect to, such as `tcp/22`")]
    severity: Annotated[str | UnsetType, Meta(description="only with a problem: `failed` or `degraded`")] = UNSET
    why: Annotated[str | UnsetType, Meta(description="only with a problem: the kind of its worst finding")] = UNSET
    facts: Annotated[Facts | UnsetType, Meta(description="only with a problem: the numbers and names of it")] = UNSET


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event of each second while the daemon answers."""

    at: Annotated[float, Meta(description="the time, in seconds since 1970")]
    node: Annotated[str, Meta(description="the node's name")]
    version: Annotated[str, Meta(description="the daemon's version")]
    revision: Annotated[int, Meta(description="the generation of the configuration that is served")]
    workers: Annotated[
        dict[str, int] | None,
        Meta(description="`{wanted, serving}`; `null` for callers that may not read diagnostics"),
    ]
    totals: Annotated[Traffic, Meta(description="all apps that the caller sees")]
    app_count: Annotated[int, Meta(description="the number of the account's apps")]
    apps: Annotated[list[AppFigures], Meta(description="at most 50 apps with problems, and the 50 with most traffic")]
    trouble: Annotated[
        dict[str, dict[str, int]],
        Meta(description="the number of findings, `{failed, degraded}`, by section of the file, or `node`"),
    ]
    findings: Annotated[
        list[dict[str, Any]],
        Meta(description="at most 20 [findings](dashboard.md#findings), the most severe first"),
    ]
    finding_count: Annotated[int, Meta(description="the number of all findings")]


class AwayEvent(msgspec.Struct, frozen=True):
    """The event while the daemon does not answer."""

    away: Annotated[str, Meta(description="the only key of an event while the daemon does not answer: the reason")]


def rated(rates: Iterable[float] | None) -> dict[str, Rate]:
    """Return the rates of `Traffic`.

    Args:
        rates: Sessions that started, were refused and failed, bytes from and to clients, and dropped datagrams, after
            one more, each per second; None in the first event.
    """
    if rates is None:
        return dict.fromkeys(("new", "refused", "failed", "received", "sent", "dropped"))
    _, started, refused, failed, received, sent, dropped = rates
    return {
        "new": round(max(0.0, started - refused), 3),
        "refused": round(refused, 3),
        "failed": round(failed, 3),
        "received": round(received * 8),
        "sent": round(sent * 8),
        "dropped": round(dropped, 3),
    }
