"""What a token of the API may, as it stands in the file: for which objects, until when, and from where."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PlainValidator

from spectrum.core.configuration.faults import nearest
from spectrum.core.configuration.fields import AsTuple, Network, Strict, describe, text
from spectrum.wire.address import unmapped

# What a permission is for: sections of the file, and what the API has beside objects.
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
        raise ValueError(f"{describe(value)} is no time; write 2027-01-31 or 2027-01-31T00:00:00Z") from None


def _hash(value: Any) -> str:
    given = text(value, "sha256:...")
    if not _HASH.fullmatch(given):
        raise ValueError("expected sha256: and 64 hex digits; spectrum token create --hash prints them")
    return given


Permission = Annotated[str, PlainValidator(_permission)]
Instant = Annotated[float, PlainValidator(_instant)]
TokenHash = Annotated[str, PlainValidator(_hash)]
Scopes = Annotated[tuple[str, ...], AsTuple]


class Place(NamedTuple):
    """Where a permission holds: everywhere, in an account with its zones, or in a zone; by name, empty for any."""

    account: str = ""
    zone: str = ""


class TokenPolicy(Strict):
    """One of a token's `policies`: permissions, and the accounts and zones in which they hold."""

    effect: Literal["allow", "deny"] = "allow"
    permissions: Annotated[tuple[Permission, ...], AsTuple] = Field(min_length=1)
    # Everywhere where it names neither. An account's zones are its own.
    accounts: Scopes = ()
    zones: Scopes = ()

    def places(self) -> Iterator[Place]:
        """Yield where it holds."""
        yield from (Place(account=account) for account in self.accounts)
        yield from (Place(zone=zone) for zone in self.zones)
        if not self.accounts and not self.zones:
            yield Place()

    def holds_in(self, account: str, zone: str) -> bool:
        """Tell whether it is about an object of an account, and of a zone if that is not empty."""
        if not self.accounts and not self.zones:
            return True
        return account in self.accounts or (zone != "" and zone in self.zones)

    def names(self, permission: str) -> bool:
        """Tell whether it has a permission, or one that includes it; a policy that denies reading denies all."""
        resource, _, verb = permission.partition(":")
        verbs = (verb, EDIT) if self.effect == "allow" else (verb, READ)
        return any(f"{of}:{which}" in self.permissions for of in (resource, ALL) for which in verbs)


class TokenLimits(Strict):
    """What a token may, without the token."""

    policies: Annotated[tuple[TokenPolicy, ...], AsTuple] = Field(min_length=1)
    # Whose it is: None is the operator's.
    account: str | None = None
    status: Literal["active", "disabled"] = "active"
    not_before_s: Instant | None = Field(None, alias="not_before")
    expires_s: Instant | None = Field(None, alias="expires_on")
    # From where it may be used; everywhere when left out.
    addresses: Annotated[tuple[Network, ...], AsTuple] = ()
    not_addresses: Annotated[tuple[Network, ...], AsTuple] = ()

    def state(self, now: float) -> Literal["active", "disabled", "expired", "not_yet"]:
        """Return what the token is at a time, in seconds since 1970."""
        if self.expires_s is not None and now >= self.expires_s:
            return "expired"
        if self.not_before_s is not None and now < self.not_before_s:
            return "not_yet"
        return self.status

    def takes_from(self, client: str) -> bool:
        """Tell whether it may be used from an IP address."""
        address = unmapped(ip_address(client.partition("%")[0]))
        if any(address in network for network in self.not_addresses):
            return False
        return not self.addresses or any(address in network for network in self.addresses)

    def allows(self, permission: str, account: str, zone: str = "") -> bool:
        """Tell whether it has a permission for an object of an account, or of one of its zones. A denial wins.

        Args:
            permission: Such as `apps:edit`.
            account: The account's name.
            zone: The zone's name; empty for what belongs to the account itself.
        """
        about = [one for one in self.policies if one.holds_in(account, zone) and one.names(permission)]
        return bool(about) and all(one.effect == "allow" for one in about)

    def includes(self, other: Iterable[TokenPolicy], account_of_zone: Callable[[str], str]) -> bool:
        """Tell whether it may all that other policies allow: so that no token makes one that may more."""
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
    """Tell whether a policy is about anything at a place."""
    if place == Place() or policy.holds_in(*place):
        return True
    return place.zone == "" and any(account_of_zone(zone) == place.account for zone in policy.zones)


class Token(TokenLimits):
    """`tokens`: who may use the API. The file has the token's hash, never the token."""

    hash: TokenHash
