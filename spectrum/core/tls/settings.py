"""TLS for workers, with the content of every file."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # A worker decodes settings without pydantic.
    from spectrum.core.tls.objects import EdgeTls, Mode, OriginTls


class CertificateSettings(msgspec.Struct, frozen=True, array_like=True):
    """A certificate: chain and key in PEM form, an OCSP response in DER form or none, and its names."""

    name: str
    chain: bytes
    key: bytes
    staple: bytes
    names: tuple[str, ...]
    # The kind of its key; a name may have a certificate of each kind.
    kind: str = ""
    # When it expires, seconds since 1970.
    ends_at: int = 0
    # Whether it is a temporary one until the real one is issued.
    temporary: bool = False

    def __repr__(self) -> str:
        """Keep the key out of logs."""
        return f"CertificateSettings({self.name!r})"


class TlsFiles(msgspec.Struct, frozen=True, array_like=True):
    """The contents of the TLS files of a configuration: certificates, and authorities by path."""

    certificates: tuple[CertificateSettings, ...] = ()
    authorities: dict[str, bytes] = {}


class EdgeSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """TLS with clients of an app. An empty list of certificates means all; `client_ca` is a path, or "" for none."""

    certificates: tuple[str, ...] | None
    refuses_unknown: bool
    versions: tuple[str, str]
    alpn: tuple[str, ...]
    client_ca: str
    client_must: bool
    handshake_timeout_s: float


class OriginTlsSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """TLS with origins. `server_name` "" is each origin's own, `ca` "" the machine's authorities."""

    verifies: bool
    versions: tuple[str, str]
    alpn: tuple[str, ...]
    server_name: str
    ca: str
    certificate: str


class TlsSettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """TLS of an app, with or without TLS towards its origins."""

    mode: str
    edge: EdgeSettings
    origin: OriginTlsSettings | None


def compile_tls(mode: "Mode", edge: "EdgeTls", origin: "OriginTls") -> TlsSettings | None:
    """Return the compiled TLS settings of an app; None if TLS is passed through."""
    if mode == "off":
        return None
    return TlsSettings(
        mode,
        EdgeSettings(
            edge.certificates,
            edge.unknown_names == "refuse",
            edge.versions,
            edge.alpn,
            edge.client_ca or "",
            edge.client_certificate == "required",
            edge.handshake_timeout_s,
        ),
        None
        if mode == "flexible"
        else OriginTlsSettings(
            mode == "strict",
            origin.versions,
            origin.alpn,
            origin.server_name or "",
            origin.ca or "",
            origin.certificate or "",
        ),
    )


def resumption_name(app: str, edge: EdgeSettings, authorities: bytes) -> bytes:
    """Return the identifier that two handshakes must share for the second to resume a session of the first. All apps
    share the ticket keys: without it another app that requires a client certificate would resume a session begun
    without one.
    """
    parts = (app.encode(), edge.client_ca.encode(), bytes([edge.client_must]), authorities)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def chosen(
    certificates: Iterable[CertificateSettings], names: tuple[str, ...] | None
) -> tuple[CertificateSettings, ...]:
    """Return the certificates of an app, in its order; all of them without a list. Temporary ones come last: none hides
    one that clients trust.

    Temporary ones come last: none hides one that clients trust.
    """
    known: Mapping[str, CertificateSettings] = {one.name: one for one in certificates}
    found = known.values() if names is None else [known[name] for name in names]
    return tuple(sorted(found, key=lambda one: one.temporary))
