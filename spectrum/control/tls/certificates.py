"""The TLS files of a configuration: read, checked, and prepared for workers."""

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import ocsp
from prometheus_client.core import GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.configuration.served import Served
from spectrum.control.paths import sealing_key
from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.control.tls.acme.kept import kept_certificate
from spectrum.control.trouble import Severity, Trouble
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.tls.objects import Certificate
from spectrum.core.tls.pem import belongs, names_of, public_key_of
from spectrum.core.tls.settings import CertificateSettings, TlsFiles
from spectrum.store.sealing import SealingError, read_sealing_key, unseal

log = logging.getLogger(__name__)

# How long before its end a certificate is logged.
WARN_BEFORE_S = 7 * 86400
# The same for the dashboard: enough time to get another one. Those by ACME are renewed earlier.
TROUBLE_BEFORE_S = 21 * 86400
_Path = tuple[str, ...]


class CertificateError(Exception):
    """Files that cannot be used; the message has a line for each fault."""


class _Unusable(Exception):
    """A file that cannot be used."""


def tls_paths(config: Config) -> list[Path]:
    """Return the files that a configuration names for TLS."""
    paths: list[str | None] = [authorities for _, authorities in _authorities(config)]
    for name, one in config.certificates.items():
        paths += [one.certificate, one.key, one.ocsp]
        if one.acme is not None:
            paths.append(str(AcmeFolder(Path(config.acme.folder)).certificate(name)))
    return [Path(path) for path in dict.fromkeys(paths) if path]


def tls_faults(config: Config) -> list[Fault]:
    """Return the faults of the TLS files of a configuration."""
    return _gather(config)[1]


def load_tls(config: Config) -> TlsFiles:
    """Return the content of the TLS files of a configuration.

    Raises:
        CertificateError: If one cannot be read or used.
    """
    files, faults = _gather(config)
    if faults:
        raise CertificateError("\n".join(f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults))
    return files


def soon_to_end(files: TlsFiles) -> list[str]:
    """Return a line for each certificate that has expired, or soon will."""
    now = time.time()
    lines = []
    for one in files.certificates:
        if one.temporary:
            continue
        if one.ends_at < now:
            lines.append(f"certificate {one.name} expired {_span(now - one.ends_at)} ago")
        elif one.ends_at < now + WARN_BEFORE_S:
            lines.append(f"certificate {one.name} expires in {_span(one.ends_at - now)}")
    return lines


def _span(seconds: float) -> str:
    count, unit = (seconds / 86400, "day") if seconds >= 2 * 86400 else (seconds / 3600, "hour")
    return f"{count:.0f} {unit}{'s' * (round(count) != 1)}"


def _authorities(config: Config) -> Iterator[tuple[_Path, str]]:
    # This is faster with thousands of apps without TLS.
    for name, app in [(name, app) for name, app in config.apps.items() if app.tls != "off"]:
        if app.edge_tls.client_ca:
            yield ("apps", name, "edge_tls", "client_ca"), app.edge_tls.client_ca
        if app.tls == "strict" and app.origin_tls.ca:
            yield ("apps", name, "origin_tls", "ca"), app.origin_tls.ca


def _gather(config: Config) -> tuple[TlsFiles, list[Fault]]:
    faults: list[Fault] = []
    certificates: list[CertificateSettings] = []
    authorities: dict[str, bytes] = {}
    sealing = sealing_key(config)
    for name, one in sorted(config.certificates.items(), key=lambda item: -item[1].priority):
        if one.acme is not None:
            certificates.append(kept_certificate(name, one.acme, Path(config.acme.folder)))
            continue
        try:
            certificates.append(
                _read_certificate(name, one, faults) if one.chain is None else _opened(name, one, sealing, faults)
            )
        except _Unusable:
            pass
    for where, path in _authorities(config):
        try:
            if path not in authorities:
                authorities[path] = _read(where, path, faults)
                _parse_certificates(where, path, authorities[path], faults)
        except _Unusable:
            pass
    return TlsFiles(tuple(certificates), authorities), faults


def _opened(name: str, one: Certificate, path: Path, faults: list[Fault]) -> CertificateSettings:
    """Return a certificate that the API received."""
    assert one.chain is not None, "it has both"
    assert one.sealed_key is not None, "it has both"
    chain = one.chain.encode()
    leaf = _parse_certificates(("certificates", name, "chain"), "chain", chain, faults)[0]
    where = ("certificates", name, "sealed_key")
    try:
        key = unseal(one.sealed_key, public_key_of(leaf), read_sealing_key(path))
    except SealingError as exc:
        raise _refuse(faults, where, str(exc)) from exc
    _check_key(where, "sealed_key", key, leaf, faults)
    return _settings(name, chain, key, b"", leaf)


def _settings(name: str, chain: bytes, key: bytes, staple: bytes, leaf: x509.Certificate) -> CertificateSettings:
    kind, ends_at = leaf.public_key_algorithm_oid.dotted_string, leaf.not_valid_after_utc
    return CertificateSettings(name, chain, key, staple, names_of(leaf), kind, int(ends_at.timestamp()))


def _refuse(faults: list[Fault], where: _Path, message: str) -> _Unusable:
    if all(fault.message != message for fault in faults):  # A file with many users is reported once.
        faults.append(Fault(where, message))
    return _Unusable()


def _read(where: _Path, path: str, faults: list[Fault]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise _refuse(faults, where, f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc


def _read_certificate(name: str, one: Certificate, faults: list[Fault]) -> CertificateSettings:
    at = ("certificates", name)
    assert one.certificate is not None, "it is not by ACME"
    assert one.key is not None, "nor is that"
    chain = _read((*at, "certificate"), one.certificate, faults)
    leaf = _parse_certificates((*at, "certificate"), one.certificate, chain, faults)[0]
    key = _read((*at, "key"), one.key, faults)
    _check_key((*at, "key"), one.key, key, leaf, faults)
    staple = b""
    if one.ocsp is not None:
        staple = _read((*at, "ocsp"), one.ocsp, faults)
        _check_staple((*at, "ocsp"), one.ocsp, staple, leaf, faults)
    return _settings(name, chain, key, staple, leaf)


def _parse_certificates(where: _Path, path: str, pem: bytes, faults: list[Fault]) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        raise _refuse(faults, where, f"{path}: not a certificate in PEM form") from exc


def _check_key(where: _Path, path: str, pem: bytes, leaf: x509.Certificate, faults: list[Fault]) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as exc:
        raise _refuse(faults, where, f"{path}: the key has a passphrase; store it without one") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _refuse(faults, where, f"{path}: not a private key in PEM form") from exc
    if not belongs(key, leaf):
        raise _refuse(faults, where, f"{path}: this key does not match the certificate")


def _check_staple(where: _Path, path: str, der: bytes, leaf: x509.Certificate, faults: list[Fault]) -> None:
    try:
        response = ocsp.load_der_ocsp_response(der)
    except ValueError as exc:
        raise _refuse(faults, where, f"{path}: no OCSP response in DER form") from exc
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _refuse(faults, where, f"{path}: the OCSP response is {response.response_status.name.lower()}")
    if response.serial_number != leaf.serial_number:
        raise _refuse(faults, where, f"{path}: the OCSP response is for another certificate")


class CertificatesActor(Actor):
    """Reports when certificates expire. The content of their files is part of the snapshot.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served

    async def metrics(self) -> Iterable[Metric]:
        """Return when each certificate expires."""
        ends = GaugeMetricFamily(
            "spectrum_certificate_not_after_timestamp_seconds",
            "When a certificate expires, in seconds since 1970",
            labels=["certificate"],
        )
        for one in self._served.snapshot.tls.certificates:
            if one.temporary:
                continue
            ends.add_metric([one.name], one.ends_at)
        return (ends,)

    def troubles(self) -> Iterable[Trouble]:
        """Report certificates that have expired, or soon will."""
        now = time.time()
        for one in self._served.snapshot.tls.certificates:
            if not one.temporary and one.ends_at < now + TROUBLE_BEFORE_S:
                severity: Severity = "failed" if one.ends_at < now else "degraded"
                yield Trouble("certificate_ends", severity, "certificates", one.name, facts={"ends_at": one.ends_at})

    async def release(self, change: Change) -> None:
        """Log certificates that expire soon."""
        for line in soon_to_end(change.after.snapshot.tls):
            log.warning("%s", line)
