"""Accounts, zones and the user, as Cloudflare shows them."""

from collections.abc import Callable
from typing import Any

from spectrum.api.kinds.times import timestamp
from spectrum.store.objects import StoredObject, file_id

# There is one operator; the operator's tokens are `/user/tokens`.
USER_ID = file_id("user", "operator")
USER_EMAIL = "operator@localhost"
_PLAN = {
    "id": file_id("plans", "self-hosted"),
    "name": "Self-hosted",
    "price": 0,
    "currency": "USD",
    "frequency": "",
    "is_subscribed": True,
    "can_subscribe": False,
    "legacy_id": "enterprise",
    "legacy_discount": False,
    "externally_managed": False,
}


def display_name(one: StoredObject) -> str:
    """Return the name of an object in the API."""
    return str(one.value.get("name") or one.name)


def from_account(account: StoredObject) -> dict[str, Any]:
    """Return an account as it is sent."""
    return {
        "id": account.id,
        "name": display_name(account),
        "type": account.value.get("type", "standard"),
        "settings": {"enforce_twofactor": False, "abuse_contact_email": None},
        "created_on": timestamp(account.created_on),
    }


def from_zone(zone: StoredObject, account: StoredObject, may_edit: bool) -> dict[str, Any]:
    """Return a zone as it is sent.

    Args:
        zone: The zone.
        account: The account that it belongs to.
        may_edit: Whether the caller may change it.
    """
    owner = {"id": account.id, "name": display_name(account)}
    return {
        "id": zone.id,
        "name": display_name(zone),
        "status": "active",
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": [],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "created_on": timestamp(zone.created_on),
        "modified_on": timestamp(zone.modified_on),
        "activated_on": timestamp(zone.created_on),
        "meta": {
            "step": 0,
            "custom_certificate_quota": 0,
            "page_rule_quota": 0,
            "phishing_detected": False,
            "cdn_only": False,
            "dns_only": False,
            "foundation_dns": False,
        },
        "owner": {**owner, "type": "organization"},
        "account": owner,
        "tenant": {"id": None, "name": None},
        "tenant_unit": {"id": None},
        "permissions": ["#zone:read", *(["#zone:edit"] if may_edit else [])],
        "plan": _PLAN,
    }


def from_membership(account: StoredObject, may: Callable[[str, bool], bool]) -> dict[str, Any]:
    """Return a membership of an account as it is sent.

    Args:
        account: The account.
        may: Returns whether a resource may be read, or edited, there.
    """
    resources = {
        "analytics": "analytics",
        "lb": "load_balancers",
        "organization": "accounts",
        "ssl": "certificates",
        "waf": "access_rules",
        "zone_settings": "apps",
        "zones": "zones",
    }
    return {
        "id": file_id("memberships", account.id),
        "status": "accepted",
        "account": from_account(account),
        "api_access_enabled": True,
        "roles": [],
        "permissions": {
            name: {"read": may(resource, False), "write": may(resource, True)} for name, resource in resources.items()
        },
    }


def user() -> dict[str, Any]:
    """Return the user as it is sent."""
    return {
        "id": USER_ID,
        "email": USER_EMAIL,
        "username": "operator",
        "first_name": None,
        "last_name": None,
        "telephone": None,
        "country": None,
        "zipcode": None,
        "suspended": False,
        "two_factor_authentication_enabled": False,
        "two_factor_authentication_locked": False,
        "has_pro_zones": False,
        "has_business_zones": False,
        "has_enterprise_zones": True,
        "organizations": [],
        "betas": [],
    }
