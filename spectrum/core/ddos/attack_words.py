"""Attacks as text: for the log, `spectrum ddos`, and records."""

from collections.abc import Iterator, Sequence

from spectrum.core.analytics import figures
from spectrum.core.analytics.figures import NB, amount
from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackRule

_ACTIONS = {
    "block": "is dropped",
    "limit": "is limited to {limit} together",
    "source-limit": "is limited to {limit} per source",
    "cookie": "is answered with SYN cookies, and passes after the client has answered one",
    "retry": "is dropped when first sent, and passes when retransmitted",
    "log": "passes, and is counted",
    "none": "passes",
}


def scaled(number: float, unit: str) -> str:
    """Return a number in three digits: `1.25 Mbit/s`. Spaces are plain ones, here and below, so that logs can be
    searched.
    """
    return amount(number, unit).replace(NB, " ")


def share(part: float) -> str:
    """Return a share in percent."""
    return figures.share(part, 1).replace(NB, " ")


def lasting(seconds: float) -> str:
    """Return a duration: `1 h 2 min`, `230 ms`."""
    return figures.length(seconds).replace(NB, " ")


def sources_text(attack: Attack) -> str:
    """Return the number of sources as text."""
    return "too many sources to count" if attack.sources is None else f"about {attack.sources:,} sources"


def event_text(event: AttackEvent) -> str:
    """Return the line of the log for the begin, a change or the end of an attack."""
    attack = event.attack
    whose = f"on {attack.app or attack.target}" + (f" ({attack.target})" if attack.app else "")
    what = f"attack {attack.id} {whose}: {', '.join(attack.vectors)}"
    rates = f"{scaled(attack.packets_per_second, 'pps')}, {scaled(attack.bits_per_second, 'bit/s')}"
    match event.kind:
        case "began":
            actions = ", ".join(dict.fromkeys(rule.action for rule in attack.rules))
            after = "" if attack.mitigated_after is None else f" after {lasting(attack.mitigated_after)}"
            again = f"; it recurs, as {attack.recurs}" if attack.recurs else ""
            return f"{what} began: {rates}; {actions}{after}; {sources_text(attack)}{again}"
        case "left_alone":
            return f"{what} began: {rates}; no rule is written: {attack.rules[-1].why}"
        case "ended":
            packets, _ = attack.dropped
            lasted = lasting((attack.ended or event.at) - attack.began)
            return f"{what} ended after {lasted}: {rates} at most, {packets:,} packets dropped"
    actions = ", ".join(f"{rule.name} {rule.action}" for rule in attack.rules if rule.ended is None)
    return f"{what} continues: {attack.state.value}, {rates} at most; {actions or 'no rule'}"


def explain(attack: Attack, rule: AttackRule) -> Sequence[str]:
    """Return sentences about a rule: what it matches, its action, the reason, and its cost."""
    return tuple(_explained(attack, rule))


def _explained(attack: Attack, rule: AttackRule) -> Iterator[str]:
    name = rule.name or "no rule"
    yield f"{name}, for attack {attack.id} on {attack.app or attack.target}: {rule.vector}."
    yield f"It matches packets that belong to no session in use: {rule.fingerprint}."
    limit = scaled(rule.limit, "pps")
    becomes = _ACTIONS.get(rule.action, f"is treated as {rule.action}").format(limit=limit)
    yield f"What matches {becomes}."
    if rule.why:
        yield f"Why: {rule.why}."
    if rule.override:
        yield f"The override {rule.override} defines the action or the sensitivity."
    low, high = scaled(rule.low, "pps"), scaled(rule.high, "pps")
    yield (
        f"When it was written, {scaled(rule.excess, 'pps')} more than normal matched;"
        f" the rate was between {low} and {high} (95 % sure, from samples)."
    )
    if rule.name:
        yield f"At most {share(rule.hits)} of an app's normal openings match, for the app that it hits most."
        yield f"Until now {rule.packets:,} packets of {scaled(rule.bytes, 'B')} matched, by its counter."
