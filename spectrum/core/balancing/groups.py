"""Combines the verdicts of several monitors of an origin. Cloudflare's rules: docs/balancing.md."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spectrum.core.balancing.objects import GroupMember, MonitorGroup, Pool

# Number of monitors in a reason; `spectrum status` shows all.
REASONS_TOLD = 3


class Vote(NamedTuple):
    """The verdict of one monitor.

    Attributes:
        healthy: Its verdict; None while unknown.
        reason: Why it is not True.
        must_be_healthy: If it fails, it decides alone; otherwise it is part of a majority.
    """

    healthy: bool | None
    reason: str = ""
    must_be_healthy: bool = False


def combine(votes: Sequence[Vote]) -> tuple[bool | None, str]:
    """Return the verdict of several monitors, and why it is not True.

    The origin is down if a monitor fails that must be healthy, or if more than half of the others fail. It is unknown
    while the unknown ones could still make it down. Without votes it is healthy.
    """
    if len(votes) == 1:  # Most pools have one monitor.
        return votes[0].healthy, "" if votes[0].healthy else votes[0].reason
    critical = [vote for vote in votes if vote.must_be_healthy]
    others = [vote for vote in votes if not vote.must_be_healthy]
    if failing := [vote for vote in critical if vote.healthy is False]:
        return False, _reasons(failing)
    down = [vote for vote in others if vote.healthy is False]
    if _is_majority(down, others):
        return False, _reasons(down) if len(others) == 1 else f"{len(down)} of {len(others)} fail: {_reasons(down)}"
    unknown = [vote for vote in critical if vote.healthy is None]
    if not unknown and _is_majority([vote for vote in others if not vote.healthy], others):
        unknown = [vote for vote in others if vote.healthy is None]
    return (None, _reasons(unknown)) if unknown else (True, "")


def _is_majority(part: Sequence[Vote], of: Sequence[Vote]) -> bool:
    return 2 * len(part) > len(of)


def _reasons(votes: Sequence[Vote]) -> str:
    told = "; ".join(vote.reason for vote in votes[:REASONS_TOLD])
    return f"{told}; and {len(votes) - REASONS_TOLD} more" if len(votes) > REASONS_TOLD else told


def probing(pool: Pool, groups: Mapping[str, MonitorGroup]) -> tuple[GroupMember, ...]:
    """Return the monitors that probe a pool's origins, and how their verdicts count: the only one of a pool must be
    healthy.
    """
    if pool.monitor is not None:
        return (GroupMember(monitor=pool.monitor, must_be_healthy=True),)
    group = groups.get(pool.monitor_group) if pool.monitor_group is not None else None
    return tuple(member for member in group.members if member.enabled) if group is not None else ()


def is_monitored(pool: Pool, groups: Mapping[str, MonitorGroup]) -> bool:
    """Return whether any monitor decides on the health of a pool's origins."""
    return any(not member.monitoring_only for member in probing(pool, groups))
