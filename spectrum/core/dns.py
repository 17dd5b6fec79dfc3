"""`dns` at the top of the file: the server where DNS names of apps are published (RFC 2136)."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from spectrum.core.configuration.fields import Address, AsTuple, DnsServer, FilePath, Shown, Strict, text
from spectrum.core.server_names import server_name

# RFC 2181 section 8.
MAX_TTL_S = 2**31 - 1


def _domain(value: Any) -> str:
    given = text(value, "example.com")
    name = server_name(given)
    if name.startswith("*."):
        raise ValueError(f"{given!r}: a name without a wildcard, such as {name[2:]}")
    return name


Domain = Annotated[str, PlainValidator(_domain)]


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value,)


class DnsPublishing(Strict):
    """`dns`: the server and zones where DNS names of apps are published, and their targets."""

    server: DnsServer = Field(
        description="the server that accepts dynamic updates",
    )
    zones: Annotated[tuple[Domain, ...], BeforeValidator(_one_or_more), AsTuple, Shown("domain, or a list of them")] = (
        Field(
            alias="zone",
            min_length=1,
            description="zones of the server. Names in other zones are not published",
        )
    )
    tsig_key: FilePath | None = Field(
        None,
        description="a file with the key that signs updates (RFC 8945), as `tsig-keygen` prints it; without "
        "it the server authorizes by address",
    )
    ttl_s: Annotated[int, Shown("1 to 2,147,483,647")] = Field(
        300,
        alias="ttl",
        ge=1,
        le=MAX_TTL_S,
        description="the time to live of records, in seconds",
    )
    addresses: Annotated[tuple[Address, ...], AsTuple] = Field(
        (),
        description="the public addresses of this machine. Apps that listen on all addresses get A and AAAA "
        "records with them, for the address families that they listen on",
    )
    target: Annotated[Domain | None, Shown("name")] = Field(
        None,
        description="a name; apps that listen on all addresses get a CNAME record to it instead",
    )

    def zone_of(self, name: str) -> str | None:
        """Return the zone of a name: the longest match; None if it is in none."""
        within = [zone for zone in self.zones if name == zone or name.endswith(f".{zone}")]
        return max(within, key=len, default=None)


class DnsKeys(Strict):
    """At the top of the file."""

    dns: DnsPublishing | None = Field(
        None,
        description="the DNS server for the names of apps, see [DNS names](dns.md)",
    )
