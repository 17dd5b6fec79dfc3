"""The time by which records are too old to be kept: the wall clock, but not at once after it was stepped forward.

A clock that is wrong by months, until it is set right, would otherwise delete all that is kept.
"""

import logging

log = logging.getLogger(__name__)

# A step forward counts after this time. Clocks that time servers correct, or after a suspension, differ by less than
# the least step.
HOLD_S, LEAST_STEP_S = 3600.0, 300.0


class RetentionClock:
    """Follows the wall clock; a step forward takes effect after an hour."""

    def __init__(self) -> None:
        # The difference of the wall clock to the monotonic one that counts; and when another one was first seen.
        self._offset_s: float | None = None
        self._stepped_at: float | None = None

    def time(self, wall_s: float, monotonic_s: float) -> float:
        """Return the time that counts, in seconds since 1970.

        Args:
            wall_s: The wall clock.
            monotonic_s: A clock that is never stepped.
        """
        offset_s = wall_s - monotonic_s
        step_s = offset_s - self._offset_s if self._offset_s is not None else 0.0
        if step_s > LEAST_STEP_S:
            if self._stepped_at is None:
                self._stepped_at = monotonic_s
                log.warning(
                    "analytics: the clock was stepped forward by %.0f s; records that are too old by it are kept for "
                    "%.0f more minutes, in case that the clock is wrong",
                    step_s,
                    HOLD_S / 60,
                )
            if monotonic_s - self._stepped_at < HOLD_S:
                return wall_s - step_s
        self._offset_s, self._stepped_at = offset_s, None
        return wall_s
