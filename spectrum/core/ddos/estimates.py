"""Estimates about all packets from samples: rates with their error, and the number of sources."""

from math import sqrt

import numpy as np

from spectrum.core.ddos.packets import Column

_Z = 1.96


def rate_bounds(count: float, one_in: float, seconds: float) -> tuple[float, float]:
    """Return the lower and upper bound of a rate from random samples, with 95 % confidence.

    The bounds are Wilson's for a Poisson count (E. B. Wilson, 1927): those of `count +- 1.96 sqrt(count)` hold too
    rarely below 15 samples.

    Args:
        count: The number of samples.
        one_in: The packets that each stands for.
        seconds: The time in which they were taken.
    """
    middle, half = count + _Z**2 / 2, _Z * sqrt(count + _Z**2 / 4)
    scale = one_in / seconds
    return scale * max(middle - half, 0.0), scale * (middle + half)


def sources(column: Column) -> tuple[float, int]:
    """Estimate the number of sources, of equal frequency, from those of samples; also return the number of equal pairs.

    By the birthday paradox: of `c` samples of `s` sources, `c (c - 1) / 2 s` pairs are equal.
    """
    _, counts = np.unique(column, return_counts=True)
    pairs = int((counts * (counts - 1) // 2).sum())
    total = len(column)
    return total * (total - 1) / (2 * pairs) if pairs else float("inf"), pairs
