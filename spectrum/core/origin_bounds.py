"""Limits of sessions and connects to an app's origins, as compiled for workers."""

import msgspec


class RetrySettings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A budget of further connects after failed ones.

    Attributes:
        percent: The share of sessions that may make a further connect.
        min_per_second: The number that may in any case, in each worker.
    """

    percent: float
    min_per_second: float


class OriginBounds(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Limits of an app's origins.

    Attributes:
        max_sessions: Open sessions of this app at each of them; 0 for no limit.
        queue_size: Sessions that wait in each worker while all of them are full; 0: no queue.
        queue_timeout_s: The maximum wait.
        retries: The retry budget; None for no limit.
        preconnect: Connections to each that a worker preconnects.
    """

    max_sessions: int = 0
    queue_size: int = 0
    queue_timeout_s: float = 0.0
    retries: RetrySettings | None = None
    preconnect: int = 0
