"""Tokens: Cloudflare's policies and conditions, from and to values of the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spectrum.api.envelope import BodyFault
from spectrum.api.kinds.permissions import BY_WORD, GROUPS, OF_ZONES
from spectrum.api.kinds.times import timestamp
from spectrum.store.objects import StoredObject, file_id
from spectrum.store.tokens import StoredToken

INVALID = 1001
MAX_NAME = 120
_ACCOUNT = "com.cloudflare.api.account."
_ZONE = "com.cloudflare.api.account.zone."
_USER = "com.cloudflare.api.user."
_CONDITION = 'write {"request_ip": {"in": ["192.0.2.0/24"], "not_in": []}}'
_POLICY = frozenset({"id", "effect", "permission_groups", "resources"})


@dataclass(frozen=True, slots=True)
class TenantLookup:
    """Accounts and zones, by id and by name.

    Attributes:
        get: Returns the one with an id, of a section.
        named: Returns the one with a name, of a section.
        account_of: Returns the name of the account of a zone.
    """

    get: Callable[[str, str], StoredObject | None]
    named: Callable[[str, str], StoredObject | None]
    account_of: Callable[[StoredObject], str]


def to_value(body: Mapping[str, Any], owned: TenantLookup, account: str | None) -> dict[str, Any]:
    """Return the value in the file of a token, without its hash.

    Args:
        body: The request's body: `policies`, `condition`, `not_before`, `expires_on`, `status`.
        owned: The accounts and zones that policies may name.
        account: The name of the token's account; None for tokens of the operator.

    Raises:
        BodyFault: If the body is invalid.
    """
    policies = body.get("policies")
    if not isinstance(policies, list) or not policies:
        raise BodyFault(INVALID, "policies: a token needs at least one", "/policies")
    value: dict[str, Any] = {
        "policies": [_policy(policy, f"/policies/{index}", owned, account) for index, policy in enumerate(policies)]
    }
    if account is not None:
        value["account"] = account
    if body.get("status") == "disabled":
        value["status"] = "disabled"
    for key in ("not_before", "expires_on"):
        if body.get(key) is not None:
            value[key] = body[key]
    return value | _addresses(body.get("condition"))


def from_token(token: StoredToken, owned: TenantLookup, status: str, last_used: float | None) -> dict[str, Any]:
    """Return a token as it is sent, without its text, which is not stored.

    Args:
        token: The token.
        owned: The accounts and zones that policies may name.
        status: active, disabled, expired or not_yet.
        last_used: When it was last used, in seconds since 1970; None without a recorded use.
    """
    value = token.value
    shown: dict[str, Any] = {
        "id": token.id,
        "name": token.name,
        "status": "active" if status == "not_yet" else status,
        "issued_on": timestamp(token.created_on),
        "modified_on": timestamp(token.modified_on),
        "policies": [_shown(token.id, index, one, owned) for index, one in enumerate(value.get("policies", ()))],
    }
    for key in ("not_before", "expires_on"):
        if key in value:
            shown[key] = value[key]
    ranges = {key: value[name] for key, name in (("in", "addresses"), ("not_in", "not_addresses")) if name in value}
    if ranges:
        shown["condition"] = {"request_ip": ranges}
    if last_used is not None:
        shown["last_used_on"] = timestamp(last_used)
    return shown


def pointer_of(place: tuple[str | int, ...]) -> str:
    """Return the pointer in a body to a fault of a token's value."""
    words = {"addresses": "condition/request_ip/in", "not_addresses": "condition/request_ip/not_in"}
    return "".join(f"/{words.get(str(part), part)}" for part in place)


def _addresses(condition: Any) -> dict[str, Any]:
    """Return the keys of the file for a condition. What is not understood is refused: it would restrict nothing."""
    at = "/condition/request_ip"
    ranges = _known(condition, "/condition", "request_ip").get("request_ip")
    value = {}
    for key, addresses in _known(ranges, at, "in", "not_in").items():
        if not isinstance(addresses, list):
            raise BodyFault(INVALID, f"condition: {_CONDITION}", f"{at}/{key}")
        if addresses:
            value["addresses" if key == "in" else "not_addresses"] = addresses
    return value


def _known(fields: Any, at: str, *known: str) -> dict[str, Any]:
    """Return the fields of a part of a condition, all of them known ones, without nulls."""
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise BodyFault(INVALID, f"condition: {_CONDITION}", at)
    for key in fields:
        if key not in known:
            raise BodyFault(INVALID, f'unknown field "{key}" in a condition: {_CONDITION}', f"{at}/{key}")
    return {key: item for key, item in fields.items() if item is not None}


def _policy(policy: Any, at: str, owned: TenantLookup, account: str | None) -> dict[str, Any]:
    if not isinstance(policy, dict):
        raise BodyFault(INVALID, "expected an object with effect, permission_groups and resources", at)
    for key in policy:
        if key not in _POLICY:
            raise BodyFault(INVALID, f'unknown field "{key}" in a policy', f"{at}/{key}")
    effect = policy.get("effect", "allow")
    if effect not in ("allow", "deny"):
        raise BodyFault(INVALID, "effect: allow or deny", f"{at}/effect")
    value: dict[str, Any] = {"permissions": _permissions(policy.get("permission_groups"), f"{at}/permission_groups")}
    if effect == "deny":
        value["effect"] = "deny"
    accounts, zones, everywhere = _resources(policy.get("resources"), f"{at}/resources", owned, account)
    if not everywhere:
        value |= {key: names for key, names in (("accounts", accounts), ("zones", zones)) if names}
    return value


def _permissions(groups: Any, at: str) -> list[str]:
    if not isinstance(groups, list) or not groups:
        raise BodyFault(INVALID, "permission_groups: at least one", at)
    words = []
    for index, group in enumerate(groups):
        known = (
            GROUPS.get(group.get("id", "")) if isinstance(group, dict) and isinstance(group.get("id"), str) else None
        )
        if known is None:
            raise BodyFault(
                INVALID, "there is no such permission group; .../tokens/permission_groups has them", f"{at}/{index}/id"
            )
        words.append(known.word)
    return words


def _resources(resources: Any, at: str, owned: TenantLookup, account: str | None) -> tuple[list[str], list[str], bool]:
    """Return the accounts and the zones of a policy, by name, and whether it covers all."""
    if not isinstance(resources, dict) or not resources:
        raise BodyFault(INVALID, f'resources: write {{"{_ACCOUNT}ID": "*"}}', at)
    accounts: list[str] = []
    zones: list[str] = []
    everywhere = False
    for key, what in resources.items():
        place = f"{at}/{key}"
        if what != "*" and not (isinstance(what, dict) and what and all(of.startswith(_ZONE) for of in what)):
            raise BodyFault(INVALID, 'write "*", or zones of the account', place)
        if key.startswith(_ZONE):
            _add(key.removeprefix(_ZONE), "zones", zones, place, owned, account)
            everywhere |= key == f"{_ZONE}*"
        elif key.startswith(_ACCOUNT):
            if what == "*" or f"{_ZONE}*" in what:
                everywhere |= key == f"{_ACCOUNT}*"
                _add(key.removeprefix(_ACCOUNT), "accounts", accounts, place, owned, account)
            else:
                for zone in what:
                    _add(zone.removeprefix(_ZONE), "zones", zones, place, owned, account)
        elif not key.startswith(_USER):
            raise BodyFault(INVALID, "this is neither an account nor a zone", place)
    if everywhere and account is not None:
        return [account], [], False
    if not everywhere and not accounts and not zones:
        raise BodyFault(INVALID, "resources: name an account or a zone", at)
    return accounts, zones, everywhere


def _add(object_id: str, section: str, to: list[str], place: str, owned: TenantLookup, account: str | None) -> None:
    if object_id == "*":
        return
    found = owned.get(section, object_id)
    if found is None or account not in (None, owned.account_of(found)):
        raise BodyFault(INVALID, f"there is no such {section.removesuffix('s')}", place)
    to.append(found.name)


def _shown(token_id: str, index: int, policy: Mapping[str, Any], owned: TenantLookup) -> dict[str, Any]:
    words = policy["permissions"]
    groups = [BY_WORD[word] for word in words]
    resources = {}
    for section, prefix in (("accounts", _ACCOUNT), ("zones", _ZONE)):
        for name in policy.get(section, ()):
            if (found := owned.named(section, name)) is not None:
                resources[f"{prefix}{found.id}"] = "*"
    if not policy.get("accounts") and not policy.get("zones"):
        is_of_zones = all(word.partition(":")[0] in OF_ZONES for word in words)
        resources = {f"{_ZONE if is_of_zones else _ACCOUNT}*": "*"}
    return {
        "id": file_id(f"policies/{token_id}", str(index)),
        "effect": policy.get("effect", "allow"),
        "permission_groups": [{"id": group.id, "name": group.name} for group in groups],
        "resources": resources,
    }
