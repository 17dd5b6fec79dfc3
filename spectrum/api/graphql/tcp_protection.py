"""The node of Advanced TCP protection, by both of its names: sampled packets that it has judged.

A verdict such as `tcp_dropped not_found` says two things that are dimensions there: what the packet deserved, and why.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from spectrum.core.analytics.columns import TABLES
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Condition
from spectrum.kernel.filter.names import TCP_REASONS, TCP_RESULTS

NODES = ("advancedTcpProtectionNetworkAnalyticsAdaptiveGroups", "flowtrackdNetworkAnalyticsAdaptiveGroups")
TABLE = TABLES["packets"]
# Its dimensions are made of this one.
VERDICT = TABLE.by_name["verdict"]
_DESERVED = {"tcp_dropped": "drop", "tcp_monitored": "drop", "tcp_passed": "pass"}


class _Judged(NamedTuple):
    """What a verdict says: a reason, and whether the packet was to pass (with `monitoring`, a drop passed)."""

    reason: str
    deserved: str


_ALL = {
    f"{result} {reason}": _Judged(reason.upper(), _DESERVED[result]) for result in TCP_RESULTS for reason in TCP_REASONS
}
# The dimensions, with what makes each of a verdict.
DERIVED: Mapping[str, Callable[[str], str]] = {
    "mitigationReason": lambda verdict: _ALL[verdict].reason,
    "verdict": lambda verdict: _ALL[verdict].deserved,
}
# What may follow their names in filters.
ENDINGS = ("", "_neq", "_in", "_notin")


def only(where: Condition | None = None) -> Condition:
    """Return what limits a condition to packets that TCP protection has judged."""
    judged = Compare(VERDICT.name, "=", tuple(_ALL))
    return judged if where is None else AllOf((judged, where))


def compared(name: str, ending: str, value: Any) -> Condition:
    """Return what a filter by a derived dimension asks for: some of the verdicts, or none."""
    values = value if ending in ("_in", "_notin") else [value]
    wanted = ending in ("", "_in")
    found = tuple(verdict for verdict in _ALL if (DERIVED[name](verdict) in values) == wanted)
    return Compare(VERDICT.name, "=", found) if found else AnyOf(())


def merged(rows: Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Return rows of keys and sums, those with the same keys as one: several verdicts have the same reason."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for keys, sums in rows:
        before = found.get(keys)
        found[keys] = sums if before is None else tuple(a + b for a, b in zip(before, sums, strict=True))
    return [keys + sums for keys, sums in found.items()]
