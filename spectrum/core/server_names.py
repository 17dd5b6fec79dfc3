"""Which of several apps on one port a TLS client is for: by the name that it asks for, and the protocols it offers."""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from spectrum.wire.client_hello import ClientHello

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")

# The protocol of ALPN that certificate authorities offer, and nobody else (RFC 8737 section 6.2).
ACME_TLS = "acme-tls/1"

T = TypeVar("T")


def server_name(value: str) -> str:
    """Return a name as it is compared: a host name, or `*.` and one.

    Raises:
        ValueError: If it is none.
    """
    name = value.lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError(f"{value!r} is no server name; write a.example or *.a.example")
    return name


class ServerNames(Generic[T]):
    """Finds what a ClientHello is for: the longest name first, and of those the one whose protocols are offered.

    `*.a.example` is every name below a.example, however many labels it has. Who has no name takes every name.

    Args:
        entries: Names, protocols and what they stand for. No names are all names; no protocols are all protocols.
    """

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], tuple[str, ...], T]]) -> None:
        self._found: dict[str, list[tuple[frozenset[str], T]]] = {}
        for names, alpn, value in entries:
            for name in names or ("",):
                self._found.setdefault(name, []).append((frozenset(alpn), value))
        for known in self._found.values():
            known.sort(key=lambda entry: not entry[0])  # those with protocols first

    def find(self, hello: ClientHello) -> T | None:
        """Return what a ClientHello is for; None where it is for nobody."""
        for name in _candidates(hello.server_name):
            for protocols, value in self._found.get(name, ()):
                if not protocols or not protocols.isdisjoint(hello.alpn):
                    return value
        return None


def _candidates(name: str) -> Iterable[str]:
    if name:
        yield name
        labels = name.split(".")
        for i in range(1, len(labels)):
            yield "*." + ".".join(labels[i:])
    yield ""
