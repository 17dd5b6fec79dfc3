"""Limits of apps, clients and the node, and the rules that workers apply."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from spectrum.core.records.reasons import Reason

# Groups of the census (engine/census.pyx) for the node's sessions and flows.
NODE_GROUPS = {"tcp": 1, "udp": 2}


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Limits of an app or a node, in total, per client and per prefix; 0 for no limit."""

    sessions: int = 0
    new_per_second: int = 0
    client_sessions: int = 0
    client_new_per_second: int = 0
    prefix_sessions: int = 0
    prefix_new_per_second: int = 0
    # New sessions above the rate are delayed.
    delays: bool = False


class Paces(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Rates of bytes and datagrams of an app, per client, per prefix; 0 for no limit. Bytes are per direction."""

    bytes_per_second: int = 0
    client_bytes_per_second: int = 0
    prefix_bytes_per_second: int = 0
    datagrams_per_second: int = 0
    client_datagrams_per_second: int = 0
    prefix_datagrams_per_second: int = 0


Scope = Literal["all", "client", "prefix"]
# Their keys in the file, by scope and whether it is a rate.
_SETTINGS = {
    ("all", False): "sessions",
    ("all", True): "new_per_second",
    ("client", False): "client_sessions",
    ("client", True): "client_new_per_second",
    ("prefix", False): "prefix_sessions",
    ("prefix", True): "prefix_new_per_second",
}


class Rule(NamedTuple):
    """One limit.

    Attributes:
        group: The group of the census.
        scope: Whether it limits all sessions of the group, those of the client, or those of the client's prefix.
        is_rate: Whether it limits new sessions per second, not open ones.
        limit: The number.
        reason: Why a client is refused above it.
        delays: For a rate: clients above it are delayed, up to a maximum.
    """

    group: int
    scope: Scope
    is_rate: bool
    limit: int
    reason: Reason
    delays: bool = False


def group_of(app: str, transport: str) -> int:
    """Return an app's group: the same in all workers, and after a reload."""
    return int.from_bytes(blake2b(f"{transport}/{app}".encode(), digest_size=8).digest(), "big")


def app_rules(limits: Limits, app: str, transport: str) -> tuple[Rule, ...]:
    """Return the rules for an app's limits."""
    return tuple(_rules(limits, group_of(app, transport), Reason.APP_LIMIT, Reason.APP_RATE))


def node_rules(limits: Limits, transport: str) -> tuple[Rule, ...]:
    """Return the rules for a node's limits of sessions, or of flows."""
    return tuple(_rules(limits, NODE_GROUPS[transport], Reason.NODE_LIMIT, Reason.NODE_RATE))


def setting_of(rule: Rule) -> str:
    """Return the key of the file that a rule comes from, below `limits`."""
    return _SETTINGS[rule.scope, rule.is_rate]


def limits_hit(reason: Reason, app: tuple[Rule, ...], node: tuple[Rule, ...]) -> str:
    """Return which limits may have caused a refusal with a reason, such as "app: client_sessions 10"; "" for other
    reasons. If app and node have the same limit, both are named.
    """
    return ", ".join(
        f"{whose}: {setting_of(rule)} {rule.limit}"
        for whose, rules in (("app", app), ("node", node))
        for rule in rules
        if rule.reason is reason and rule.limit
    )


def _rules(limits: Limits, group: int, limit: Reason, rate: Reason) -> Iterator[Rule]:
    # Those per client first: if one client fills an app, this is its reason.
    for rule in (
        Rule(group, "client", False, limits.client_sessions, Reason.CLIENT_LIMIT),
        Rule(group, "client", True, limits.client_new_per_second, Reason.CLIENT_RATE),
        Rule(group, "prefix", False, limits.prefix_sessions, Reason.PREFIX_LIMIT),
        Rule(group, "prefix", True, limits.prefix_new_per_second, Reason.PREFIX_RATE),
        Rule(group, "all", False, limits.sessions, limit),
        Rule(group, "all", True, limits.new_per_second, rate),
    ):
        if rule.limit:
            yield rule._replace(delays=limits.delays) if rule.is_rate else rule
