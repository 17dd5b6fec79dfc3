"""The data of a report, from the store: sums over roll-ups, and changes of health."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from spectrum.api.envelope import INTERNAL_ERROR, ApiError
from spectrum.core.analytics.outages import HealthChange
from spectrum.core.analytics.question import MAX_RAW_ROWS, Compare, Question, ResultTable, Sorting, Visible
from spectrum.core.analytics.report import DAY_S, AttackSums, Failures, Refusals, ReportFacts, Volume
from spectrum.store.objects import StoredObject

# An origin that is down at the begin of the report went down within this time before it.
BEFORE_S = 30 * DAY_S
MOST_ROWS = 50
_SUMS = ("sessions", "refused", "failed", "bytesIngress", "bytesEgress")
Ask = Callable[[Question], Awaitable[ResultTable]]


@dataclass(frozen=True)
class ReportSubject:
    """The subject of a report.

    Attributes:
        node: The node's name.
        pools: The names of the origins of each pool.
        visible: The visible rows; None for all.
    """

    node: str
    pools: Mapping[str, Sequence[str]]
    visible: Visible | None


async def facts_of(
    ask: Ask, subject: ReportSubject, since: float, until: float, clock: Callable[[], float] = time.time
) -> ReportFacts:
    """Return the data of a report, and that of the period before.

    Args:
        ask: Answers a question.
        subject: The subject of the report.
        since, until: Seconds since 1970.
        clock: Returns the time.

    Raises:
        ApiError: If the store cannot answer.
    """
    length = until - since
    base = Question("events", _SUMS, (), since, until, limit=1, visible=subject.visible)
    earlier = replace(base, since=since - length, until=since)
    total, before = await ask(base), await ask(earlier)
    has_days = length > 1.5 * DAY_S
    days = await ask(replace(base, bucket=int(DAY_S))) if has_days else None
    days_before = await ask(replace(earlier, bucket=int(DAY_S))) if has_days else None
    of_apps = replace(
        base,
        metrics=(*_SUMS, "connect99th"),
        dimensions=("app",),
        limit=MOST_ROWS,
        order=(Sorting("bytesEgress", True),),
    )
    apps = await ask(of_apps)
    names = tuple((row[0],) for row in apps.rows)
    apps_before = await ask(replace(earlier, dimensions=("app",), limit=MOST_ROWS, groups=names)) if names else None
    refusals = await ask(_outcome(base, "refused", ("app", "reason")))
    failures = await ask(_outcome(base, "failed", ("origin", "reason")))
    health = await ask(
        Question("health", (), ("*",), since - BEFORE_S, until, limit=MAX_RAW_ROWS, visible=subject.visible)
    )
    of_attacks = Question(
        "attacks",
        ("droppedPackets", "attacks", "bitRate"),
        ("app", "vector"),
        since,
        until,
        limit=MOST_ROWS,
        visible=subject.visible,
    )
    attacks = await ask(of_attacks)
    attacks_before = await ask(replace(of_attacks, since=since - length, until=since))
    changes = await ask(Question("changes", ("count",), (), since, until, limit=1)) if subject.visible is None else None
    asked = (total, before, days, days_before, apps, apps_before, refusals, failures, health, changes)
    missing = [
        f"The report is incomplete: {one}." for one in dict.fromkeys(a.partial for a in asked if a and a.partial)
    ]
    if len(health.rows) >= MAX_RAW_ROWS:
        missing.append(f"Only the last {MAX_RAW_ROWS} changes of health are included.")
    volume = _volume(total)
    return ReportFacts(
        subject.node,
        since,
        until,
        clock(),
        replace(volume, clients=await _clients(ask, base)),
        replace(_volume(before), clients=await _clients(ask, earlier)),
        _days(days),
        _days(days_before),
        _apps(apps),
        {one.name: one for one in _apps(apps_before)},
        await _refusals(ask, base, refusals),
        [Failures(str(origin), str(reason), int(count)) for origin, reason, count in failures.rows],
        _health(health),
        subject.pools,
        int(changes.totals.get("count", 0)) if changes else 0,
        total.rows_read,
        missing,
        _attacks(attacks),
        _attacks(attacks_before),
        _all_attacks(attacks),
        _all_attacks(attacks_before),
    )


def printed(made: Mapping[str, Any]) -> bytes:
    """Return a report as a PDF.

    Raises:
        ApiError: If the library for PDFs is not installed.
    """
    try:
        from spectrum.analytics.paper import pdf  # most processes make none
    except ImportError as exc:
        message = f"A PDF needs reportlab ({exc}): pip install 'spectrum-edge[analytics]'"
        raise ApiError(501, INTERNAL_ERROR, message) from exc
    return pdf(made)


def load_printer() -> None:
    """Import the PDF library, where it is installed: after its confinement, the process may not be able to read it."""
    with suppress(ImportError):
        import_module("spectrum.analytics.paper").load()


def pools_of(objects: Iterable[StoredObject]) -> dict[str, list[str]]:
    """Return the names of the enabled origins, by pool."""
    return {
        pool.name: [str(one.get("name", "")) for one in pool.value.get("origins", ()) if one.get("enabled", True)]
        for pool in objects
    }


def _outcome(base: Question, outcome: str, dimensions: tuple[str, ...]) -> Question:
    where = Compare("outcome", "=", (outcome,))
    return replace(base, metrics=("sessions",), dimensions=dimensions, where=where, limit=MOST_ROWS)


async def _clients(ask: Ask, base: Question) -> int:
    """Return the number of different clients; 0 where single records of that time are not kept any more."""
    try:
        found = await ask(replace(base, metrics=("clients",)))
    except ApiError:
        return 0
    return 0 if found.partial else int(found.totals.get("clients", 0))


async def _refusals(ask: Ask, base: Question, found: ResultTable) -> list[Refusals]:
    """Return refusals; those by access rules with their rule, where single records are kept."""
    rules: dict[tuple[str, str], tuple[str, int]] = {}
    try:
        named = await ask(_outcome(base, "refused", ("app", "reason", "access_rule")))
    except ApiError:
        named = None
    for app, reason, rule, count in named.rows if named else ():
        if rule and count > rules.get((app, reason), ("", 0))[1]:
            rules[app, reason] = (str(rule), count)
    return [
        Refusals(str(app), str(reason), rules.get((app, reason), ("", 0))[0], int(count))
        for app, reason, count in found.rows
    ]


def _volume(found: ResultTable) -> Volume:
    return _of_sums([found.totals.get(name, 0) for name in _SUMS])


def _of_sums(sums: Sequence[Any], name: str = "", start: float = 0.0, connect_ms: float | None = None) -> Volume:
    sessions, refused, failed, bytes_in, bytes_out = (int(value or 0) for value in sums)
    return Volume(name, start, sessions, refused, failed, bytes_in, bytes_out, 0, connect_ms)


def _days(found: ResultTable | None) -> list[Volume]:
    return [_of_sums(sums, start=float(start)) for start, *sums in found.rows] if found else []


def _apps(found: ResultTable | None) -> list[Volume]:
    volumes = []
    for app, *sums in found.rows if found else ():
        connect = sums[len(_SUMS)] if len(sums) > len(_SUMS) else None
        volumes.append(_of_sums(sums[: len(_SUMS)], str(app), connect_ms=connect))
    return sorted(volumes, key=lambda one: -one.carried)


def _health(found: ResultTable) -> list[HealthChange]:
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return [
        HealthChange(float(row["time"]), row["event"], row["origin"], bool(row["healthy"]), row["reason"])
        for row in rows
    ]


def _attacks(found: ResultTable) -> list[AttackSums]:
    return [AttackSums(str(app), str(vector), int(n), int(off), int(bits)) for app, vector, off, n, bits in found.rows]


def _all_attacks(found: ResultTable) -> AttackSums:
    attacks, dropped, bits = (int(found.totals.get(name) or 0) for name in ("attacks", "droppedPackets", "bitRate"))
    return AttackSums("", "", attacks, dropped, bits)
