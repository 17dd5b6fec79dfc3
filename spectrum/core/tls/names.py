"""Selects the certificate for a client by server name (RFC 6066 section 3, RFC 9525 section 6.3)."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class CertificateNames(Generic[T]):
    """Finds what certificates of a name stand for.

    `*.a.example` matches one label before a.example. An exact name has precedence.

    Args:
        entries: The names of a certificate, the kind of its key, and what it stands for. Of several with the same
            name and kind the first is found: a name may have an RSA and an ECDSA certificate.
    """

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], str, T]]) -> None:
        self._found: dict[str, dict[str, T]] = {}
        for names, kind, value in entries:
            for name in names:
                self._found.setdefault(name.lower(), {}).setdefault(kind, value)

    def find(self, name: str) -> tuple[T, ...]:
        """Return the certificates for a name, one of each kind; nothing without any."""
        name = name.lower().rstrip(".")
        _, dot, parent = name.partition(".")
        found = self._found.get(name) or (self._found.get("*." + parent) if dot else None)
        return tuple(found.values()) if found else ()
