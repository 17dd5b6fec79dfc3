"""The certificates by ACME that are served: the stored ones, and a temporary one until there is any."""

import datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.core.tls.acme import Acme
from spectrum.core.tls.pem import belongs, names_of
from spectrum.core.tls.settings import CertificateSettings

ISSUER = "spectrum: no certificate yet"


def kept_certificate(name: str, acme: Acme, folder: Path) -> CertificateSettings:
    """Return the stored certificate; a self-signed one if there is none that can be used."""
    try:
        return certificate_in(name, AcmeFolder(folder).certificate(name).read_bytes())
    except (OSError, ValueError):
        return _temporary(name, acme.names)


def certificate_in(name: str, pem: bytes) -> CertificateSettings:
    """Return the certificate in a file.

    Raises:
        ValueError: If it is damaged, or the key does not match.
    """
    chain = x509.load_pem_x509_certificates(pem)
    key = load_pem_private_key(pem[pem.find(b"-----BEGIN PRIVATE KEY-----") :], None)
    if not belongs(key, chain[0]):
        raise ValueError("the key does not match the certificate")
    leaf = chain[0]
    return CertificateSettings(
        name,
        b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"",
        names_of(leaf),
        leaf.public_key_algorithm_oid.dotted_string,
        int(leaf.not_valid_after_utc.timestamp()),
    )


@cache  # It stays the same, so that a reload sees no change.
def _temporary(name: str, names: tuple[str, ...]) -> CertificateSettings:
    """Return a self-signed certificate, which clients refuse with a clear reason. HAProxy and Traefik do so, too.
    Without one the app would have no TLS context, and could not answer tls-alpn-01.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)
    leaf = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, SHA256())
    )
    return CertificateSettings(
        name,
        leaf.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"",
        names,
        leaf.public_key_algorithm_oid.dotted_string,
        int(leaf.not_valid_after_utc.timestamp()),
        temporary=True,
    )
