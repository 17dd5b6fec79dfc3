"""The account and zone of an object. The API and the checks of the file share this rule."""

from collections.abc import Iterable, Mapping
from typing import Any

# The account if the file names none; an account of this name is always the default.
DEFAULT_ACCOUNT = "default"


class Scope:
    """The accounts and zones of a configuration.

    Args:
        accounts: Names of accounts, in their order.
        zones: By zone its domain and its account's name, None if not given.

    Attributes:
        default_account: For objects that name none: `default` if it exists, or no account does; otherwise the first
            one.
        default_zone: For apps that name none, and whose name is in none: the first one; empty without zones.
    """

    def __init__(self, accounts: Iterable[str], zones: Mapping[str, tuple[str, str | None]]) -> None:
        names = tuple(accounts)
        self.default_account = names[0] if names and DEFAULT_ACCOUNT not in names else DEFAULT_ACCOUNT
        self.default_zone = next(iter(zones), "")
        self._accounts = {zone: account or self.default_account for zone, (_, account) in zones.items()}
        self._zones: dict[str, str] = {}
        for zone, (domain, _) in zones.items():
            self._zones.setdefault(domain.lower(), zone)

    @classmethod
    def of_values(cls, accounts: Iterable[str], zones: Mapping[str, Mapping[str, Any]]) -> "Scope":
        """Return the scope of accounts and zones in the file, or in the store."""
        return cls(accounts, {key: (zone.get("name") or key, zone.get("account")) for key, zone in zones.items()})

    def account_of_zone(self, zone: str) -> str:
        """Return the account of a zone; the first one if there is no such zone."""
        return self._accounts.get(zone, self.default_account)

    def account_of(self, zone: str | None, account: str | None) -> str:
        """Return the account of an object by its keys `zone` and `account`."""
        if zone:
            return self.account_of_zone(zone)
        return account or self.default_account

    def zone_of_app(self, zone: str | None, dns_name: str | None) -> str:
        """Return the zone of an app by its keys `zone` and `dns: {name}`; empty without zones."""
        return zone or self.zone_of_name(dns_name or "") or self.default_zone

    def zone_of_name(self, dns_name: str) -> str:
        """Return the zone with the longest domain that contains a name; empty if none does."""
        labels = dns_name.lower().rstrip(".").split(".")
        for first in range(len(labels)):
            if zone := self._zones.get(".".join(labels[first:])):
                return zone
        return ""
