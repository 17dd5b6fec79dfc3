"""Accounts, zones and the DNS names of apps in the file, with Cloudflare's field names."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from spectrum.core.configuration.fields import Shown, Strict, text
from spectrum.core.server_names import server_name
from spectrum.core.tenants.tokens import Token

# Cloudflare's limit for most names.
MAX_DISPLAY_NAME = 255
DisplayName = Annotated[str, Field(min_length=1, max_length=MAX_DISPLAY_NAME)]


def _dns_name(value: Any) -> str:
    given = text(value, "ssh.example.com")
    try:
        name = server_name(given)
    except ValueError:
        raise ValueError(f"{given!r} is not a DNS name; write ssh.example.com") from None
    if "." not in name:
        raise ValueError(f"{given!r}: a name in a zone, such as {name}.example.com")
    return name


DnsName = Annotated[str, PlainValidator(_dns_name)]


class Account(Strict):
    """`accounts`: the tenants of the edge. Their objects are separate."""

    name: DisplayName | None = Field(
        None,
        description="the name of the account in the API, if it is not its key",
    )
    type: Literal["standard", "enterprise"] = Field(
        "standard",
        description="shown by the API; it has no other effect",
    )


class Zone(Strict):
    """`zones`: domains for the names of apps."""

    account: Annotated[
        str | None,
        Shown("one of `accounts`", default="`default` if there is an account of this name, else the first account"),
    ] = Field(
        None,
        description="the owner of the zone",
    )
    name: Annotated[DnsName | None, Shown("domain", default="the key")] = Field(
        None,
        description="the domain, if it is too long for a key",
    )


class Dns(Strict):
    """`dns` of an app: its DNS name for clients."""

    type: Literal["CNAME", "ADDRESS"] = Field(
        "CNAME",
        description="`ADDRESS` requires `edge_ips` with addresses, `CNAME` is for apps on every address",
    )
    name: Annotated[DnsName, Shown("`ssh.example.com`")] = Field(
        description="the DNS name of an app. Two apps may have the same name only if their protocols or ports differ",
    )


class TenantKeys(Strict):
    """At the top of the file."""

    accounts: dict[str, Account] = Field(
        default_factory=dict,
        description="owners of objects, see [Accounts and zones](configuration.md#accounts-and-zones)",
    )
    zones: dict[str, Zone] = Field(
        default_factory=dict,
        description="domains for the names of apps, see [Accounts and zones](configuration.md#accounts-and-zones)",
    )
    tokens: dict[str, Token] = Field(
        default_factory=dict,
        description="tokens of the API, see [Accounts and zones](configuration.md#accounts-and-zones)",
    )


class TenantKeysOfApp(Strict):
    """In an app."""

    dns: Annotated[Dns | None, Shown("`{type: CNAME / ADDRESS, name}`")] = Field(
        None,
        description="the name that clients look up: [Accounts and zones](configuration.md#accounts-and-zones)",
    )
    zone: Annotated[
        str | None, Shown("one of `zones`", default="the longest domain that `dns.name` ends with, else the first zone")
    ] = Field(
        None,
        description="the zone that the app belongs to",
    )
