import pytest

from spectrum.core.ddos.maxima import KEPT_DAYS, DailyMaximum, Maxima, limit_of, preview


@pytest.mark.parametrize(
    ("maxima", "percentile", "most", "doubtful"),
    [
        ([1_000.0] * 7, 1_000, 1_500, False),
        # One day of an attack is left out; the quantile that is interpolated would be 7,300.
        ([1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 10_000], 1_500, 2_250, False),
        # Two days raise it, but not beyond three times the median.
        ([1_000, 1_100, 1_200, 1_300, 1_400, 10_000, 10_000], 10_000, 1.5 * 3 * 1_300, True),
        ([10.0] * 7, 10, 1_000, False),  # so little is never too much
    ],
)
def test_limits(maxima, percentile, most, doubtful):
    limit = limit_of(maxima)
    assert (limit.percentile, limit.packets_per_second, limit.is_doubtful) == (percentile, most, doubtful)
    assert limit.days == len(maxima)


def test_too_few_days_make_no_limit():
    assert limit_of([1.0, 2.0]) is None


def week(*rates, begin=100):
    return Maxima("port", "443", [DailyMaximum(begin + place, rate) for place, rate in enumerate(rates)], [])


def test_a_day_has_its_maximum_and_two_weeks_are_kept():
    maxima = Maxima("port", "443", [], [])
    for day in range(30):
        for rate in (5.0, 9.0, 7.0):
            maxima.add(rate + day, day)
    assert len(maxima.days) == KEPT_DAYS and maxima.days[-1] == DailyMaximum(29, 38.0)
    maxima.add(1_000.0, 3)  # the clock was set back
    assert maxima.days[-1] == DailyMaximum(29, 1_000.0) and len(maxima.days) == KEPT_DAYS


def test_the_limit_of_a_day_is_made_of_the_seven_before_it():
    maxima = week(9_000, *[2_000] * 7, 50_000)
    assert maxima.limit(108).packets_per_second == 3_000 and maxima.limit(108).days == 7
    assert maxima.limit(102) is None


def test_what_would_have_been_dropped_in_the_last_week():
    calm, busy = week(*[2_000] * 14), week(*[2_000] * 9, 8_000, *[2_000] * 4)
    (found,) = preview([calm, busy], 113)
    assert (found.maxima, found.day, found.packets_per_second) == (busy, 109, 8_000)
    assert found.limit.packets_per_second == 3_000
    assert not list(preview([busy], 130))
