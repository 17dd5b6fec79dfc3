"""Attacks as records of the journal: one for each rule whose counts changed, with the matches since the last one.

So sums over records are right, by attack as by vector.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackRule

# By the kind of event.
ATTACK_EVENTS = {
    "began": "attackBegan",
    "changed": "attackChanged",
    "ended": "attackEnded",
    "left_alone": "attackLeftAlone",
}
# By rule of an attack: packets and bytes that were recorded.
RecordedCounts = Mapping[str, tuple[int, int]]


class AttackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event of an attack, for one of its rules.

    `AttackId`, `AttackVector`, `RuleId`, `RulesetOverrideId`, `MitigationType` and both times are Cloudflare's names.
    `RuleName` is the rule's name in the filter, `Rule` its conditions as text. `Packets` and `Bytes` matched since the
    last record of the rule, by the kernel's counter; of those, `Dropped...` did not reach the app. Rates are the
    highest of the whole attack so far. `MitigatedAfter` is in nanoseconds, `Sources` 0 for too many to count, `Hits`
    the largest share of an app's normal openings that the rule matches.
    """

    Event: str
    Timestamp: datetime
    AttackId: str
    State: str
    Application: str
    AttackVector: str
    RuleId: str
    RuleName: str
    Rule: str
    MitigationType: str
    Why: str
    RulesetOverride: str
    RulesetOverrideId: str
    Destination: str
    DestinationPort: int
    Protocol: str
    StartDatetime: datetime
    EndDatetime: datetime | None
    MitigatedAfter: int
    PacketsPerSecond: int
    BitsPerSecond: int
    Packets: int
    Bytes: int
    DroppedPackets: int
    DroppedBytes: int
    Sources: int
    Hits: float
    Recurs: str


def records_of(event: AttackEvent, told: RecordedCounts) -> Iterator[AttackRecord]:
    """Yield the records of an event: of each rule at a begin or an end, otherwise of those with matches.

    Args:
        event: The event.
        told: The counts that were recorded before.
    """
    for rule in event.attack.rules:
        packets, size = told.get(rule.name, (0, 0))
        more = max(0, rule.packets - packets), max(0, rule.bytes - size)
        if event.kind != "changed" or rule.name not in told or more[0]:
            yield _record(event, event.attack, rule, *more)


def _record(event: AttackEvent, attack: Attack, rule: AttackRule, packets: int, size: int) -> AttackRecord:
    return AttackRecord(
        Event=ATTACK_EVENTS[event.kind],
        Timestamp=_time(event.at),
        AttackId=attack.id,
        State=attack.state.value,
        Application=attack.app,
        AttackVector=rule.vector,
        RuleId=rule.managed_id,
        RuleName=rule.name,
        Rule=rule.fingerprint,
        MitigationType=rule.action,
        Why=rule.why,
        RulesetOverride=rule.override,
        RulesetOverrideId=rule.override_id,
        Destination=attack.target.prefix,
        DestinationPort=attack.target.port,
        Protocol=attack.target.protocol,
        StartDatetime=_time(attack.began),
        EndDatetime=_time(attack.ended) if attack.ended is not None else None,
        MitigatedAfter=round((attack.mitigated_after or 0.0) * 1e9),
        PacketsPerSecond=round(attack.packets_per_second),
        BitsPerSecond=round(attack.bits_per_second),
        Packets=packets,
        Bytes=size,
        DroppedPackets=packets if rule.drops else 0,
        DroppedBytes=size if rule.drops else 0,
        Sources=attack.sources or 0,
        Hits=rule.hits,
        Recurs=attack.recurs,
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def as_text(fields: Mapping[str, Any]) -> str:
    """Return a record of the journal as a line of text."""
    at = datetime.fromisoformat(fields["Timestamp"])
    whose = fields["Application"] or fields["Destination"] or "-"
    return (
        f"{at:%Y-%m-%dT%H:%M:%S.%f}Z {fields['Event']} attack={fields['AttackId']} on={whose}"
        f" vector={_quoted(fields['AttackVector'])} action={fields['MitigationType']} rule={_quoted(fields['Rule'])}"
        f" packets={fields['Packets']} dropped={fields['DroppedPackets']} peak={fields['PacketsPerSecond']}/s"
    )


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
