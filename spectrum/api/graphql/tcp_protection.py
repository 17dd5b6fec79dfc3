"""The node of Advanced TCP protection, by both of its names: sampled packets with a verdict of TCP protection.

A verdict such as `tcp_dropped not_found` has the values of two dimensions of the node: outcome and reason.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from spectrum.core.analytics.columns import TABLES
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Condition
from spectrum.kernel.filter.names import TCP_REASONS, TCP_RESULTS

NODES = ("advancedTcpProtectionNetworkAnalyticsAdaptiveGroups", "flowtrackdNetworkAnalyticsAdaptiveGroups")
TABLE = TABLES["packets"]
# The column of these dimensions.
VERDICT = TABLE.by_name["verdict"]
_DESERVED = {"tcp_dropped": "drop", "tcp_monitored": "drop", "tcp_passed": "pass"}


class _Judged(NamedTuple):
    """A verdict: its reason, and whether the packet passes by it (with `monitoring`, dropped packets pass)."""

    reason: str
    deserved: str


_ALL = {
    f"{result} {reason}": _Judged(reason.upper(), _DESERVED[result]) for result in TCP_RESULTS for reason in TCP_REASONS
}
# The dimensions, each with the function of a verdict.
DERIVED: Mapping[str, Callable[[str], str]] = {
    "mitigationReason": lambda verdict: _ALL[verdict].reason,
    "verdict": lambda verdict: _ALL[verdict].deserved,
}
# Suffixes of their names in filters.
ENDINGS = ("", "_neq", "_in", "_notin")


def only(where: Condition | None = None) -> Condition:
    """Return a condition limited to packets that TCP protection has judged."""
    judged = Compare(VERDICT.name, "=", tuple(_ALL))
    return judged if where is None else AllOf((judged, where))


def compared(name: str, ending: str, value: Any) -> Condition:
    """Return the condition of a filter by a derived dimension: some of the verdicts, or none."""
    values = value if ending in ("_in", "_notin") else [value]
    wanted = ending in ("", "_in")
    found = tuple(verdict for verdict in _ALL if (DERIVED[name](verdict) in values) == wanted)
    return Compare(VERDICT.name, "=", found) if found else AnyOf(())


def merged(rows: Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Return rows of keys and sums, with rows of the same keys merged: several verdicts have the same reason."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for keys, sums in rows:
        before = found.get(keys)
        found[keys] = sums if before is None else tuple(a + b for a, b in zip(before, sums, strict=True))
    return [keys + sums for keys, sums in found.items()]
