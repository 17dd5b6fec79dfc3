"""TLS in the file: certificates, and the TLS of apps with clients and origins."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from spectrum.core.address import is_name, parse_address
from spectrum.core.configuration.cloudflare import CloudflareKeysOfCertificate
from spectrum.core.configuration.fields import AsTuple, PositiveDuration, Strict, describe, text
from spectrum.core.tls.acme import Acme, AcmeKeys

Path = Annotated[str, Field(min_length=1)]
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

    certificate: Path | None = None
    key: Path | None = None
    ocsp: Path | None = None
    acme: Acme | None = None
    # In PEM form, the certificate itself first, and its private key, which only this installation can decrypt.
    chain: str | None = Field(None, min_length=1)
    sealed_key: str | None = Field(None, min_length=1)
    # Of several for a name, apps without a list of their own have the one with the highest; of equals the first.
    priority: int = Field(0, ge=0, le=MAX_PRIORITY)
    account: str | None = None
    zone: str | None = None

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
    min_version: Version = "1.2"
    max_version: Version = "1.3"
    alpn: Protocols = ()

    @model_validator(mode="after")
    def _is_a_range(self) -> "_Versions":
        if self.min_version > self.max_version:
            raise ValueError(f"min_version {self.min_version} is above max_version {self.max_version}")
        return self

    @property
    def versions(self) -> tuple[str, str]:
        """The minimum and the maximum."""
        return self.min_version, self.max_version


class EdgeTls(_Versions):
    """`edge_tls` of an app: TLS with clients."""

    # None: all of the file. The first one is for clients without SNI.
    certificates: Annotated[tuple[str, ...] | None, AsTuple] = None
    # The action if no certificate has the name that a client requests.
    unknown_names: Literal["default", "refuse"] = "default"
    client_ca: Path | None = None
    client_certificate: Literal["required", "optional"] = "required"
    # nginx's ssl_handshake_timeout is a minute; two round trips and a slow phone need a few seconds.
    handshake_timeout_s: PositiveDuration = Field(10.0, alias="handshake_timeout")

    @model_validator(mode="after")
    def _has_certificates(self) -> "EdgeTls":
        if self.certificates == ():
            raise ValueError("certificates: an empty list; omit it for all of the file")
        if "client_certificate" in self.model_fields_set and self.client_ca is None:
            raise ValueError("client_certificate needs client_ca, against which certificates of clients are verified")
        return self


class OriginTls(_Versions):
    """`origin_tls` of an app: TLS with origins."""

    # None: the origin's own name, or its address.
    server_name: PeerName | None = None
    # None: the machine's authorities.
    ca: Path | None = None
    # One of `certificates`, for origins that request one.
    certificate: str | None = None


class SessionTickets(Strict):
    """`session_tickets`: the keys with which any worker resumes TLS sessions are rotated at this interval."""

    rotate_s: PositiveDuration = Field(12 * 3600.0, alias="rotate")


def _mode(value: Any) -> Any:
    return "off" if value is False else value  # YAML 1.1 reads off as a boolean.


class TlsKeys(AcmeKeys):
    """At the top of the file."""

    session_tickets: SessionTickets = SessionTickets()
    certificates: dict[str, Certificate] = Field(default_factory=dict)


class TlsKeysOfApp(Strict):
    """In an app."""

    # Whether TLS is terminated, and whether and how TLS is used towards origins.
    tls: Annotated[Mode, BeforeValidator(_mode)] = "off"
    edge_tls: EdgeTls = EdgeTls()
    origin_tls: OriginTls = OriginTls()
