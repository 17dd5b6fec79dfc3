"""Accounts, zones and the DNS names of apps as they stand in the file, with Cloudflare's field names."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from spectrum.core.configuration.fields import Strict, text
from spectrum.core.server_names import server_name
from spectrum.core.tenants.tokens import Token

# Cloudflare's own limit of most names.
MAX_DISPLAY_NAME = 255
DisplayName = Annotated[str, Field(min_length=1, max_length=MAX_DISPLAY_NAME)]


def _dns_name(value: Any) -> str:
    given = text(value, "ssh.example.com")
    try:
        name = server_name(given)
    except ValueError:
        raise ValueError(f"{given!r} is no DNS name; write ssh.example.com") from None
    if "." not in name:
        raise ValueError(f"{given!r}: a name in a zone, such as {name}.example.com")
    return name


DnsName = Annotated[str, PlainValidator(_dns_name)]


class Account(Strict):
    """`accounts`: who shares the edge. Their objects do not see each other."""

    # What the API calls it, where it is not its key.
    name: DisplayName | None = None
    type: Literal["standard", "enterprise"] = "standard"


class Zone(Strict):
    """`zones`: domains, in which apps have their names."""

    # The first one of the file when left out, as everywhere.
    account: str | None = None
    # The domain, where it is not its key: one of more than 63 characters.
    name: DnsName | None = None


class Dns(Strict):
    """`dns` of an app: the name that clients look up."""

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
    # The longest one that its name ends with when left out, else the first one of the file.
    zone: str | None = None
