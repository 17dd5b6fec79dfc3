"""What certificates by ACME need on this machine: the library, and the files that a configuration names for them."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from cryptography import x509

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.tls.acme import Acme, AcmeAuthority
from spectrum.kernel.folders import FolderError, check_folder

_Place = tuple[str, ...]


def acme_faults(config: Config) -> list[Fault]:
    """Return what is wrong with what certificates by ACME need on this machine."""
    ordered = [(name, one.acme) for name, one in config.certificates.items() if one.acme is not None]
    return [fault for name, acme in ordered for fault in _faults(("certificates", name, "acme"), acme)]


def authority_faults(config: Config) -> list[Fault]:
    """Return what is wrong with what the authorities of the file need on this machine."""
    known = config.acme.authorities.items()
    return [fault for name, one in known for fault in _faults(("acme", "authorities", name), one)]


def _faults(path: _Place, one: Acme | AcmeAuthority) -> Iterator[Fault]:
    if find_spec("acme") is None:
        yield Fault(path, "it needs the ACME library of certbot: pip install 'spectrum-edge[acme]'")
    if one.ca is not None:
        yield from _pem_faults((*path, "ca"), one.ca)
    if one.external_account is not None:
        yield from _read_faults((*path, "external_account", "hmac_key"), one.external_account.hmac_key)
    if one.dns is not None and one.dns.key is not None:
        yield from _key_faults((*path, "dns", "key"), Path(one.dns.key))


def acme_refusals(config: Config) -> Iterator[Fault]:
    """Yield why a daemon of this user would not use the folder of certificates."""
    if config.user is not None and os.geteuid() == 0:
        return  # Whether it can be trusted is a question of the file's user.
    for folder in acme_folders(config):
        try:
            if folder.exists():
                check_folder(folder)
        except FolderError as exc:
            yield Fault(("acme", "folder"), str(exc))


def acme_folders(config: Config) -> list[Path]:
    """Return the folder of certificates by ACME, where there are any, or the API may order some."""
    may_be = bool(config.acme.authorities) or any(one.acme for one in config.certificates.values())
    return [Path(config.acme.folder)] if may_be else []


def _pem_faults(path: _Place, file: str) -> Iterator[Fault]:
    unread = list(_read_faults(path, file))
    yield from unread
    if not unread:
        try:
            x509.load_pem_x509_certificates(Path(file).read_bytes())
        except ValueError:
            yield Fault(path, f"{file}: not a certificate in PEM form")


def _key_faults(path: _Place, file: Path) -> Iterator[Fault]:
    # Imported here: dnspython takes a sixth of a daemon's start time, and few files need it.
    from spectrum.control.dns.update import UpdateError, read_key

    try:
        read_key(file)
    except UpdateError as exc:
        yield Fault(path, str(exc))


def _read_faults(path: _Place, file: str) -> Iterator[Fault]:
    try:
        Path(file).read_bytes()
    except OSError as exc:
        yield Fault(path, f"{file}: cannot be read: {(exc.strerror or str(exc)).lower()}")
