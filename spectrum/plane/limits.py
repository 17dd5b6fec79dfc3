"""Who is turned away because there are too many already, of one client, in one app, or on the node."""

import time
from collections.abc import Callable

from spectrum.core.limits import Rule
from spectrum.core.reasons import Reason
from spectrum.engine.census import Census, Rates


class Limiter:
    """The limits of one transport in a worker.

    Args:
        census: What there is, counted by all workers' engines.
        rates: How fast new ones come, to all workers.
        clock: Monotonic nanoseconds, the same in all workers.

    Attributes:
        node: The rules that hold for every app.
        census, rates: As given.
    """

    def __init__(self, census: Census, rates: Rates, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.census = census
        self.node: tuple[Rule, ...] = ()
        self.rates = rates
        self._clock = clock

    def refusal(self, rules: tuple[Rule, ...], client: bytes) -> Reason | None:
        """Return why a client of an app with these rules is turned away; None, and it is counted, where it is not.

        Several workers that accept at the same moment may together let a few more in than a limit says.
        """
        census, charges = self.census, []
        now = self._clock()
        for group, scope, is_rate, limit, reason in (*rules, *self.node):
            if is_rate:
                key = group if scope == "all" else census.key_of(group, client, scope == "prefix")
                if not self.rates.allows(key, limit, now):
                    return reason
                charges.append((key, limit))
            elif scope == "all":
                if census.count(group) >= limit:
                    return reason
            elif census.count_client(group, client, scope == "prefix") >= limit:
                return reason
        for key, limit in charges:
            self.rates.charge(key, limit, now)
        return None
