"""Orders of certificates by the API: the authorities of the file, and the limits of an account."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OrderingAuthority:
    """An authority of the file. The daemon knows its directory and keys.

    Attributes:
        challenge: The challenge of orders that do not ask for DNS.
        by_dns: Whether it supports the DNS challenge.
        validity_days: The validity of its certificates.
    """

    challenge: str
    by_dns: bool
    validity_days: int


@dataclass(slots=True)
class Ordering:
    """The authorities and limits.

    Attributes:
        authorities: By name.
        certificates: The limit of ordered certificates per account.
        orders_per_week: The limit of orders per account in seven days.
        lock: Held from the count of an account's orders until the next order is recorded.
    """

    authorities: Mapping[str, OrderingAuthority] = field(default_factory=dict)
    certificates: int = 0
    orders_per_week: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def configure(self, told: Mapping[str, Any] | None) -> None:
        """Use the daemon's settings; without any, nothing may be ordered."""
        told = told or {}
        self.authorities = {name: OrderingAuthority(**one) for name, one in told.get("authorities", {}).items()}
        self.certificates = told.get("certificates", 0)
        self.orders_per_week = told.get("orders_per_week", 0)
