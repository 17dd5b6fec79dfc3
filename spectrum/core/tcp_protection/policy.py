"""Policies of Advanced TCP protection, in the form in which the kernel looks them up. The helper loads this."""

from collections.abc import Mapping
from dataclasses import dataclass

# Of all filters, with the allowlist and the rules.
MAX_POLICIES = 128
MAX_PREFIXES = 65536


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of the packets of a term.

    Attributes:
        mode: Whether anything does.
        packets_per_second: Of one destination address; beyond it something does.
        burst: So many packets may come at once.
        retransmit: A SYN has to come twice, instead of being answered with a cookie.
    """

    mode: str = "disabled"
    packets_per_second: int = 0
    burst: int = 0
    retransmit: bool = False


# By place, in the order of `Term`: length and first number of prefixes, and the terms that hold them, a bit each.
Table = Mapping[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Policies:
    """What the kernel gets.

    Attributes:
        policies: By term.
        components: Which terms are about each component, a bit each.
        tables: Of sources, destinations, source ports and destination ports; empty where all terms hold all of them.
    """

    policies: tuple[Policy, ...] = ()
    components: tuple[int, ...] = (0, 0)
    tables: tuple[Table, ...] = ({}, {}, {}, {})

    @property
    def is_on(self) -> bool:
        """Whether anything becomes of any packet."""
        return bool(self.policies)
