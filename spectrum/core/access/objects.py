"""An access rule as it stands in the file: Cloudflare's IP Access rules, with lists of values and files added."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from spectrum.core.address import parse_address
from spectrum.core.configuration.fields import AsTuple, Strict, country, describe, network

Target = Literal["ip", "ip_range", "country", "asn"]
Action = Literal["allow", "block"]
# RFC 6793: 32 bits.
MAX_ASN = 2**32 - 1


def _scalar_as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


class AccessRule(Strict):
    """One of `access_rules`: whom it is about, and whether they get in."""

    target: Target
    action: Action
    # One of these three; `value` and `values` are the same.
    value: str | int | None = None
    values: Annotated[tuple[str | int, ...], AsTuple] = ()
    file: str | None = Field(None, min_length=1)
    # None: all apps with ip_firewall.
    apps: Annotated[tuple[str, ...] | None, BeforeValidator(_scalar_as_tuple), AsTuple] = None
    notes: str = ""

    @model_validator(mode="after")
    def _names_somebody(self) -> "AccessRule":
        given = [key for key in ("value", "values", "file") if getattr(self, key) not in (None, ())]
        if len(given) != 1:
            raise ValueError(f"a rule has exactly one of value, values and file; found {' and '.join(given) or 'none'}")
        if self.file is not None and self.target in ("country", "asn"):
            raise ValueError("a file holds addresses and prefixes; it goes with target: ip or ip_range")
        if self.apps == ():
            raise ValueError("apps: an empty list would hold for nobody; leave it out for all apps")
        for item in self.listed:
            _READERS[self.target](str(item))
        return self

    @property
    def listed(self) -> tuple[str | int, ...]:
        """What stands in `value` or `values`."""
        return self.values if self.value is None else (self.value,)

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """Return the prefixes of a rule for ip or ip_range that stand in the file itself."""
        return [network(str(item)) for item in self.listed]

    def countries(self) -> list[str]:
        """Return the countries of a rule for country; XX is for clients whose country is not known."""
        return [country(str(item)) for item in self.listed]

    def numbers(self) -> list[int]:
        """Return the autonomous systems of a rule for asn."""
        return [asn(item) for item in self.listed]


def _address(item: str) -> None:
    try:
        parse_address(item)
    except ValueError as exc:
        raise ValueError(f"{item!r} is no address; write 192.0.2.1, or target: ip_range for a prefix") from exc


def asn(item: str | int) -> int:
    """Return the number of an autonomous system, as AS64500 or 64500; raise ValueError where it is none."""
    digits = str(item).upper().removeprefix("AS")
    if digits.isascii() and digits.isdecimal() and 0 < int(digits) <= MAX_ASN:
        return int(digits)
    raise ValueError(f"{describe(item)} is no autonomous system; write AS64500")


_READERS: dict[str, Any] = {"ip": _address, "ip_range": network, "country": country, "asn": asn}


class GeoIp(Strict):
    """`geoip`: MMDB files that tell a client's country and autonomous system."""

    database: str | None = Field(None, min_length=1)
    asn_database: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _has_any(self) -> "GeoIp":
        if self.database is None and self.asn_database is None:
            raise ValueError("name a database of countries (database) or of autonomous systems (asn_database)")
        return self


class AccessKeys(Strict):
    """At the top of the file."""

    geoip: GeoIp | None = None
    access_rules: dict[str, AccessRule] = Field(default_factory=dict)


class AccessKeysOfApp(Strict):
    """In an app."""

    # Whether `access_rules` are asked.
    ip_firewall: bool = False
