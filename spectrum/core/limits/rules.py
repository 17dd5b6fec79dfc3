"""Limits on what apps, clients and the node take at once and per second, and the rules that they come to."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from spectrum.core.records.reasons import Reason

# Groups of the census (engine/census.pyx) that hold a node's sessions and flows.
NODE_GROUPS = {"tcp": 1, "udp": 2}


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What an app or a node takes, in all, of each client and of each prefix; 0 for any number."""

    sessions: int = 0
    new_per_second: int = 0
    client_sessions: int = 0
    client_new_per_second: int = 0
    prefix_sessions: int = 0
    prefix_new_per_second: int = 0
    # Those that come too fast wait for their turn.
    delays: bool = False


class Paces(msgspec.Struct, frozen=True, array_like=True):
    """What moves per second: of an app, of each client, of each prefix; 0 for any amount. Bytes are each way."""

    bytes_per_second: int = 0
    client_bytes_per_second: int = 0
    prefix_bytes_per_second: int = 0
    datagrams_per_second: int = 0
    client_datagrams_per_second: int = 0
    prefix_datagrams_per_second: int = 0


Scope = Literal["all", "client", "prefix"]
# As the file names them, by scope and whether it is a rate.
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
        group: Of the census.
        scope: Whether it is held against all sessions of the group, or against those of the client, or of the prefix
            that the client is in.
        is_rate: It is of new ones per second, not of those that there are.
        limit: The number.
        reason: Why a client is refused above it.
        delays: Of a rate: a client that comes too fast waits for its turn, as long as that is soon.
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
    """Return the rules that an app's limits come to."""
    return tuple(_rules(limits, group_of(app, transport), Reason.APP_LIMIT, Reason.APP_RATE))


def node_rules(limits: Limits, transport: str) -> tuple[Rule, ...]:
    """Return the rules that a node's limits on sessions, or on flows, come to."""
    return tuple(_rules(limits, NODE_GROUPS[transport], Reason.NODE_LIMIT, Reason.NODE_RATE))


def setting_of(rule: Rule) -> str:
    """Return the key of the file that a rule comes from, below `limits`."""
    return _SETTINGS[rule.scope, rule.is_rate]


def limits_hit(reason: Reason, app: tuple[Rule, ...], node: tuple[Rule, ...]) -> str:
    """Return which limits a client may have hit that is refused for a reason, such as "app: client_sessions 10".

    "" for a reason that is no limit. An app and the node may have the same one; then both are named.
    """
    return ", ".join(
        f"{whose}: {setting_of(rule)} {rule.limit}"
        for whose, rules in (("app", app), ("node", node))
        for rule in rules
        if rule.reason is reason and rule.limit
    )


def _rules(limits: Limits, group: int, limit: Reason, rate: Reason) -> Iterator[Rule]:
    # Those of a client first: where one client is to blame for a full app, that is what it hears.
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
