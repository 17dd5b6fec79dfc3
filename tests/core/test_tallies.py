from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.tallies import PERIOD_S, Tally


def test_a_sum_leaves_once_it_is_a_second_old():
    tally = Tally()
    tally.count("a", 2, 10.0)
    tally.count("b", 1, 10.5)
    tally.count("a", 3, 10.9)
    assert list(tally.take(10.9, 9)) == []
    assert list(tally.take(11.0, 9)) == [("a", 5)]
    assert list(tally.take(11.2, 9)) == []
    tally.count("a", 1, 11.3)
    assert list(tally.take(12.3, 9)) == [("b", 1), ("a", 1)]
    assert len(tally) == 0


def test_a_few_at_a_time():
    tally = Tally()
    for number in range(5):
        tally.count(number, 1, 0.0)
    assert [key for key, _ in tally.take(1.0, 2)] == [0, 1]
    assert [key for key, _ in tally.take(1.0, 9)] == [2, 3, 4]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.floats(0, 2))))
def test_nothing_is_lost_or_told_twice(steps):
    tally, counted, told, now = Tally(), Counter(), Counter(), 0.0
    for key, number, passed in steps:
        now += passed
        tally.count(key, number, now)
        counted[key] += number
        told.update(dict(tally.take(now, 1)))
    told.update(dict(tally.take(now + PERIOD_S, 9)))
    assert told == counted
