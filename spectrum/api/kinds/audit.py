"""Lines of the audit log, in the forms of both of Cloudflare's versions."""

from typing import Any

import msgspec

from spectrum.api.kinds.accounts import USER_EMAIL, USER_ID
from spectrum.api.kinds.times import timestamp
from spectrum.store.audit import AuditEntry

_ENCODER = msgspec.json.Encoder()
_PRODUCTS = {
    "apps": "spectrum",
    "load_balancers": "load_balancing",
    "pools": "load_balancing",
    "monitors": "load_balancing",
    "monitor_groups": "load_balancing",
    "access_rules": "firewall",
    "lists": "lists",
    "rulesets": "rulesets",
    "tcp_protection": "advanced_tcp_protection",
    "tcp_prefixes": "advanced_tcp_protection",
    "tcp_allowlist": "advanced_tcp_protection",
    "tcp_rules": "advanced_tcp_protection",
    "tcp_filters": "advanced_tcp_protection",
}


def first_version(entry: AuditEntry) -> dict[str, Any]:
    """Return a line in the form of `GET .../audit_logs`."""
    author = entry.author
    return {
        "id": entry.id,
        "when": timestamp(entry.at),
        "interface": "API",
        "action": {"type": entry.action, "result": entry.is_done},
        "actor": {
            "id": author.id if author.kind in ("token", "unknown") else USER_ID,
            "email": USER_EMAIL if author.kind == "local" else author.name,
            "ip": author.address,
            "type": "Cloudflare" if author.kind == "system" else "user",
        },
        "owner": {"id": entry.account},
        "resource": {"type": entry.section, "id": entry.object_id},
        "oldValue": _text(entry.before),
        "newValue": _text(entry.after),
        "metadata": {"name": entry.name, "actor_name": author.name},
    }


def second_version(entry: AuditEntry, account_name: str, zone_name: str) -> dict[str, Any]:
    """Return a line in the form of `GET .../logs/audit`.

    Args:
        entry: The line.
        account_name: The name of its account in the API.
        zone_name: The name of its zone in the API; empty without one.
    """
    author = entry.author
    is_token = author.kind == "token"
    return {
        "id": entry.id,
        "account": {"id": entry.account, "name": account_name},
        "action": {
            "type": entry.action,
            "result": "success" if entry.is_done else "failure",
            "time": timestamp(entry.at),
            "description": f"{entry.action} {entry.section} {entry.name}",
        },
        "actor": {
            "id": USER_ID if author.kind == "local" else author.id,
            "type": "system" if author.kind == "system" else "user",
            "email": "" if author.kind == "unknown" else USER_EMAIL,
            "ip_address": author.address,
            "context": "api_token" if is_token else "api",
            "token_id": author.id if is_token else "",
            "token_name": author.name if is_token else "",
        },
        "raw": {
            "cf_ray_id": entry.request_id,
            "method": entry.method,
            "uri": entry.path,
            "status_code": entry.status,
            "user_agent": author.user_agent,
        },
        "resource": {
            "id": entry.object_id,
            "type": entry.section,
            "product": _PRODUCTS.get(entry.section, entry.section),
            "request": entry.after,
            "response": entry.before,
            "scope": {"name": entry.name},
        },
        "zone": {"id": entry.zone, "name": zone_name},
    }


def _text(value: dict[str, Any] | None) -> str:
    return "" if value is None else _ENCODER.encode(value).decode()
