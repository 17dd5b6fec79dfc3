"""Why a session ended or was refused: the one list that metrics, events and logs share.

Each reason carries the `Event` and `Status` of Cloudflare's spectrum_events log. Their list has no code for an edge
that ends a session by its own rule (idle, drained): those are 200, a normal close, and the reason tells them apart.
"""

import errno
from enum import IntEnum


class Reason(IntEnum):
    """The number is what the engine stores; the name, in lower case, is what people see."""

    # The session was relayed and ended.
    CLIENT_CLOSED = 1
    ORIGIN_CLOSED = 2
    CLIENT_RESET = 3
    ORIGIN_RESET = 4
    CLIENT_TIMEOUT = 5
    ORIGIN_TIMEOUT = 6
    CLIENT_UNREACHABLE = 7
    ORIGIN_UNREACHABLE = 8
    CLIENT_PIPE = 9
    ORIGIN_PIPE = 10
    IDLE_TIMEOUT = 11
    DRAINED = 12
    WORKER_LOST = 13
    # No origin answered.
    CONNECT_REFUSED = 20
    CONNECT_TIMEOUT = 21
    CONNECT_UNREACHABLE = 22
    CONNECT_FAILED = 23
    NO_SOURCE_PORT = 24
    NO_DESCRIPTOR = 25
    NO_ORIGIN = 26
    UNRESOLVED = 27
    # The client was refused before an origin was chosen.
    HEADER_UNTRUSTED = 40
    HEADER_INVALID = 41
    HEADER_TIMEOUT = 42
    HEADER_MISSING = 43
    # A fault of ours.
    INTERNAL_ERROR = 60

    @property
    def label(self) -> str:
        """The reason as metrics, events and logs spell it."""
        return self.name.lower()

    @property
    def status(self) -> int:
        """Cloudflare's status code for the closed session."""
        return _STATUS[self]

    @property
    def event(self) -> str:
        """Cloudflare's event: disconnect, originError, resolveOrigin or clientFiltered."""
        if self in _RESOLVE:
            return "resolveOrigin"
        if Reason.CONNECT_REFUSED <= self <= Reason.UNRESOLVED:
            return "originError"
        return "clientFiltered" if Reason.HEADER_UNTRUSTED <= self <= Reason.HEADER_MISSING else "disconnect"

    @property
    def refused(self) -> bool:
        """True where the client was turned away before an origin was chosen."""
        return Reason.HEADER_UNTRUSTED <= self <= Reason.HEADER_MISSING


_RESOLVE = frozenset({Reason.NO_ORIGIN, Reason.UNRESOLVED})

_STATUS = {
    Reason.CLIENT_CLOSED: 200,
    Reason.ORIGIN_CLOSED: 200,
    Reason.CLIENT_RESET: 499,
    Reason.ORIGIN_RESET: 444,
    Reason.CLIENT_TIMEOUT: 497,
    Reason.ORIGIN_TIMEOUT: 445,
    Reason.CLIENT_UNREACHABLE: 496,
    Reason.ORIGIN_UNREACHABLE: 446,
    Reason.CLIENT_PIPE: 498,
    Reason.ORIGIN_PIPE: 448,
    Reason.IDLE_TIMEOUT: 200,
    Reason.DRAINED: 200,
    Reason.WORKER_LOST: 500,
    Reason.CONNECT_REFUSED: 521,
    Reason.CONNECT_TIMEOUT: 522,
    Reason.CONNECT_UNREACHABLE: 523,
    Reason.CONNECT_FAILED: 520,
    Reason.NO_SOURCE_PORT: 524,
    Reason.NO_DESCRIPTOR: 524,
    Reason.NO_ORIGIN: 530,
    Reason.UNRESOLVED: 531,
    Reason.HEADER_UNTRUSTED: 403,
    Reason.HEADER_INVALID: 403,
    Reason.HEADER_TIMEOUT: 403,
    Reason.HEADER_MISSING: 403,
    Reason.INTERNAL_ERROR: 500,
}

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def connect_failure(number: int) -> Reason:
    """Return the reason for a failed connect with errno `number`."""
    match number:
        case errno.ECONNREFUSED:
            return Reason.CONNECT_REFUSED
        case errno.ETIMEDOUT:
            return Reason.CONNECT_TIMEOUT
        case errno.EADDRNOTAVAIL:
            return Reason.NO_SOURCE_PORT
        case errno.EMFILE | errno.ENFILE:
            return Reason.NO_DESCRIPTOR
        case _ if number in _UNREACHABLE:
            return Reason.CONNECT_UNREACHABLE
        case _:
            return Reason.CONNECT_FAILED


def relay_failure(number: int, at_origin: bool) -> Reason:
    """Return the reason for errno `number` on the client's or the origin's socket of an established session."""
    match number:
        case errno.ETIMEDOUT:
            client, origin = Reason.CLIENT_TIMEOUT, Reason.ORIGIN_TIMEOUT
        case errno.EPIPE:
            client, origin = Reason.CLIENT_PIPE, Reason.ORIGIN_PIPE
        case _ if number in _UNREACHABLE:
            client, origin = Reason.CLIENT_UNREACHABLE, Reason.ORIGIN_UNREACHABLE
        case _:
            client, origin = Reason.CLIENT_RESET, Reason.ORIGIN_RESET
    return origin if at_origin else client
