from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.question import (
    CALENDAR,
    TIME_DELTAS,
    AllOf,
    AnyOf,
    Compare,
    Not,
    QuestionFault,
    bucket_start,
    bucket_starts,
    compared,
    next_bucket,
)


def at(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("minute", at(2026, 11, 26, 14, 47)),
        ("dekaminute", at(2026, 11, 26, 14, 40)),
        ("hour", at(2026, 11, 26, 14)),
        ("day", at(2026, 11, 26)),
        ("week", at(2026, 11, 23)),
        ("month", at(2026, 11, 1)),
        ("quarter", at(2026, 10, 1)),
        ("year", at(2026, 1, 1)),
    ],
)
def test_a_time_is_in_a_bucket(name, start):
    assert bucket_start(at(2026, 11, 26, 14, 47, 59) + 0.5, TIME_DELTAS[name]) == start


@given(st.integers(0, 2**32), st.sampled_from([1, 60, 86400, *CALENDAR]))
def test_buckets_follow_without_a_gap(time, bucket):
    start = bucket_start(time, bucket)
    after = next_bucket(start, bucket)
    assert start <= time < after
    assert bucket_start(start, bucket) == start
    assert bucket_start(after, bucket) == after
    assert bucket_start(after - 1, bucket) == start


def test_a_range_has_its_buckets():
    assert bucket_starts(at(2026, 1, 31), at(2026, 3, 1), "month") == [at(2026, 1, 1), at(2026, 2, 1)]
    assert bucket_starts(90, 180, 60) == [60, 120]
    with pytest.raises(QuestionFault, match="more than 10000 buckets"):
        bucket_starts(0, 10_001, 1)


def test_comparisons_are_found_wherever_they_are():
    a, b, c = (Compare(name, "=", (1,)) for name in "abc")
    assert list(compared(AllOf((a, AnyOf((b, Not(c))))))) == [a, b, c]
    assert list(compared(None)) == []
