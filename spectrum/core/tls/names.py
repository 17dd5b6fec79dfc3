"""Which certificate a client gets: by the name that it asks for (RFC 6066 section 3, RFC 9525 section 6.3)."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class CertificateNames(Generic[T]):
    """Finds what certificates of a name stand for.

    A certificate's `*.a.example` is for one label before a.example. One for the name itself goes before it.

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
        """Return what the certificates for a name stand for, one of each kind; nothing where there is none."""
        name = name.lower().rstrip(".")
        _, dot, parent = name.partition(".")
        found = self._found.get(name) or (self._found.get("*." + parent) if dot else None)
        return tuple(found.values()) if found else ()
