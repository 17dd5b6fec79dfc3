"""Selects one of several apps on a port for a TLS client, by server name and ALPN protocols."""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from spectrum.wire.client_hello import ClientHello

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")

# The ALPN protocol of certificate authorities, which nobody else offers (RFC 8737 section 6.2).
ACME_TLS = "acme-tls/1"

T = TypeVar("T")


def server_name(value: str) -> str:
    """Return a name in the form for comparisons: a host name, or `*.` and one.

    Raises:
        ValueError: If it is neither.
    """
    name = value.lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError(f"{value!r} is not a server name; write a.example or *.a.example")
    return name


class ServerNames(Generic[T]):
    """Finds the entry for a ClientHello: by the longest name, and among those by offered protocols. `*.a.example`
    matches every name below a.example, with any number of labels. Entries without names match every name.

    Args:
        entries: Names, protocols and the value. No names match all names; no protocols match all protocols.
    """

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], tuple[str, ...], T]]) -> None:
        self._found: dict[str, list[tuple[frozenset[str], T]]] = {}
        for names, alpn, value in entries:
            for name in names or ("",):
                self._found.setdefault(name, []).append((frozenset(alpn), value))
        for known in self._found.values():
            known.sort(key=lambda entry: not entry[0])  # Entries with protocols first.

    def find(self, hello: ClientHello) -> T | None:
        """Return the value for a ClientHello; None if no entry matches."""
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
