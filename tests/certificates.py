"""Authorities, certificates and OCSP responses for tests."""

import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp

# Python 3.13 verifies strictly, as RFC 5280 has it.
_CA_USAGE = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key, passphrase=None):
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


class Issued:
    """A certificate with its key; `chain` and `key` are PEM."""

    def __init__(self, certificate, key, issuer):
        self.certificate, self.private, self.issuer = certificate, key, issuer
        self.chain, self.key = _pem(certificate), key_pem(key)

    def write(self, folder, name):
        """Write both files; return their paths."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.chain)
        key.write_bytes(self.key)
        return chain, key

    def staple(self, status=ocsp.OCSPCertStatus.GOOD):
        """An OCSP response for it, in DER form."""
        now = datetime.datetime.now(datetime.UTC)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=self.certificate,
            issuer=self.issuer.certificate,
            algorithm=hashes.SHA1(),  # as RFC 5019 has it
            cert_status=status,
            this_update=now,
            next_update=now + DAY,
            revocation_time=None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.issuer.certificate)
        return builder.sign(self.issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Authority:
    """Issues certificates; `pem` is its own."""

    def __init__(self, name="test authority"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        builder = self._builder(self.name, self.key.public_key(), 30)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_CA_USAGE, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = _pem(self.certificate)

    def _builder(self, subject, public, days):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - 40 * DAY).not_valid_after(now + days * DAY)

    def revocations(self):
        """A list of revoked certificates, with none, in PEM form."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder(self.name, now, now + DAY)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, *names, kind="ec", common_name=None, days=30, key=None):
        """A certificate for host names and addresses, with a new key or one that there is."""
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        builder = self._builder(_name(common_name or (names[0] if names else "nobody")), key.public_key(), days)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self)


def _general(name):
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def tls_folder(folder):
    """Write what config/examples/mtls.yaml names; return the folder."""
    authority = Authority()
    authority.issue("localhost").write(folder, "server")
    authority.issue("client").write(folder, "client")
    (folder / "clients.pem").write_bytes(authority.pem if isinstance(authority.pem, bytes) else authority.pem.encode())
    return str(folder)
