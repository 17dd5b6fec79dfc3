"""What certificates the API may order: of which authorities of the file, and how many for an account."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OrderingAuthority:
    """An authority of the file. How it is reached, and with which keys, the daemon knows.

    Attributes:
        challenge: By what a certificate is ordered that does not ask for DNS.
        by_dns: Whether it can be asked for DNS.
        validity_days: For how long it issues.
    """

    challenge: str
    by_dns: bool
    validity_days: int


@dataclass(slots=True)
class Ordering:
    """The authorities and limits.

    Attributes:
        authorities: By name.
        certificates: How many an account may have at a time.
        orders_per_week: How many orders it may give in seven days.
        lock: Held from the look at what an account has ordered until the next order is noted.
    """

    authorities: Mapping[str, OrderingAuthority] = field(default_factory=dict)
    certificates: int = 0
    orders_per_week: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def configure(self, told: Mapping[str, Any] | None) -> None:
        """Have what the daemon tells; nothing may be ordered where it tells nothing."""
        told = told or {}
        self.authorities = {name: OrderingAuthority(**one) for name, one in told.get("authorities", {}).items()}
        self.certificates = told.get("certificates", 0)
        self.orders_per_week = told.get("orders_per_week", 0)
