"""Certificates by ACME (RFC 8555) in the file."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from spectrum.core.address import parse_socket_address
from spectrum.core.configuration.fields import (
    AsTuple,
    DnsServer,
    Duration,
    FilePath,
    KeyFault,
    Listen,
    Shown,
    Strict,
    text,
)
from spectrum.core.server_names import server_name

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
DEFAULT_FOLDER = "/var/lib/spectrum/acme"
# The limit of Let's Encrypt, and of nearly all others.
MAX_NAMES = 100
Challenge = Literal["tls-alpn-01", "http-01", "dns-01"]
DEFAULT_CHALLENGE: Challenge = "tls-alpn-01"


def _directory(value: str) -> str:
    if urlsplit(value).scheme not in ("https", "http") or not urlsplit(value).hostname:
        raise ValueError(f"{value!r} is not a URL of an ACME directory, such as {LETS_ENCRYPT}")
    return value


def _email(value: str) -> str:
    if "@" not in value.strip("@") or any(sign in value for sign in " ,?"):
        raise ValueError(f"{value!r} is not an email address")
    return value


def is_wildcard(name: str) -> bool:
    """Return whether a name stands for all names one label below a domain."""
    return name.startswith("*.")


class AcmeDns(Strict):
    """`dns` of a certificate by ACME: the server that accepts dynamic updates (RFC 2136) of the names' zones."""

    server: DnsServer = Field(
        description="the name server that accepts dynamic updates (RFC 2136) of the zones of the names",
    )
    key: FilePath | None = Field(
        None,
        description="the file with the key that signs updates, as `tsig-keygen` prints it; without it the "
        "server authorizes by address",
    )
    propagation_s: Duration = Field(
        0.0,
        alias="propagation",
        description="time from the server's answer until all servers of the zone have the record",
    )


class AcmeBinding(Strict):
    """`external_account` of a certificate by ACME: the account at the CA that the ACME account is bound to."""

    key_id: str = Field(
        min_length=1,
        description="the id of the account at the CA",
    )
    hmac_key: FilePath = Field(
        description="the file with the key in base64url, as the CA displays it",
    )


class _AcmeCa(Strict):
    """What is said of a CA, by a certificate or once for many."""

    directory: Annotated[str, AfterValidator(_directory), Shown("URL", default="Let's Encrypt's")] = Field(
        LETS_ENCRYPT,
        description="the URL of the CA's directory",
    )
    accept_terms: Annotated[bool, Shown("`true`", default="required")] = Field(
        False,
        description="you accept the CA's terms of service",
    )
    email: Annotated[Annotated[str, AfterValidator(_email)] | None, Shown("address")] = Field(
        None,
        description="the contact address for the CA; some CAs require it",
    )
    profile: Annotated[str | None, Shown("text", default="the CA's")] = Field(
        None,
        min_length=1,
        description="one of the profiles in the CA's directory, such as Let's Encrypt's `shortlived`",
    )
    ca: Annotated[FilePath | None, Shown("path", default="the machine's")] = Field(
        None,
        description="authorities in PEM form for the CA's own HTTPS certificate",
    )
    external_account: Annotated[AcmeBinding | None, Shown("`{key_id, hmac_key: PATH}`")] = Field(
        None,
        description="for CAs that require an external account (RFC 8555 section 7.3.4): `hmac_key` is a file "
        "with the key in base64url, as the CA displays it",
    )
    dns: Annotated[AcmeDns | None, Shown("`{server, key: PATH, propagation: 0}`")] = Field(
        None,
        description="with `dns-01`: the name server that accepts dynamic updates",
    )


_NEEDS_TERMS = "accept_terms: true is needed: the CA asks whether you accept its terms of service"


class AcmeAuthority(_AcmeCa):
    """One of `acme.authorities`: a CA that certificates name, of the file or the API. Only the file has it."""

    challenge: Challenge = Field(
        "http-01",
        description="the challenge of certificates that set none. In the API it is `validation_method: http`, "
        "whether it is `http-01` or `tls-alpn-01`; `txt` is `dns-01`",
    )
    validity_days: int = Field(
        90,
        ge=1,
        le=398,
        description="the lifetime of the CA's certificates, as the API shows it. It does not change the "
        "lifetime; `profile` may",
    )

    @model_validator(mode="after")
    def _can_be_used(self) -> "AcmeAuthority":
        if not self.accept_terms:
            raise ValueError(_NEEDS_TERMS)
        if self.challenge == "dns-01" and self.dns is None:
            raise ValueError("challenge: dns-01 needs dns: {server:, key:}, a server that takes dynamic updates")
        return self


class Acme(_AcmeCa):
    """`acme` of a certificate: what is asked for, of which CA, and how it is shown that the names are ours."""

    names: Annotated[
        tuple[Annotated[str, PlainValidator(lambda value: server_name(text(value)))], ...],
        AsTuple,
        Shown("list of host names, at most 100"),
    ] = Field(
        max_length=MAX_NAMES,
        description="the names of the certificate; `*.example.com` needs `dns-01`",
    )
    authority: Annotated[str | None, Shown("one of `acme.authorities`")] = Field(
        None,
        min_length=1,
        description="the CA, defined at the top of the file: `directory`, `accept_terms`, `email`, `profile`, "
        "`ca`, `external_account` and `dns` are then set there only; see "
        "[Authorities](tls.md#authorities)",
    )
    challenge: Annotated[Challenge | None, Shown(default="`tls-alpn-01`, or the authority's")] = Field(
        None,
        description="how the CA validates the names; see below",
    )
    key_type: Literal["ecdsa", "rsa"] = Field(
        "ecdsa",
        description="P-256, or 2048 bits for very old clients. Each certificate has a new key",
    )

    @model_validator(mode="after")
    def _can_be_ordered(self) -> "Acme":
        if not self.names:
            raise KeyFault("names: an empty list; write the names that the certificate is for", "names")
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise KeyFault(f"names: {repeated[0]} is listed twice", "names")
        if self.authority is not None:
            if said := sorted(self.model_fields_set & _AcmeCa.model_fields.keys()):
                raise ValueError(f"{said[0]} does not go with authority: acme.authorities.{self.authority} has it")
            return self
        if not self.accept_terms:
            raise ValueError(_NEEDS_TERMS)
        challenge = self.challenge or DEFAULT_CHALLENGE
        if challenge == "dns-01" and self.dns is None:
            raise ValueError("challenge: dns-01 needs dns: {server:, key:}, a server that takes dynamic updates")
        if challenge != "dns-01" and self.dns is not None:
            raise KeyFault(f"dns is for challenge: dns-01; here it is {challenge}", "dns")
        return self

    @property
    def wildcards(self) -> list[int]:
        """The indexes of names that only dns-01 can validate (RFC 8555 section 7.1.3)."""
        return [index for index, name in enumerate(self.names) if is_wildcard(name)]


class AcmeAccounts(Strict):
    """`acme.per_account`: what each account may order by the API. CAs limit all of a daemon's orders together."""

    certificates: int = Field(
        100,
        ge=0,
        description="ordered certificates that an account may have in the store",
    )
    # Let's Encrypt issues 50 certificates a week for a registered domain.
    orders_per_week: int = Field(
        50,
        ge=0,
        description="orders of an account by the API in seven days, including "
        "[repeated](api.md#ordered-certificates) ones. Renewals and retries by the daemon do not "
        "count",
    )


class AcmeService(Strict):
    """Top-level `acme`: the daemon's settings for certificates by ACME."""

    folder: FilePath = Field(
        DEFAULT_FOLDER,
        description="the folder of account keys, certificates with their keys, and renewal times",
    )
    http: Listen = Field(
        parse_socket_address("[::]:80"),
        description="where `http-01` is answered while an order needs it (RFC 8555 section 8.3: CAs use port "
        "80); `[::]` is both families",
    )
    authorities: dict[str, AcmeAuthority] = Field(
        default_factory=dict,
        description="CAs that certificates can name: see [Authorities](tls.md#authorities)",
    )
    per_account: AcmeAccounts = Field(
        AcmeAccounts(),
        description="what each account may order by the API",
    )


class AcmeKeys(Strict):
    """At the top of the file."""

    acme: Annotated[AcmeService, Shown("mapping", default="none")] = Field(
        AcmeService(),
        description="settings for all certificates by ACME, see [TLS](tls.md#certificates-by-acme)",
    )


def whole_order(acme: Acme, service: AcmeService) -> Acme:
    """Return what a certificate is ordered by: what it says itself, and the rest from the authority that it names."""
    authority = service.authorities.get(acme.authority or "")
    if authority is None:
        return acme.model_copy(update={"challenge": acme.challenge or DEFAULT_CHALLENGE})
    said = {key: getattr(authority, key) for key in _AcmeCa.model_fields}
    return acme.model_copy(update={**said, "challenge": acme.challenge or authority.challenge})
