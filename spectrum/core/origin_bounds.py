"""How many sessions and connects an app's origins get, as it is compiled for workers."""

import msgspec


class RetrySettings(msgspec.Struct, frozen=True, array_like=True):
    """A budget of further connects after failed ones.

    Attributes:
        percent: Of the sessions, so many may take a further connect.
        min_per_second: So many may in any case, in each worker.
    """

    percent: float
    min_per_second: float


class OriginBounds(msgspec.Struct, frozen=True, array_like=True):
    """Bounds of an app's origins.

    Attributes:
        max_sessions: That each of them has at once, of this app; 0 for any number.
        queue_size: Sessions that wait in each worker while all of them have as many; 0: nobody waits.
        queue_timeout_s: How long they wait.
        retries: None for any number of further connects.
        preconnect: Connections to each that a worker keeps open ahead of sessions.
    """

    max_sessions: int = 0
    queue_size: int = 0
    queue_timeout_s: float = 0.0
    retries: RetrySettings | None = None
    preconnect: int = 0
