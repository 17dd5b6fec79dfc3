"""Policies of Advanced TCP protection in the form of the kernel's tables. The helper imports this."""

from collections.abc import Mapping
from dataclasses import dataclass

# Maximum number of terms: of all filters, the allowlist and the rules.
MAX_POLICIES = 128
MAX_PREFIXES = 65536


@dataclass(frozen=True, slots=True)
class Policy:
    """The action on packets of a term.

    Attributes:
        mode: The mode.
        packets_per_second: Rate to one destination address above which the action applies.
        burst: The burst in packets.
        retransmit: A SYN must be retransmitted, instead of being answered with a cookie.
    """

    mode: str = "disabled"
    packets_per_second: int = 0
    burst: int = 0
    retransmit: bool = False


# By field, in the order of `Term`: length and first number of prefixes, and the terms that contain them, a bit each.
Table = Mapping[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies for the kernel.

    Attributes:
        policies: The policies, by term.
        components: The terms of each component, a bit each.
        tables: Of sources, destinations, source ports and destination ports; empty if all terms contain everything.
    """

    policies: tuple[Policy, ...] = ()
    components: tuple[int, ...] = (0, 0)
    tables: tuple[Table, ...] = ({}, {}, {}, {})

    @property
    def is_on(self) -> bool:
        """Whether any packet is acted on."""
        return bool(self.policies)
