"""A report for people: traffic and failures of a period, compared with the period before, in sentences. It adapts to
the data: a quiet week is one line, and sections without content are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spectrum.core.analytics.figures import (
    NB,
    amount,
    change,
    count,
    date,
    dates,
    length,
    listed,
    several,
    share,
    weekday,
)
from spectrum.core.analytics.outages import HealthChange, Outage, PoolAvailability, availability, outages

DAY_S = 86400
# Rows of a table; the full list is available by questions.
MOST_APPS, MOST_REFUSALS, MOST_OUTAGES, MOST_TO_DO = 8, 6, 12, 5
# The share of an app's sessions whose failure is worth a line.
FAILING, FAILING_SESSIONS = 0.01, 20
# A smaller change is not reported.
SAME = 0.005


@dataclass(frozen=True, slots=True)
class Volume:
    """The traffic of a period, or of an app in it.

    Attributes:
        name: The app's name; empty for all.
        start: Begin of the period; seconds since 1970.
        sessions: Sessions that ended, or were refused.
        refused, failed: Numbers of these.
        bytes_in, bytes_out: From clients, and from origins.
        clients: The number of distinct clients.
        connect_ms: The time to connect, 99th percentile; None without measurements.
    """

    name: str = ""
    start: float = 0.0
    sessions: int = 0
    refused: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    clients: int = 0
    connect_ms: float | None = None

    @property
    def carried(self) -> int:
        """Bytes in both directions."""
        return self.bytes_in + self.bytes_out

    @property
    def served(self) -> int:
        """Sessions that were not refused."""
        return max(self.sessions - self.refused, 0)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals for one reason: the app, the rule, the number of clients."""

    app: str
    reason: str
    rule: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Failures:
    """Sessions that failed at an origin for one reason."""

    origin: str
    reason: str
    sessions: int


@dataclass(frozen=True, slots=True)
class AttackSums:
    """Attacks of one kind on one app, or all of a period.

    Attributes:
        app: Its name; empty for addresses without an app.
        vector: The kind.
        attacks: The number of attacks. An attack of several kinds counts for each, and once in total.
        dropped: Packets that were dropped.
        bits_per_second: The highest rate of any of them.
    """

    app: str = ""
    vector: str = ""
    attacks: int = 0
    dropped: int = 0
    bits_per_second: int = 0

    @property
    def where(self) -> str:
        """The app, in a sentence."""
        return self.app or "addresses of no app"


@dataclass(frozen=True)
class ReportFacts:
    """The data of a report.

    Attributes:
        node: The name of the node.
        since, until: The period; seconds since 1970.
        made_at: When the report was made.
        total, before: Its traffic, and that of the period before.
        days, days_before: The same by day.
        apps: By app, the busiest first.
        apps_before: The same for the period before, by name.
        refusals: The most frequent first.
        failures: The most frequent first.
        health: Changes of health, including earlier ones.
        pools: The names of the origins of each pool.
        changes: The number of configurations served.
        events: The number of records behind the figures.
        missing: What is missing in them.
        attacks: By vector and app, the largest first.
        attacks_before: The same of the time before.
        all_attacks: All together.
        all_attacks_before: The same of the time before.
    """

    node: str
    since: float
    until: float
    made_at: float
    total: Volume
    before: Volume
    days: Sequence[Volume] = ()
    days_before: Sequence[Volume] = ()
    apps: Sequence[Volume] = ()
    apps_before: Mapping[str, Volume] = field(default_factory=dict)
    refusals: Sequence[Refusals] = ()
    failures: Sequence[Failures] = ()
    health: Sequence[HealthChange] = ()
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    changes: int = 0
    events: int = 0
    missing: Sequence[str] = ()
    attacks: Sequence[AttackSums] = ()
    attacks_before: Sequence[AttackSums] = ()
    all_attacks: AttackSums = AttackSums()
    all_attacks_before: AttackSums = AttackSums()

    @property
    def is_empty(self) -> bool:
        """Whether there was no traffic."""
        return not self.total.sessions and not self.all_attacks.attacks


Table = dict[str, Any]


def report(facts: ReportFacts) -> dict[str, Any]:
    """Return the report: texts and numbers, as the page and the printed form show them."""
    found = outages(facts.health, facts.since, facts.until)
    pools = availability(facts.pools, found, facts.since, facts.until)
    sections = [
        _traffic(facts),
        _refusals(facts),
        _attacks(facts),
        _outages(facts, found),
        _availability(pools),
        _apps(facts),
        _failures(facts),
    ]
    return {
        "node": facts.node,
        "since": facts.since,
        "until": facts.until,
        "made_at": facts.made_at,
        "is_empty": facts.is_empty and not found,
        "subtitle": f"{facts.node}, {dates(facts.since, facts.until)}, UTC",
        "headline": headline(facts, found, pools),
        "paragraph": paragraph(facts, found, pools),
        "figures": [] if facts.is_empty else _figures(facts, found),
        "sections": [one for one in sections if one is not None],
        "to_do": to_do(facts, found, pools),
        "footer": _footer(facts),
    }


def period_words(facts: ReportFacts) -> str:
    """Return the name of the period before."""
    days = round((facts.until - facts.since) / DAY_S)
    return {1: "day before", 7: "week before"}.get(days, f"{days} days before" if days > 1 else "time before")


def headline(facts: ReportFacts, found: Sequence[Outage], pools: Sequence[PoolAvailability]) -> str:
    """Return the headline: the most important fact."""
    if facts.is_empty and not found:
        return "Nothing was carried"
    parts, attacks = [], facts.all_attacks
    if attacks.attacks:
        up_to = f" of up to {amount(attacks.bits_per_second, 'bit/s')}" if attacks.bits_per_second else ""
        parts.append(f"{several(attacks.attacks, 'attack')}{up_to}")
    if facts.total.refused:
        parts.append(f"{count(facts.total.refused)} {'session' if facts.total.refused == 1 else 'sessions'} kept out")
    lost = {one.origin for one in found}
    if lost:
        parts.append(f"{several(len(lost), 'origin')} lost")
        out = [one for one in pools if one.unavailable]
        # In order of severity.
        parts.append(
            f"{listed([one.pool for one in out])} unavailable for {length(max(one.unavailable for one in out))}"
            if out
            else "no pool unavailable"
        )
    elif _is_failing(facts.total):
        parts.append(f"{share(facts.total.failed, facts.total.served)} of sessions failed")
    else:
        parts.append("every origin up" if facts.pools else "no trouble")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def paragraph(facts: ReportFacts, found: Sequence[Outage], pools: Sequence[PoolAvailability]) -> str:
    """Return the report in one paragraph."""
    total, before = facts.total, facts.before
    if not total.sessions:
        return " ".join(["No session ended in this time.", *_attacked(facts), *_lost(facts, found, pools)])
    sentences = [
        f"The edge carried {amount(total.carried, 'B')} in {count(total.served)} sessions"
        f"{_against(facts, total.carried, before.carried)}."
    ]
    sentences += _attacked(facts)
    if total.refused:
        sentences.append(_kept_out(facts))
    sentences += _lost(facts, found, pools)
    if total.failed:
        where = f", most of them at {facts.failures[0].origin or 'no origin'}" if len(facts.failures) > 1 else ""
        sentences.append(f"{_some(total.failed, 'session')} failed ({share(total.failed, total.served)}){where}.")
    else:
        sentences.append("No session failed.")
    return " ".join(sentences)


def _some(number: int, noun: str) -> str:
    text = several(number, noun)
    return text[:1].upper() + text[1:]


def _against(facts: ReportFacts, now: float, before: float) -> str:
    if not before:
        return ""
    if abs(now - before) < SAME * before:
        return f", as much as the {period_words(facts)}"
    if now >= 3 * before:
        return f", {change(now, before)} the {period_words(facts)}"
    told = change(now, before).lstrip("+−")
    return f", {told} {'more' if now > before else 'less'} than the {period_words(facts)}"


def _attacked(facts: ReportFacts) -> list[str]:
    """Return one or two sentences about attacks."""
    attacks, before = facts.all_attacks, facts.all_attacks_before
    if not attacks.attacks:
        return []
    against = _against(facts, attacks.attacks, before.attacks) or f", and none in the {period_words(facts)}"
    often = max(facts.attacks, key=lambda one: one.attacks, default=None)
    most = f", most often {often.vector} at {often.where}" if often is not None else ""
    off = f"{count(attacks.dropped)} packets were kept off" if attacks.dropped else "no packets were dropped"
    return [f"{_some(attacks.attacks, 'attack')} came{most}{against}; {off}."]


def _kept_out(facts: ReportFacts) -> str:
    total = facts.total
    text = f"{_some(total.refused, 'session')} {'was' if total.refused == 1 else 'were'} refused"
    if not facts.refusals:
        return f"{text}."
    first = facts.refusals[0]
    by = f"by rule {first.rule}" if first.rule else f"for {first.reason}"
    part = "" if first.sessions >= total.refused else f", {share(first.sessions, total.refused)} of them"
    return f"{text}{part} {by} at {first.app}."


def _lost(facts: ReportFacts, found: Sequence[Outage], pools: Sequence[PoolAvailability]) -> list[str]:
    """Return a sentence for each of the worst outages, and a summary."""
    sentences = []
    for one in sorted(found, key=lambda one: (not one.goes_on, -one.length))[:2]:
        why = f" ({one.reason})" if one.reason else ""
        if one.goes_on:
            sentences.append(f"Origin {one.name} of {one.pool} has been down since {weekday(one.since)}{why}.")
        else:
            sentences.append(
                f"Origin {one.name} of {one.pool} was down for {length(one.length)}, from {weekday(one.since)}{why}."
            )
    out = [one for one in pools if one.unavailable]
    if found and not out:
        sentences.append(
            "Others served in its place."
            if len({one.origin for one in found}) == 1
            else "Others served in their place."
        )
    sentences += [f"Pool {one.pool} had no origin for {length(one.unavailable)}." for one in out[:2]]
    return sentences


def _is_failing(volume: Volume) -> bool:
    return volume.failed >= FAILING_SESSIONS and volume.failed > FAILING * volume.served


def _figures(facts: ReportFacts, found: Sequence[Outage]) -> list[dict[str, str]]:
    total, before = facts.total, facts.before
    attacks, attacks_before = facts.all_attacks, facts.all_attacks_before
    than = f"on the {period_words(facts)}"
    worst = max(facts.days, key=lambda day: day.failed, default=None)
    failed = [count(total.failed)]
    if worst is not None and worst.failed and len(facts.days) > 1:
        some = "all" if worst.failed == total.failed else f"{count(worst.failed)} of them"
        failed.append(f"{some} on {weekday(worst.start).split()[0]}")
    figures = [
        ("Carried", amount(total.carried, "B"), _note(change(total.carried, before.carried), than)),
        ("Sessions", count(total.served), _note(change(total.served, before.served), than)),
        ("Failed sessions", share(total.failed, total.served), "; ".join(failed)),
        ("Attacks", count(attacks.attacks), _note(change(attacks.attacks, attacks_before.attacks), than)),
        ("Refused", count(total.refused), _note(change(total.refused, before.refused), than)),
        ("Clients", count(total.clients), _note(change(total.clients, before.clients), than)),
    ]
    if found:
        origins = {one.origin for one in found}
        figures.append(("Origins lost", str(len(origins)), f"for {length(sum(one.length for one in found))} together"))
    # Four fit into a line; attacks, refusals and losses are more important than the number of clients.
    none = {"Refused": not total.refused, "Attacks": not attacks.attacks}
    told = [one for one in figures if not none.get(one[0])]
    return [{"label": label, "value": value, "note": note} for label, value, note in told[:4]]


def _note(text: str, than: str) -> str:
    return f"{text} {than}" if text else "nothing to compare with"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], lede: str = "") -> Table | None:
    """Return a table; None without rows. The name of a numeric column ends in `>`."""
    if not rows:
        return None
    heads = [{"label": name.rstrip(">"), "align": "right" if name.endswith(">") else "left"} for name in columns]
    return {"kind": "table", "title": title, "lede": lede, "columns": heads, "rows": [list(row) for row in rows]}


def _traffic(facts: ReportFacts) -> dict[str, Any] | None:
    if len(facts.days) < 2:
        return None
    before = {round((one.start - facts.since) / DAY_S): one.carried for one in facts.days_before}
    shift = round((facts.until - facts.since) / DAY_S)
    days = [
        {
            "start": day.start,
            "label": weekday(day.start)[:3],
            "carried": day.carried,
            "refused": day.refused,
            "failed": day.failed,
            "sessions": day.served,
            "before": before.get(round((day.start - facts.since) / DAY_S) - shift),
        }
        for day in facts.days
    ]
    return {"kind": "days", "title": "Traffic per day", "before": f"the {period_words(facts)}", "days": days}


def _refusals(facts: ReportFacts) -> Table | None:
    rows = [(one.app, one.rule or "", one.reason, count(one.sessions)) for one in facts.refusals[:MOST_REFUSALS]]
    return _table("Kept out", ("App", "Rule", "Reason", "Sessions>"), rows)


def _attacks(facts: ReportFacts) -> Table | None:
    earlier = {(one.app, one.vector): one for one in facts.attacks_before}
    rows = []
    for one in facts.attacks[:MOST_REFUSALS]:
        before = earlier.get((one.app, one.vector))
        rows.append(
            (
                one.vector,
                one.app or "no app",
                count(one.attacks),
                change(one.attacks, before.attacks) if before else "new",
                amount(one.bits_per_second, "bit/s"),
                change(one.bits_per_second, before.bits_per_second) if before else "new",
                count(one.dropped),
            )
        )
    lede = f"In the {period_words(facts)}: {_told_attacks(facts.all_attacks_before)}."
    heads = ("Attack", "App", "How many>", "Change>", "Highest rate>", "Change>", "Packets dropped>")
    return _table("Attacks", heads, rows, lede)


def _told_attacks(sums: AttackSums) -> str:
    text = several(sums.attacks, "attack")
    return f"{text}, {count(sums.dropped)} packets dropped" if sums.attacks else text


def _outages(facts: ReportFacts, found: Sequence[Outage]) -> Table | None:
    by_origin: dict[str, int] = {}
    for one in facts.failures:
        by_origin[one.origin] = by_origin.get(one.origin, 0) + one.sessions
    rows = [
        (
            one.origin,
            weekday(one.since),
            "ongoing" if one.goes_on else weekday(one.until),
            one.reason,
            length(one.length),
            count(by_origin.get(one.origin, 0)),
        )
        for one in sorted(found, key=lambda one: -one.length)[:MOST_OUTAGES]
    ]
    rest = len(found) - len(rows)
    lede = f"The {len(rows)} longest of {len(found)}." if rest > 0 else ""
    return _table(
        "Outages of origins",
        ("Origin", "Down since", "Until", "Why", "Down for>", "Sessions failed there>"),
        rows,
        lede,
    )


def _availability(pools: Sequence[PoolAvailability]) -> Table | None:
    rows = [
        (
            one.pool,
            _available(one.available),
            f"{one.up:.2f} of {one.origins}",
            f"{one.worst}, {_available(one.worst_up)}" if one.worst else "",
            (length(one.down) if one.down else f"0{NB}s") + (", ongoing" if one.goes_on else ""),
        )
        for one in pools
    ]
    if not any(one.down for one in pools):
        return None
    lede = "A pool is available while at least one of its origins takes sessions."
    lede += " Every pool was." if not any(one.unavailable for one in pools) else ""
    return _table("Availability", ("Pool", "Available>", "Origins up, mean>", "Worst", "Down for>"), rows, lede)


def _available(part: float) -> str:
    """Return a share, 100 % only if exact."""
    if part >= 1:
        return f"100{NB}%"
    return f"{min(100 * part, 99.99):.2f}{NB}%" if part >= 0.99 else f"{100 * part:.1f}{NB}%"


def _apps(facts: ReportFacts) -> Table | None:
    rows = []
    for one in facts.apps[:MOST_APPS]:
        earlier = facts.apps_before.get(one.name)
        connect = length(one.connect_ms / 1000) if one.connect_ms is not None else ""
        rows.append(
            (
                one.name,
                amount(one.carried, "B"),
                change(one.carried, earlier.carried) if earlier else "new",
                count(one.served),
                share(one.failed, one.served),
                connect,
            )
        )
    heads = ("App", "Carried>", "Change>", "Sessions>", "Failed>", "Time to connect, 99th>")
    return _table("Busiest apps", heads, rows)


def _failures(facts: ReportFacts) -> Table | None:
    rows = [(one.origin or "no origin", one.reason, count(one.sessions)) for one in facts.failures[:MOST_REFUSALS]]
    return _table("Why sessions failed", ("Origin", "Reason", "Sessions>"), rows)


def to_do(facts: ReportFacts, found: Sequence[Outage], pools: Sequence[PoolAvailability]) -> list[str]:
    """Return recommended actions, the most urgent first."""
    texts = []
    by_name = {one.pool: one for one in pools}
    for one in (one for one in found if one.goes_on):
        pool = by_name.get(one.pool)
        left = pool.origins - sum(1 for other in found if other.goes_on and other.pool == one.pool) if pool else 0
        rest = f": {several(left, 'origin is', 'origins are')} left" if pool else ""
        texts.append(f"Repair {one.name}, or remove it from pool {one.pool}{rest}.")
    texts += [
        f"Give pool {pool.pool} a second origin: it has only one, and was unavailable without it."
        for pool in pools
        if pool.unavailable and pool.origins == 1
    ]
    often: dict[str, int] = {}
    for one in found:
        often[one.origin] = often.get(one.origin, 0) + 1
    texts += [f"Find out why {name} went down {number} times." for name, number in often.items() if number > 2]
    texts += [
        f"Check {one.name}: {share(one.failed, one.served)} of its sessions failed."
        for one in facts.apps
        if _is_failing(one)
    ]
    texts += [
        f"Find out why no packets of {one.vector} at {one.where} were dropped: the attacks page has the reason."
        for one in facts.attacks
        if not one.dropped
    ]
    return texts[:MOST_TO_DO]


def _footer(facts: ReportFacts) -> str:
    made = f"{date(facts.made_at)}, {weekday(facts.made_at).split()[1]} UTC"
    changed = (
        f" {_some(facts.changes, 'configuration')} {'was' if facts.changes == 1 else 'were'} served in this time."
        if facts.changes
        else ""
    )
    return " ".join([f"Made on {made}, from {count(facts.events)} events.{changed}", *facts.missing])
