"""When a certificate by ACME is ordered: pure functions of facts, `now` and a random number between 0 and 1."""

import msgspec

# Share of its lifetime, as Let's Encrypt recommends and Caddy does; the random number spreads certificates that were
# issued together.
RENEWED_AT = 2 / 3
SPREAD = 1 / 30
# Let's Encrypt allows five failed validations of a name per hour. These delays make three in the first hour.
FIRST_PAUSE_S = 600.0
# A CA that does not answer has counted nothing.
FIRST_UNREACHED_PAUSE_S = 60.0
LONGEST_PAUSE_S = 6 * 3600.0
# Maximum delay that a CA may request: its limits are counted over a week at most.
LONGEST_RETRY_AFTER_S = 7 * 86400.0
# Bounds of the time until the CA is asked again for a better renewal time (RFC 9773 section 4.3.2).
SHORTEST_ASK_S, LONGEST_ASK_S = 60.0, 86400.0
# The least share of the rest of its lifetime for which a new certificate is kept. Without it, a clock that is ahead by
# most of a lifetime would have one ordered after the other.
KEPT = 1 / 3


class OrderState(msgspec.Struct, frozen=True):
    """The state of the orders of one certificate; times in seconds since 1970.

    Attributes:
        asked: The request of the certificate (`wanted` of `due_at`); empty before the first.
        renew_at: The renewal time.
        ca_at: The renewal time that the CA asks for, if any (RFC 9773); the sooner one applies.
        ask_at: When to ask the CA for that again.
        failures: Consecutive failed orders.
        failed: The settings of the latest order, if it failed.
        try_at: The earliest time of the next order.
        pause_s: The delay after the latest order, if it failed, which ends at `try_at`.
        why: Why the latest one failed.
    """

    asked: str = ""
    renew_at: float = 0.0
    ca_at: float = 0.0
    ask_at: float = 0.0
    failures: int = 0
    failed: str = ""
    try_at: float = 0.0
    why: str = ""
    pause_s: float = 0.0


def renewal_at(begins_at: float, ends_at: float, lot: float) -> float:
    """Return the renewal time of a certificate."""
    return begins_at + (ends_at - begins_at) * (RENEWED_AT - SPREAD * lot)


def pause_s(failures: int, reached: bool, retry_after_s: float, lot: float) -> float:
    """Return the delay after consecutive failures.

    Args:
        failures: Their number.
        reached: Whether the CA was reached.
        retry_after_s: The delay that the CA asks for; 0 for none.
        lot: Lengthens the delay by up to a quarter.
    """
    first = FIRST_PAUSE_S if reached else FIRST_UNREACHED_PAUSE_S
    pause = min(LONGEST_PAUSE_S, first * 2.0 ** min(failures - 1, 16))
    return max(pause * (1 + lot / 4), min(retry_after_s, LONGEST_RETRY_AFTER_S))


def renewed_at(standing: OrderState) -> float:
    """Return the renewal time: a CA that has to revoke the certificate asks for an earlier one."""
    return min(standing.renew_at, standing.ca_at or standing.renew_at)


def due_at(standing: OrderState, wanted: str, settings: str, is_there: bool) -> float:
    """Return when the next order is due; 0 for at once.

    Args:
        standing: The state of the orders.
        wanted: The wanted certificate: its names, the CA, the kind of its key.
        settings: All settings of the order.
        is_there: Whether there is a certificate that can be used.
    """
    due = needed_at(standing, wanted, is_there)
    # Other settings may fix the failure: then the CA is asked at once.
    return max(due, standing.try_at) if standing.failed == settings else due


def needed_at(standing: OrderState, wanted: str, is_there: bool) -> float:
    """Return when the next order is due, without pauses; 0 for at once. Arguments are those of `due_at`."""
    return renewed_at(standing) if is_there and standing.asked == wanted else 0.0


def failed(
    standing: OrderState, settings: str, why: str, reached: bool, retry_after_s: float, now: float, lot: float
) -> OrderState:
    """Return the state after an order that failed."""
    failures = standing.failures + 1 if standing.failed in ("", settings) else 1
    pause = pause_s(failures, reached, retry_after_s, lot)
    return msgspec.structs.replace(
        standing, failures=failures, failed=settings, try_at=now + pause, why=why, pause_s=pause
    )


def not_needed(standing: OrderState) -> OrderState:
    """Return the state of a certificate whose latest order failed, and which is not to be ordered for now: it was due
    by a clock that was ahead, or the CA asks for a later renewal.
    """
    return msgspec.structs.replace(standing, failures=0, failed="", try_at=0.0, why="", pause_s=0.0)


def issued(wanted: str, begins_at: float, ends_at: float, now: float, lot: float) -> OrderState:
    """Return the state after an order that succeeded."""
    renew_at = max(renewal_at(begins_at, ends_at, lot), now + (ends_at - now) * KEPT)
    return OrderState(asked=wanted, renew_at=renew_at)


def asked_again_at(asks_at: float, now: float) -> float:
    """Return when the CA is asked again for the renewal time, if it wants to be asked at `asks_at`."""
    return min(max(asks_at, now + SHORTEST_ASK_S), now + LONGEST_ASK_S)


def bounded(standing: OrderState, now: float) -> OrderState:
    """Return the state with no pause longer than it was at first: the clock may have been set back since."""
    try_at = min(standing.try_at, now + (standing.pause_s or LONGEST_PAUSE_S))
    return msgspec.structs.replace(standing, try_at=try_at, ask_at=min(standing.ask_at, now + LONGEST_ASK_S))
