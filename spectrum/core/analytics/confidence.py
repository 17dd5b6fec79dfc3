"""How far a sum over samples may be from the truth."""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple


class ConfidenceInterval(NamedTuple):
    """An estimate, and the range that the true value is in with the probability that was asked for.

    Attributes:
        estimate: The sum.
        lower: Where the range begins.
        upper: Where it ends.
    """

    estimate: float
    lower: float
    upper: float


def interval_of(estimate: float, variance: float, level: float) -> ConfidenceInterval:
    """Return the interval of a sum over many samples, which is normally distributed.

    Args:
        estimate: The sum, of 0 or more.
        variance: Its variance; 0 where nothing was left out.
        level: The probability, between 0 and 1, such as 0.95.
    """
    reach = NormalDist().inv_cdf((1 + level) / 2) * sqrt(variance)
    return ConfidenceInterval(estimate, max(0.0, estimate - reach), estimate + reach)
