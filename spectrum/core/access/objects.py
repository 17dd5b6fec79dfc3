"""An access rule in the file: Cloudflare's IP Access rules, with lists of values and files added."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from spectrum.core.access.lists import AddressList
from spectrum.core.address import parse_address
from spectrum.core.configuration.fields import AsTuple, FilePath, KeyFault, Shown, Strict, asn, country, network

Target = Literal["ip", "ip_range", "country", "asn"]
Action = Literal["allow", "block"]


def _scalar_as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


class AccessRule(Strict):
    """One of `access_rules`: clients, and whether they are allowed."""

    target: Target = Field(
        description="the kind of match: an address, a prefix of any length, a country (`XX`: unknown), an "
        "autonomous system",
    )
    action: Action = Field(
        description="whether such clients are allowed or blocked",
    )
    value: Annotated[str | int | None, Shown("address, prefix, `AS64500` or `DE`", default="one of these four")] = (
        Field(
            None,
            description="the one value of the rule",
        )
    )
    values: Annotated[tuple[str | int, ...], AsTuple, Shown("list of the same", default="one of these four")] = Field(
        (),
        description="several values",
    )
    file: Annotated[FilePath | None, Shown("path", default="one of these four")] = Field(
        None,
        description="for `ip` and `ip_range`: a file with one address or prefix per line; `#` and `;` begin a comment",
    )
    list_name: Annotated[str | None, Shown("one of `lists`", default="one of these four")] = Field(
        None,
        alias="list",
        min_length=1,
        description="see [Lists](access.md#lists)",
    )
    apps: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_scalar_as_tuple),
        AsTuple,
        Shown("list of names", default="all with `ip_firewall: true`"),
    ] = Field(
        None,
        description="the apps that the rule applies to",
    )
    notes: str = Field(
        "",
        description="a comment",
    )
    zone: Annotated[
        str | None, Shown("one of `zones`", default="the apps of all [accounts](configuration.md#accounts-and-zones)")
    ] = Field(
        None,
        description="the rule applies only to the apps of this zone; not together with `account`",
    )
    account: Annotated[str | None, Shown("one of `accounts`", default="the apps of all accounts")] = Field(
        None,
        description="the rule applies only to the apps of this account",
    )

    @model_validator(mode="after")
    def _names_somebody(self) -> "AccessRule":
        named = {"value": self.value, "values": self.values, "file": self.file, "list": self.list_name}
        given = [key for key, found in named.items() if found not in (None, ())]
        if len(given) != 1:
            raise ValueError(
                f"a rule needs exactly one of value, values, file and list; found {' and '.join(given) or 'none'}"
            )
        if self.file is not None and self.target in ("country", "asn"):
            raise KeyFault("a file contains addresses and prefixes; it needs target: ip or ip_range", "file")
        if self.list_name is not None and self.target == "country":
            raise KeyFault(
                "a list contains addresses, prefixes or autonomous systems; write countries as values", "list"
            )
        if self.apps == ():
            raise KeyFault("apps: an empty list applies to no app; omit it for all apps", "apps")
        for index, item in enumerate(self.listed):
            try:
                _READERS[self.target](str(item))
            except ValueError as exc:
                raise KeyFault(str(exc), *(("value",) if self.value is not None else ("values", index))) from exc
        return self

    @property
    def listed(self) -> tuple[str | int, ...]:
        """The entries of `value` or `values`."""
        return self.values if self.value is None else (self.value,)

    @property
    def list_kind(self) -> str:
        """The kind of list for its target."""
        return "asn" if self.target == "asn" else "ip"

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """Return the prefixes of a rule for ip or ip_range in the file itself."""
        return [network(str(item)) for item in self.listed]

    def countries(self) -> list[str]:
        """Return the countries of a rule for country; XX is for clients whose country is unknown."""
        return [country(str(item)) for item in self.listed]

    def numbers(self) -> list[int]:
        """Return the autonomous systems of a rule for asn."""
        return [asn(item) for item in self.listed]


def _address(item: str) -> None:
    try:
        parse_address(item)
    except ValueError as exc:
        raise ValueError(f"{item!r} is not an address; write 192.0.2.1, or target: ip_range for a prefix") from exc


_READERS: dict[str, Any] = {"ip": _address, "ip_range": network, "country": country, "asn": asn}


class GeoIp(Strict):
    """`geoip`: MMDB files with clients' countries and autonomous systems."""

    database: FilePath | None = Field(
        None,
        description="MaxMind DB with countries, read again at each reload and when it changes",
    )
    asn_database: FilePath | None = Field(
        None,
        description="MaxMind DB with autonomous systems, likewise",
    )

    @model_validator(mode="after")
    def _has_any(self) -> "GeoIp":
        if self.database is None and self.asn_database is None:
            raise ValueError("name a database of countries (database) or of autonomous systems (asn_database)")
        return self


class AccessKeys(Strict):
    """At the top of the file."""

    geoip: GeoIp | None = None
    lists: dict[str, AddressList] = Field(
        default_factory=dict,
        description="addresses for several access rules, see [Lists](access.md#lists)",
    )
    access_rules: dict[str, AccessRule] = Field(
        default_factory=dict,
        description="allowed and blocked clients, see [Access rules](access.md)",
    )


class AccessKeysOfApp(Strict):
    """In an app."""

    ip_firewall: bool = Field(
        False,
        description="whether `access_rules` apply: [Access rules](access.md)",
    )
