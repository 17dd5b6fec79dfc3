"""Reasons why sessions end or are refused: the one list of metrics, events and logs.

Each reason has the `Event` and `Status` of Cloudflare's spectrum_events log. That has no code for an edge that ends a
session by its own rule (idle, drained): those are 200, a normal close, and the reason distinguishes them.
"""

import errno
from enum import IntEnum

FIRST_REFUSAL = 40


class Reason(IntEnum):
    """The number is for reports of workers; `label` is displayed.

    Attributes:
        label: The reason in metrics, events and logs.
        status: Cloudflare's status code for the ended session.
        event: Cloudflare's event: disconnect, originError, resolveOrigin, clientFiltered or tlsError.
        refused: Whether the client was refused before an origin was chosen.
    """

    label: str
    status: int
    event: str
    refused: bool

    def __new__(cls, number: int, status: int, event: str) -> "Reason":
        """Create the member; its attributes are plain ones, because the data path reads them per session."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.status = status
        member.event = event
        member.refused = number >= FIRST_REFUSAL and event in ("clientFiltered", "tlsError")
        return member

    def __init__(self, *_: object) -> None:
        self.label = self._name_.lower()

    # The session was relayed and ended.
    CLIENT_CLOSED = 1, 200, "disconnect"
    ORIGIN_CLOSED = 2, 200, "disconnect"
    CLIENT_RESET = 3, 499, "disconnect"
    ORIGIN_RESET = 4, 444, "disconnect"
    CLIENT_TIMEOUT = 5, 497, "disconnect"
    ORIGIN_TIMEOUT = 6, 445, "disconnect"
    CLIENT_UNREACHABLE = 7, 496, "disconnect"
    ORIGIN_UNREACHABLE = 8, 446, "disconnect"
    CLIENT_PIPE = 9, 498, "disconnect"
    ORIGIN_PIPE = 10, 448, "disconnect"
    IDLE_TIMEOUT = 11, 200, "disconnect"
    DRAINED = 12, 200, "disconnect"
    WORKER_LOST = 13, 500, "disconnect"
    # UDP: the origin's host reported the port as unreachable; room was needed for another flow; the app was removed.
    ORIGIN_REFUSED = 14, 447, "disconnect"
    EVICTED = 15, 200, "disconnect"
    LISTENER_REMOVED = 16, 200, "disconnect"
    # The origin was disabled or removed, and its drain_duration is over.
    ORIGIN_DRAINED = 17, 200, "disconnect"
    # A peer that is alive, but does not read (`drain_pace`); or the memory for slow peers is exhausted.
    CLIENT_STUCK = 18, 497, "disconnect"
    ORIGIN_STUCK = 19, 445, "disconnect"
    MEMORY_LIMIT = 30, 200, "disconnect"
    # The data was not TLS of this session: damaged on the way, or by the peer.
    CLIENT_TLS_ERROR = 31, 490, "tlsError"
    ORIGIN_TLS_ERROR = 32, 444, "disconnect"
    # No origin answered.
    CONNECT_REFUSED = 20, 521, "originError"
    CONNECT_TIMEOUT = 21, 522, "originError"
    CONNECT_UNREACHABLE = 22, 523, "originError"
    CONNECT_FAILED = 23, 520, "originError"
    NO_SOURCE_PORT = 24, 524, "originError"
    NO_DESCRIPTOR = 25, 524, "originError"
    NO_ORIGIN = 26, 530, "resolveOrigin"
    UNRESOLVED = 27, 531, "resolveOrigin"
    # With `source: client`: the client is of the other family, or this daemon may not use its address.
    SOURCE_FAMILY = 28, 524, "originError"
    SOURCE_FORBIDDEN = 29, 524, "originError"
    # The limit of epoll entries for this user is reached (fs.epoll.max_user_watches), or there is no memory for one.
    NO_WATCH = 35, 524, "originError"
    # The origin answered, but the TLS handshake failed; or its certificate is not verified (`tls: strict`).
    ORIGIN_TLS_FAILED = 33, 520, "originError"
    ORIGIN_CERTIFICATE = 34, 520, "originError"
    # An operator ended it (`spectrum kill`).
    KILLED = 36, 200, "disconnect"
    # Every origin has reached `max_sessions`: there is no queue, or the session waited too long.
    ORIGIN_FULL = 37, 524, "originError"
    QUEUE_TIMEOUT = 38, 524, "originError"
    # An origin could not be reached, and the retry budget is exhausted (`retry_budget`).
    RETRY_BUDGET = 39, 524, "originError"
    # The client was refused before an origin was chosen.
    HEADER_UNTRUSTED = 40, 403, "clientFiltered"
    HEADER_INVALID = 41, 403, "clientFiltered"
    HEADER_TIMEOUT = 42, 403, "clientFiltered"
    HEADER_MISSING = 43, 403, "clientFiltered"
    # A limit of sessions or rates: of this client, of the app, of the node.
    CLIENT_LIMIT = 44, 403, "clientFiltered"
    CLIENT_RATE = 45, 403, "clientFiltered"
    APP_LIMIT = 46, 403, "clientFiltered"
    APP_RATE = 47, 403, "clientFiltered"
    NODE_LIMIT = 48, 403, "clientFiltered"
    NODE_RATE = 49, 403, "clientFiltered"
    # An access rule blocks it.
    CLIENT_BLOCKED = 50, 403, "clientFiltered"
    # It requests a name that no app on the port has, or does not use TLS.
    SNI_UNKNOWN = 51, 400, "tlsError"
    # Its ClientHello exceeds the limit for selecting an app on a shared port.
    HELLO_TOO_LONG = 57, 400, "tlsError"
    # As CLIENT_LIMIT and CLIENT_RATE, for the prefix of the client.
    PREFIX_LIMIT = 52, 403, "clientFiltered"
    PREFIX_RATE = 53, 403, "clientFiltered"
    # The TLS handshake with the client failed, or took too long.
    CLIENT_TLS_FAILED = 54, 443, "tlsError"
    CLIENT_TLS_TIMEOUT = 55, 443, "tlsError"
    # With TPROXY or bindings: it came to the socket directly, or to an address or port that is not the app's.
    NOT_INTERCEPTED = 56, 403, "clientFiltered"
    # Its address and port are a listener of this daemon: answers would loop for ever.
    OWN_LISTENER = 58, 403, "clientFiltered"
    # Its app is paused by an operator.
    APP_PAUSED = 59, 403, "clientFiltered"
    # A rule against an attack matches it (`ddos` without `filter`).
    ATTACK = 62, 403, "clientFiltered"
    # A certificate authority that validated a name (tls-alpn-01).
    ACME_CHALLENGE = 61, 200, "disconnect"
    # An internal error.
    INTERNAL_ERROR = 60, 500, "disconnect"


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
        case errno.EAFNOSUPPORT:
            return Reason.SOURCE_FAMILY
        case errno.EOPNOTSUPP:  # the errno of the engine
            return Reason.SOURCE_FORBIDDEN
        case errno.EPROTO:
            return Reason.ORIGIN_TLS_FAILED
        case errno.EKEYREJECTED:
            return Reason.ORIGIN_CERTIFICATE
        case errno.EMFILE | errno.ENFILE:
            return Reason.NO_DESCRIPTOR
        case errno.ENOSPC | errno.ENOMEM:
            return Reason.NO_WATCH
        case _ if number in _UNREACHABLE:
            return Reason.CONNECT_UNREACHABLE
        case _:
            return Reason.CONNECT_FAILED


def flow_failure(number: int, replied: bool) -> Reason:
    """Return the reason for errno `number` on the origin's socket of a UDP flow, which had replies or not."""
    if not replied:
        return connect_failure(number)
    return Reason.ORIGIN_UNREACHABLE if number in _UNREACHABLE else Reason.ORIGIN_REFUSED


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
