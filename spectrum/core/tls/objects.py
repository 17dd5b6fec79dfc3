"""TLS in the file: certificates, and the TLS of apps with clients and origins."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from spectrum.core.address import is_name, parse_address
from spectrum.core.configuration.cloudflare import CloudflareKeysOfCertificate
from spectrum.core.configuration.fields import (
    AsTuple,
    FilePath,
    KeyFault,
    PositiveDuration,
    Shown,
    Strict,
    describe,
    text,
)
from spectrum.core.tls.acme import Acme, AcmeKeys

# RFC 7301 section 3.1: the length of a name has one byte.
MAX_PROTOCOL_BYTES = 255
MAX_PRIORITY = 1_000_000


def _version(value: Any) -> str:
    # YAML reads 1.2 as a number.
    if not isinstance(value, bool) and str(value) in ("1.2", "1.3"):
        return str(value)
    raise ValueError(f'expected "1.2" or "1.3", found {describe(value)}')


def _protocols(value: tuple[str, ...]) -> tuple[str, ...]:
    for protocol in value:
        if not (0 < len(protocol) <= MAX_PROTOCOL_BYTES and protocol.isascii()):
            raise ValueError(f"{protocol!r} is not an ALPN protocol; write h2 or http/1.1")
    return value


def _peer_name(value: Any) -> str:
    name = text(value)
    if is_name(name):
        return name
    try:
        return str(parse_address(name))
    except ValueError as exc:
        raise ValueError(f"{name!r} is neither a host name nor an address") from exc


Version = Annotated[str, PlainValidator(_version)]
Protocols = Annotated[tuple[str, ...], AsTuple, AfterValidator(_protocols)]
PeerName = Annotated[str, PlainValidator(_peer_name)]
Mode = Literal["off", "flexible", "full", "strict"]


class Certificate(CloudflareKeysOfCertificate):
    """One of `certificates`: files in PEM form, and an OCSP response in DER form to be stapled; or ordered by ACME.
    Those received by the API are not files: the chain is text, and the key sealed (`store/sealing.py`).
    """

    certificate: Annotated[FilePath | None, Shown("path", default="required without `acme`")] = Field(
        None,
        description="the certificate with its chain, in PEM form",
    )
    key: Annotated[FilePath | None, Shown("path", default="required without `acme`")] = Field(
        None,
        description="its private key, in PEM form",
    )
    ocsp: FilePath | None = Field(
        None,
        description="an OCSP response in DER form, which is stapled",
    )
    acme: Annotated[Acme | None, Shown("mapping")] = Field(
        None,
        description="instead of files: see [Certificates by ACME](tls.md#certificates-by-acme)",
    )
    chain: Annotated[str | None, Shown("text")] = Field(
        None,
        min_length=1,
        description="written by the API: the certificate with its chain, in PEM form",
    )
    sealed_key: Annotated[str | None, Shown("text")] = Field(
        None,
        min_length=1,
        description="written by the API: the private key, which only this installation can decrypt",
    )
    priority: int = Field(
        0,
        ge=0,
        le=MAX_PRIORITY,
        description="of several certificates for a name, apps without a list of their own use the one with "
        "the highest; of equals the first",
    )
    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )
    zone: Annotated[str | None, Shown("one of `zones`")] = Field(
        None,
        description="its zone in the API",
    )

    @model_validator(mode="after")
    def _has_files_or_is_ordered(self) -> "Certificate":
        given = [key for key in ("certificate", "key", "ocsp") if getattr(self, key) is not None]
        if self.chain is not None or self.sealed_key is not None:
            if self.chain is None or self.sealed_key is None:
                raise ValueError("chain and sealed_key are written together by the API")
            if given or self.acme is not None:
                raise ValueError(f"{given[0] if given else 'acme'} contradicts chain and sealed_key: write one of them")
        elif self.acme is not None:
            if given:
                raise ValueError(f"{given[0]} is a file, acme orders one from the CA: write one of them")
        elif missing := [key for key in ("certificate", "key") if key not in given]:
            raise ValueError(f"it needs {missing[0]}: a file in PEM form; or acme: {{names: [...]}} to order one")
        return self


class _Versions(Strict):
    min_version: Annotated[Version, Shown("`1.2`, `1.3`")] = Field(
        "1.2",
        description="the lowest version of TLS; older ones are not supported",
    )
    max_version: Annotated[Version, Shown("`1.2`, `1.3`")] = Field(
        "1.3",
        description="the highest version of TLS",
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> "_Versions":
        if self.min_version > self.max_version:
            raise KeyFault(f"min_version {self.min_version} is above max_version {self.max_version}", "min_version")
        return self

    @property
    def versions(self) -> tuple[str, str]:
        """The minimum and the maximum."""
        return self.min_version, self.max_version


class EdgeTls(_Versions):
    """`edge_tls` of an app: TLS with clients."""

    certificates: Annotated[tuple[str, ...] | None, AsTuple, Shown("list of names", default="all")] = Field(
        None,
        description="certificates of the app; clients that send no name get the first one",
    )
    unknown_names: Literal["default", "refuse"] = Field(
        "default",
        description="for a name that no certificate has: use the first certificate, or refuse",
    )
    alpn: Annotated[Protocols, Shown("`[h2, http/1.1]`")] = Field(
        (),
        description="the protocols in order of preference. A client that offers only other protocols is refused "
        "(RFC 7301); without this key the edge ignores ALPN",
    )
    client_ca: FilePath | None = Field(
        None,
        description="authorities in PEM form for clients' certificates (mTLS)",
    )
    client_certificate: Literal["required", "optional"] = Field(
        "required",
        description="with `client_ca`: whether a client without a certificate is accepted. An invalid one is "
        "never accepted",
    )
    # nginx's ssl_handshake_timeout is a minute; two round trips and a slow phone need a few seconds.
    handshake_timeout_s: PositiveDuration = Field(
        10.0,
        alias="handshake_timeout",
        description="timeout of the handshake, after which the client is reset",
    )

    @model_validator(mode="after")
    def _has_certificates(self) -> "EdgeTls":
        if self.certificates == ():
            raise KeyFault("certificates: an empty list; omit it for all of the file", "certificates")
        if "client_certificate" in self.model_fields_set and self.client_ca is None:
            raise KeyFault(
                "client_certificate needs client_ca, against which certificates of clients are verified",
                "client_certificate",
            )
        return self


class OriginTls(_Versions):
    """`origin_tls` of an app: TLS with origins."""

    server_name: Annotated[
        PeerName | None,
        Shown(
            "name or address",
            default="the name of `origin_dns` or of the pool's origin, or the address if there is no name",
        ),
    ] = Field(
        None,
        description="the name in SNI, which the certificate must match",
    )
    ca: Annotated[FilePath | None, Shown("path", default="the machine's")] = Field(
        None,
        description="with `strict`: authorities in PEM form",
    )
    certificate: Annotated[str | None, Shown("one of `certificates`")] = Field(
        None,
        description="client certificate for origins that request one",
    )
    alpn: Annotated[Protocols, Shown("`[h2, http/1.1]`")] = Field(
        (),
        description="protocols to offer if none was agreed with the client; otherwise the client's protocol is "
        "offered, because its bytes are forwarded",
    )


class SessionTickets(Strict):
    """`session_tickets`: the keys with which any worker resumes TLS sessions are rotated at this interval."""

    rotate_s: PositiveDuration = Field(
        12 * 3600.0,
        alias="rotate",
        description="interval at which the keys of TLS session tickets change",
    )


def _mode(value: Any) -> Any:
    return "off" if value is False else value  # YAML 1.1 reads off as a boolean.


class TlsKeys(AcmeKeys):
    """At the top of the file."""

    session_tickets: SessionTickets = SessionTickets()
    certificates: dict[str, Certificate] = Field(
        default_factory=dict,
        description="certificates with their keys, or by ACME, see [TLS](tls.md#certificates)",
    )


class TlsKeysOfApp(Strict):
    """In an app."""

    tls: Annotated[Mode, BeforeValidator(_mode), Shown(default="`off`")] = Field(
        "off",
        description="TCP: TLS termination, and TLS to origins: [TLS](tls.md)",
    )
    edge_tls: Annotated[EdgeTls, Shown("mapping")] = Field(
        EdgeTls(),
        description="TLS with clients: [TLS](tls.md#clients-edge_tls)",
    )
    origin_tls: Annotated[OriginTls, Shown("mapping")] = Field(
        OriginTls(),
        description="TLS with origins: [TLS](tls.md#origins-origin_tls)",
    )
