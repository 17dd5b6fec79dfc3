"""Cloudflare's permission groups: each stands for one permission of a token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectrum.core.tenants.tokens import EDIT, PERMISSIONS
from spectrum.store.objects import file_id

ACCOUNT, ZONE = "com.cloudflare.api.account", "com.cloudflare.api.account.zone"
# Cloudflare's names, where Cloudflare has the same permission.
_NAMES = {
    "accounts": "Account Settings",
    "zones": "Zone",
    "apps": "Spectrum",
    "load_balancers": "Load Balancers",
    "pools": "Load Balancing: Pools",
    "monitors": "Load Balancing: Monitors",
    "monitor_groups": "Load Balancing: Monitor Groups",
    "access_rules": "Firewall Access Rules",
    "lists": "Account Rule Lists",
    "certificates": "SSL and Certificates",
    "rulesets": "Account Rulesets",
    "tcp_protection": "DDoS Protection",
    "tokens": "API Tokens",
    "audit_logs": "Audit Logs",
    "analytics": "Analytics",
    "diagnostics": "Diagnostics",
    "all": "Everything",
}
_CATEGORIES = {
    "accounts": "account_and_billing",
    "tokens": "account_and_billing",
    "zones": "dns_and_zones",
    "access_rules": "app_security",
    "lists": "app_security",
    "certificates": "app_security",
    "rulesets": "app_security",
    "tcp_protection": "app_security",
    "audit_logs": "analytics_and_logs",
    "analytics": "analytics_and_logs",
    "diagnostics": "analytics_and_logs",
    "all": "other",
}
OF_ZONES = frozenset({"zones", "apps", "load_balancers", "access_rules", "analytics"})


@dataclass(frozen=True, slots=True)
class PermissionGroup:
    """A permission in Cloudflare's form.

    Attributes:
        id: 32 hex digits.
        name: The displayed name.
        word: The permission, such as `apps:edit`.
        scope: Whether it is for accounts or for zones.
    """

    id: str
    name: str
    word: str
    scope: str

    def shown(self) -> dict[str, Any]:
        """Return the group as it is sent."""
        category = _CATEGORIES.get(self.word.partition(":")[0], "network_services")
        return {"id": self.id, "name": self.name, "scopes": [self.scope], "category": category, "is_selectable": True}


def _group(word: str) -> PermissionGroup:
    resource, _, verb = word.partition(":")
    name = f"{_NAMES[resource]} {'Write' if verb == EDIT else 'Read'}"
    return PermissionGroup(file_id("permissions", word), name, word, ZONE if resource in OF_ZONES else ACCOUNT)


GROUPS: Mapping[str, PermissionGroup] = {group.id: group for group in map(_group, PERMISSIONS)}
BY_WORD: Mapping[str, PermissionGroup] = {group.word: group for group in GROUPS.values()}
