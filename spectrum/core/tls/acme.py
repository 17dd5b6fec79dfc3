"""Certificates by ACME (RFC 8555) in the file."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from spectrum.core.address import parse_socket_address
from spectrum.core.configuration.fields import AsTuple, DnsServer, Duration, Listen, Strict, text
from spectrum.core.server_names import server_name

FolderPath = Annotated[str, Field(min_length=1)]
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


class AcmeDns(Strict):
    """`dns` of a certificate by ACME: the server that accepts dynamic updates (RFC 2136) of the names' zones."""

    server: DnsServer
    # As tsig-keygen writes it and nsupdate -k reads it. None: the server authorizes us by address.
    key: FolderPath | None = None
    # Time from the answer of this server until all servers of the zone have the record.
    propagation_s: Duration = Field(0.0, alias="propagation")


class AcmeBinding(Strict):
    """`external_account` of a certificate by ACME: the account at the CA that the ACME account is bound to."""

    key_id: str = Field(min_length=1)
    # A file with the HMAC key, in base64url as CAs show it.
    hmac_key: FolderPath


class _AcmeCa(Strict):
    """What is said of a CA, by a certificate or once for many."""

    directory: Annotated[str, AfterValidator(_directory)] = LETS_ENCRYPT
    accept_terms: bool = False
    email: Annotated[str, AfterValidator(_email)] | None = None
    # One of those that the CA offers in its directory.
    profile: str | None = Field(None, min_length=1)
    # Trusted authorities in PEM form for the CA's own certificate. None: the machine's.
    ca: FolderPath | None = None
    external_account: AcmeBinding | None = None
    dns: AcmeDns | None = None


_NEEDS_TERMS = "accept_terms: true is needed: the CA asks whether you accept its terms of service"


class AcmeAuthority(_AcmeCa):
    """One of `acme.authorities`: a CA that certificates name, of the file or the API. Only the file has it."""

    # Of certificates that name none. Those of the API are by this one, too, unless they are by DNS.
    challenge: Challenge = "http-01"
    # What the CA issues, which the API tells; a CA is not asked for it.
    validity_days: int = Field(90, ge=1, le=398)

    @model_validator(mode="after")
    def _can_be_used(self) -> "AcmeAuthority":
        if not self.accept_terms:
            raise ValueError(_NEEDS_TERMS)
        if self.challenge == "dns-01" and self.dns is None:
            raise ValueError("challenge: dns-01 needs dns: {server:, key:}, a server that takes dynamic updates")
        return self


class Acme(_AcmeCa):
    """`acme` of a certificate: what is asked for, of which CA, and how it is shown that the names are ours."""

    names: Annotated[tuple[Annotated[str, PlainValidator(lambda value: server_name(text(value)))], ...], AsTuple] = (
        Field(max_length=MAX_NAMES)
    )
    # One of `acme.authorities`, which has what is said of the CA.
    authority: str | None = Field(None, min_length=1)
    # None: the authority's, or tls-alpn-01.
    challenge: Challenge | None = None
    key_type: Literal["ecdsa", "rsa"] = "ecdsa"

    @model_validator(mode="after")
    def _can_be_ordered(self) -> "Acme":
        if not self.names:
            raise ValueError("names: an empty list; write the names that the certificate is for")
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(f"names: {repeated[0]} is listed twice")
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
            raise ValueError(f"dns is for challenge: dns-01; here it is {challenge}")
        if (wildcard := self.wildcard) is not None and challenge != "dns-01":
            raise ValueError(f"names: {wildcard} needs challenge: dns-01 (RFC 8555 section 7.1.3)")
        return self

    @property
    def wildcard(self) -> str | None:
        """The first name that only dns-01 can show to be ours; None without any."""
        return next((name for name in self.names if name.startswith("*.")), None)


class AcmeAccounts(Strict):
    """`acme.per_account`: what each account may order by the API. CAs limit all of a daemon's orders together."""

    certificates: int = Field(100, ge=0)
    # Let's Encrypt issues 50 certificates a week for a registered domain.
    orders_per_week: int = Field(50, ge=0)


class AcmeService(Strict):
    """Top-level `acme`: the daemon's settings for certificates by ACME."""

    # Folder of account keys, certificates, and renewal times.
    folder: FolderPath = DEFAULT_FOLDER
    # Address that answers http-01, while an order needs it (RFC 8555 section 8.3: CAs use port 80). [::] is both
    # families.
    http: Listen = parse_socket_address("[::]:80")
    authorities: dict[str, AcmeAuthority] = Field(default_factory=dict)
    per_account: AcmeAccounts = AcmeAccounts()


class AcmeKeys(Strict):
    """At the top of the file."""

    acme: AcmeService = AcmeService()


def whole_order(acme: Acme, service: AcmeService) -> Acme:
    """Return what a certificate is ordered by: what it says itself, and the rest from the authority that it names."""
    authority = service.authorities.get(acme.authority or "")
    if authority is None:
        return acme.model_copy(update={"challenge": acme.challenge or DEFAULT_CHALLENGE})
    said = {key: getattr(authority, key) for key in _AcmeCa.model_fields}
    return acme.model_copy(update={**said, "challenge": acme.challenge or authority.challenge})
