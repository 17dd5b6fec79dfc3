"""Limits: new sessions that are refused or delayed because a client, an app or the node has too many."""

import time
from collections.abc import Callable

from spectrum.core.limits.rules import Rule
from spectrum.core.records.reasons import Reason
from spectrum.engine.census import Census, Rates

# The longest delay: longer ones would make clients time out, and each delayed client holds a descriptor.
MAX_WAIT_NS = 5_000_000_000


class Limiter:
    """The limits of one transport in a worker.

    Args:
        census: Open sessions, counted by the engines of all workers.
        rates: Rates of new sessions of all workers.
        clock: Monotonic nanoseconds, the same in all workers.

    Attributes:
        node: The rules for all apps.
        census, rates: As given.
    """

    def __init__(self, census: Census, rates: Rates, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.census = census
        self.node: tuple[Rule, ...] = ()
        self.rates = rates
        self._clock = clock

    def refusal(self, rules: tuple[Rule, ...], client: bytes) -> Reason | None:
        """Return why a client is refused, by rules without delays; see `admit`."""
        reason, _ = self.admit(rules, client)
        return reason

    def admit(self, rules: tuple[Rule, ...], client: bytes) -> tuple[Reason | None, int]:
        """Return why a client of an app with these rules is refused, or None and its delay in milliseconds. Clients
        that are not refused are counted. Several workers that accept at the same moment may together exceed a limit by
        a few sessions.
        """
        census, charges, wait_ns = self.census, [], 0
        now = self._clock()
        for group, scope, is_rate, limit, reason, delays in (*rules, *self.node):
            if is_rate:
                key = group if scope == "all" else census.key_of(group, client, scope == "prefix")
                turn_ns = self.rates.wait_ns(key, limit, now)
                if turn_ns > (MAX_WAIT_NS if delays else 0):
                    return reason, 0
                wait_ns = max(wait_ns, turn_ns)
                charges.append((key, limit))
            elif self._is_full(group, scope, limit, client):
                return reason, 0
        for key, limit in charges:
            self.rates.charge(key, limit, now)
        return None, -(-wait_ns // 1_000_000)

    def excess(self, rules: tuple[Rule, ...], client: bytes) -> Reason | None:
        """Return why a client is refused after its delay, because a limit of open sessions was reached meanwhile."""
        for group, scope, is_rate, limit, reason, _ in (*rules, *self.node):
            if not is_rate and self._is_full(group, scope, limit, client):
                return reason
        return None

    def _is_full(self, group: int, scope: str, limit: int, client: bytes) -> bool:
        if scope == "all":
            return self.census.count(group) >= limit
        return self.census.count_client(group, client, scope == "prefix") >= limit
