from statistics import NormalDist

import numpy as np
import pytest

from spectrum.core.analytics.confidence import interval_of


def test_what_is_exact_has_no_range():
    assert interval_of(1000.0, 0.0, 0.95) == (1000.0, 1000.0, 1000.0)


def test_a_higher_level_reaches_further_and_never_below_zero():
    found = interval_of(1000.0, 100.0, 0.95)
    assert found == pytest.approx((1000, 980.4, 1019.6), abs=0.01)
    assert interval_of(1000.0, 100.0, 0.99).upper > found.upper
    assert interval_of(10.0, 10_000.0, 0.99).lower == 0


@pytest.mark.parametrize("level", [0.01, 0.5, 0.95, 0.999999])
def test_levels_are_those_of_the_normal_distribution(level):
    assert interval_of(0.0, 1.0, level).upper == pytest.approx(NormalDist().inv_cdf((1 + level) / 2))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_truth_is_in_it_as_often_as_it_says(level):
    """Of packets of many lengths one in 100 is a sample; sums and variances are those of the table `packets`."""
    draw = np.random.default_rng(17)
    bits = draw.choice([512, 4096, 12000], 100_000).astype(float)
    inside = 0
    for _ in range(400):
        samples = bits[draw.random(len(bits)) < 0.01]
        found = interval_of(100 * samples.sum(), 100 * 99 * (samples**2).sum(), level)
        inside += found.lower <= bits.sum() <= found.upper
    assert inside / 400 == pytest.approx(level, abs=0.06)
