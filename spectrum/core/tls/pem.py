"""The names of a certificate, and whether a key matches it."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def belongs(key: PrivateKeyTypes, leaf: x509.Certificate) -> bool:
    """Return whether a private key matches the certificate."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == leaf.public_key().public_bytes(*form)


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the host names of a certificate; its common name if it has no others."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(name.value) for name in common)
    return tuple(alternatives.get_values_for_type(x509.DNSName))


def public_key_of(leaf: x509.Certificate) -> bytes:
    """Return the public key of a certificate in DER form (RFC 5280, SubjectPublicKeyInfo)."""
    return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def issuer_of(leaf: x509.Certificate) -> str:
    """Return who issued a certificate: the organization, else the whole name (RFC 4514)."""
    found = leaf.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else leaf.issuer.rfc4514_string()
