"""Confidence intervals of sums over samples."""

from math import erf, sqrt
from typing import NamedTuple

# Maximum number of standard deviations that doubles can represent.
_FURTHEST = 10.0
_STEPS = 50


class ConfidenceInterval(NamedTuple):
    """An estimate, and the range that contains the true value with the requested probability.

    Attributes:
        estimate: The sum.
        lower: The lower end of the range.
        upper: The upper end of the range.
    """

    estimate: float
    lower: float
    upper: float


def interval_of(estimate: float, variance: float, level: float) -> ConfidenceInterval:
    """Return the interval of a sum over many samples, which is normally distributed.

    Args:
        estimate: The sum, of 0 or more.
        variance: Its variance; 0 if nothing was left out.
        level: The probability, between 0 and 1, such as 0.95.
    """
    reach = _deviations(level) * sqrt(variance)
    return ConfidenceInterval(estimate, max(0.0, estimate - reach), estimate + reach)


def _deviations(level: float) -> float:
    """Return how many standard deviations around the mean have this share of a normal distribution.

    By bisection: the process may no longer be able to import `statistics`.
    """
    low, high = 0.0, _FURTHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if erf(middle / sqrt(2)) < level else (low, middle)
    return high
