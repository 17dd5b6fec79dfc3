"""`dosdAttackAnalyticsGroups`: a flat object for each attack and vector, in Cloudflare's form."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from spectrum.core.analytics.question import MAX_ROWS, Condition, Question, Row, Visible
from spectrum.core.ddos.managed import RULESET_ID
from spectrum.core.packets import PROTOCOLS

NODE = "dosdAttackAnalyticsGroups"
# Scalars of a group by name.
FIELDS: Mapping[str, str] = {
    "attackId": "string",
    "attackType": "string",
    "attackVector": "string",
    "applicationTag": "string",
    "bits": "uint64",
    "packets": "uint64",
    "droppedBits": "uint64",
    "droppedPackets": "uint64",
    "destinationIp": "string",
    "destinationPort": "uint16",
    "ipProtocol": "uint8",
    "ipProtocolName": "string",
    "startDatetime": "Time",
    "endDatetime": "Time",
    "mitigationReason": "string",
    "mitigationScope": "string",
    "mitigationType": "string",
    "ruleId": "string",
    "ruleName": "string",
    "rulesetId": "string",
    "rulesetOverrideId": "string",
}
_METRICS = ("packets", "bits", "droppedPackets", "droppedBits", "ended")
# The number of dimensions of a question is limited: one question for sums, one for further properties of attacks.
_SUMS = ("attack", "vector", "managed_rule", "rule", "action", "override_id")
_TARGETS = ("attack", "app", "destination", "destination_port", "protocol", "began")
_REASONS = ("attack", "vector", "why")


def attacks_questions(
    since: float, until: float, where: Condition | None, visible: Visible | None
) -> tuple[Question, ...]:
    """Return the questions of which `attack_groups` needs the answers."""
    return tuple(
        Question("attacks", _METRICS, dimensions, since, until, where=where, limit=MAX_ROWS, visible=visible)
        for dimensions in (_SUMS, _TARGETS, _REASONS)
    )


def attack_groups(
    answers: Sequence[Iterable[Row]], order: Sequence[tuple[str, bool]], limit: int
) -> list[dict[str, Any]]:
    """Return the groups of the answers' rows: sums over all rules of an attack and vector.

    Args:
        answers: The rows of each answer.
        order: The fields to sort by, and whether descending; if empty, by begin, the latest first.
        limit: The most groups to return.
    """
    sums, targets, reasons = answers
    # The widest target comes last.
    widest = {row[0]: row for row in sorted(targets, key=lambda row: "/" in row[2])}
    why = {(row[0], row[1]): row[2] for row in reasons}
    merged: dict[Row, tuple[dict[str, Any], list[int]]] = {}
    for row in sums:
        named, values = dict(zip(_SUMS, row, strict=False)), [int(one or 0) for one in row[len(_SUMS) :]]
        key = tuple(row[:3])
        if key in merged:
            former, before = merged[key]
            values = [one + other for one, other in zip(before[:-1], values, strict=False)] + [
                max(before[-1], values[-1])
            ]
            named = named if named["rule"] > former["rule"] else former
        merged[key] = named, values
    groups = [
        _group(
            named | dict(zip(_TARGETS, widest[named["attack"]], strict=False)) | {"why": why.get((key[0], key[1]), "")},
            values,
        )
        for key, (named, values) in merged.items()
        if named["attack"] in widest
    ]
    for name, descending in reversed(order or [("startDatetime", True)]):
        groups.sort(key=partial(_sorted_by, name), reverse=descending)
    return groups[:limit]


def _sorted_by(name: str, group: Mapping[str, Any]) -> Any:
    return group[name] is not None, group[name] or 0


def _group(named: Mapping[str, Any], values: Sequence[int]) -> dict[str, Any]:
    packets, bits, dropped_packets, dropped_bits, ended = values
    protocol = named["protocol"]
    return {
        "attackId": named["attack"],
        "attackType": named["vector"],
        "attackVector": named["vector"],
        "applicationTag": named["app"],
        "bits": bits,
        "packets": packets,
        "droppedBits": dropped_bits,
        "droppedPackets": dropped_packets,
        "destinationIp": named["destination"],
        "destinationPort": named["destination_port"],
        "ipProtocol": PROTOCOLS.get(protocol, int(protocol) if protocol.isdecimal() else 0),
        "ipProtocolName": protocol.upper(),
        "startDatetime": _time(named["began"]),
        "endDatetime": _time(ended),
        "mitigationReason": named["why"],
        "mitigationScope": "local",
        "mitigationType": named["action"],
        "ruleId": named["managed_rule"],
        "ruleName": named["rule"],
        "rulesetId": RULESET_ID,
        "rulesetOverrideId": named["override_id"],
    }


def _time(at_us: int) -> str | None:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_us else None
