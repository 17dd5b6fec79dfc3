"""`dns` at the top of the file: the server where DNS names of apps are published (RFC 2136)."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from spectrum.core.configuration.fields import Address, AsTuple, DnsServer, Strict, text
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

    server: DnsServer
    # Zones of the server. Names in other zones are not published.
    zones: Annotated[tuple[Domain, ...], BeforeValidator(_one_or_more), AsTuple] = Field(alias="zone", min_length=1)
    # As tsig-keygen writes it and nsupdate -k reads it. None: the server authorizes us by address.
    tsig_key: str | None = Field(None, min_length=1)
    ttl_s: int = Field(300, alias="ttl", ge=1, le=MAX_TTL_S)
    # For apps that listen on every address: the addresses of this machine for clients.
    addresses: Annotated[tuple[Address, ...], AsTuple] = ()
    # Names of such apps become aliases of this name instead.
    target: Domain | None = None

    def zone_of(self, name: str) -> str | None:
        """Return the zone of a name: the longest match; None if it is in none."""
        within = [zone for zone in self.zones if name == zone or name.endswith(f".{zone}")]
        return max(within, key=len, default=None)


class DnsKeys(Strict):
    """At the top of the file."""

    dns: DnsPublishing | None = None
