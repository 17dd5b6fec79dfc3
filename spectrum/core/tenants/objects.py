"""Accounts, zones and the DNS names of apps in the file, with Cloudflare's field names."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from spectrum.core.configuration.fields import Strict, text
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

    # Its name in the API, if that is not its key.
    name: DisplayName | None = None
    type: Literal["standard", "enterprise"] = "standard"


class Zone(Strict):
    """`zones`: domains for the names of apps."""

    # By default the first account of the file, as everywhere.
    account: str | None = None
    # The domain, if it is not its key: one of more than 63 characters.
    name: DnsName | None = None


class Dns(Strict):
    """`dns` of an app: its DNS name for clients."""

    type: Literal["CNAME", "ADDRESS"] = "CNAME"
    name: DnsName


class TenantKeys(Strict):
    """At the top of the file."""

    accounts: dict[str, Account] = Field(default_factory=dict)
    zones: dict[str, Zone] = Field(default_factory=dict)
    tokens: dict[str, Token] = Field(default_factory=dict)


class TenantKeysOfApp(Strict):
    """In an app."""

    dns: Dns | None = None
    # By default the longest one that its name ends with, otherwise the first one of the file.
    zone: str | None = None
