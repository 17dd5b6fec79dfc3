"""Tokens of the API in the file: permissions on objects, expiry, and allowed addresses."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PlainValidator

from spectrum.core.configuration.faults import nearest
from spectrum.core.configuration.fields import AsTuple, Network, Shown, Strict, describe, text
from spectrum.wire.address import unmapped

# The subjects of permissions: sections of the file, and other resources of the API.
RESOURCES = (
    "accounts",
    "zones",
    "apps",
    "load_balancers",
    "pools",
    "monitors",
    "monitor_groups",
    "access_rules",
    "lists",
    "certificates",
    "rulesets",
    "tcp_protection",
    "tokens",
    "audit_logs",
    "analytics",
    "diagnostics",
)
ALL = "all"
READ, EDIT = "read", "edit"
# Of each resource, and of all of them.
PERMISSIONS = tuple(f"{resource}:{verb}" for resource in (*RESOURCES, ALL) for verb in (READ, EDIT))
_HASH = re.compile("sha256:[0-9a-f]{64}")


def _permission(value: Any) -> str:
    word = text(value, "apps:edit")
    if word not in PERMISSIONS:
        raise ValueError(f"there is no permission {word!r}{nearest(word, list(PERMISSIONS))}")
    return word


def _instant(value: Any) -> float:
    given = text(value, "2027-01-31T00:00:00Z")
    try:
        found = datetime.fromisoformat(given)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{describe(value)} is not a time; write 2027-01-31 or 2027-01-31T00:00:00Z") from None


def _hash(value: Any) -> str:
    given = text(value, "sha256:...")
    if not _HASH.fullmatch(given):
        raise ValueError("expected sha256: and 64 hex digits; spectrum token create --hash prints them")
    return given


Permission = Annotated[str, PlainValidator(_permission)]
Instant = Annotated[float, PlainValidator(_instant), Shown("`2027-01-31`, `2027-01-31T12:00:00Z`")]
TokenHash = Annotated[str, PlainValidator(_hash), Shown("`sha256:` and 64 hex digits")]
Scopes = Annotated[tuple[str, ...], AsTuple]


class Place(NamedTuple):
    """The scope of a permission: everything, an account with its zones, or a zone; by name, empty for any."""

    account: str = ""
    zone: str = ""


class TokenPolicy(Strict):
    """One of a token's `policies`: permissions, and the accounts and zones that they apply to."""

    effect: Literal["allow", "deny"] = Field(
        "allow",
        description="whether the rights are given or denied",
    )
    permissions: Annotated[tuple[Permission, ...], AsTuple, Shown("list of `RESOURCE:read`, `RESOURCE:edit`")] = Field(
        min_length=1,
        description="`edit` includes `read`. `RESOURCE` is `accounts`, `zones`, `apps`, `load_balancers`, "
        "`pools`, `monitors`, `monitor_groups`, `access_rules`, `lists`, `certificates`, "
        "`rulesets`, `tcp_protection`, `tokens`, `audit_logs`, `analytics`, `diagnostics` or "
        "`all`",
    )
    accounts: Annotated[Scopes, Shown(default="everywhere")] = Field(
        (),
        description="accounts, with their zones, where the policy applies",
    )
    zones: Annotated[Scopes, Shown(default="everywhere")] = Field(
        (),
        description="zones where the policy applies",
    )

    def places(self) -> Iterator[Place]:
        """Yield its scopes."""
        yield from (Place(account=account) for account in self.accounts)
        yield from (Place(zone=zone) for zone in self.zones)
        if not self.accounts and not self.zones:
            yield Place()

    def holds_in(self, account: str, zone: str) -> bool:
        """Return whether it applies to an object of an account, and of a zone if that is not empty."""
        if not self.accounts and not self.zones:
            return True
        return account in self.accounts or (zone != "" and zone in self.zones)

    def names(self, permission: str) -> bool:
        """Return whether it contains a permission, or one that includes it; a policy that denies reading denies all."""
        resource, _, verb = permission.partition(":")
        verbs = (verb, EDIT) if self.effect == "allow" else (verb, READ)
        return any(f"{of}:{which}" in self.permissions for of in (resource, ALL) for which in verbs)


class TokenLimits(Strict):
    """The permissions of a token, without the token."""

    policies: Annotated[tuple[TokenPolicy, ...], AsTuple, Shown("list of policies", opens=True)] = Field(
        min_length=1,
        description="the rights of the token, and where they apply. `deny` takes precedence",
    )
    account: Annotated[str | None, Shown("one of `accounts`")] = Field(
        None,
        description="the owner of the token; without it the operator",
    )
    status: Literal["active", "disabled"] = Field(
        "active",
        description="a disabled token is refused",
    )
    not_before_s: Instant | None = Field(
        None,
        alias="not_before",
        description="the beginning of the token's period of validity",
    )
    expires_s: Instant | None = Field(
        None,
        alias="expires_on",
        description="the end of the token's period of validity",
    )
    addresses: Annotated[tuple[Network, ...], AsTuple, Shown(default="everywhere")] = Field(
        (),
        description="the addresses from which the token may be used",
    )
    not_addresses: Annotated[tuple[Network, ...], AsTuple] = Field(
        (),
        description="addresses from which the token may not be used",
    )

    def state(self, now: float) -> Literal["active", "disabled", "expired", "not_yet"]:
        """Return the token's state at a time, in seconds since 1970."""
        if self.expires_s is not None and now >= self.expires_s:
            return "expired"
        if self.not_before_s is not None and now < self.not_before_s:
            return "not_yet"
        return self.status

    def takes_from(self, client: str) -> bool:
        """Return whether it may be used from an IP address."""
        address = unmapped(ip_address(client.partition("%")[0]))
        if any(address in network for network in self.not_addresses):
            return False
        return not self.addresses or any(address in network for network in self.addresses)

    def allows(self, permission: str, account: str, zone: str = "") -> bool:
        """Return whether it has a permission for an object of an account, or of one of its zones. Denials have
        precedence.

        Args:
            permission: Such as `apps:edit`.
            account: The account's name.
            zone: The zone's name; empty for objects of the account itself.
        """
        about = [one for one in self.policies if one.holds_in(account, zone) and one.names(permission)]
        return bool(about) and all(one.effect == "allow" for one in about)

    def includes(self, other: Iterable[TokenPolicy], account_of_zone: Callable[[str], str]) -> bool:
        """Return whether it has all permissions of other policies: no token may create one with more."""
        return all(
            self._grants(permission, place, account_of_zone)
            for policy in other
            if policy.effect == "allow"
            for permission in policy.permissions
            for place in policy.places()
        )

    def _grants(self, permission: str, place: Place, account_of_zone: Callable[[str], str]) -> bool:
        if permission.startswith(f"{ALL}:"):
            verb = permission.partition(":")[2]
            return all(self._grants(f"{resource}:{verb}", place, account_of_zone) for resource in RESOURCES)
        account = place.account or (account_of_zone(place.zone) if place.zone else "")
        about = [one for one in self.policies if one.names(permission)]
        denied = any(one.effect == "deny" and _meets(one, Place(account, place.zone), account_of_zone) for one in about)
        return not denied and any(one.effect == "allow" and one.holds_in(account, place.zone) for one in about)


def _meets(policy: TokenPolicy, place: Place, account_of_zone: Callable[[str], str]) -> bool:
    """Return whether a policy applies to anything in a scope."""
    if place == Place() or policy.holds_in(*place):
        return True
    return place.zone == "" and any(account_of_zone(zone) == place.account for zone in policy.zones)


class Token(TokenLimits):
    """`tokens`: users of the API. The file has the token's hash, never the token."""

    hash: TokenHash = Field(
        description="the hash of the token's text",
    )
