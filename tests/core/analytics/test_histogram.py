from collections import Counter

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.histogram import (
    RELATIVE_ERROR,
    bucket_of,
    clickhouse_bucket,
    duckdb_bucket,
    percentile,
    value_of,
)


@given(st.integers(1, 2**62))
def test_a_bucket_stands_for_its_values(value):
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=RELATIVE_ERROR * 1.0001)


@given(st.lists(st.integers(1, 10**10), min_size=1), st.floats(0.01, 1.0))
def test_percentiles_are_near_the_exact_ones(values, share):
    counts = Counter(map(bucket_of, values))
    # numpy's "inverted_cdf": the least value that has at least this share below or at it.
    exact = min(value for value in values if sum(one <= value for one in values) >= share * len(values))
    assert percentile(counts, share) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)


def test_edges():
    assert percentile({}, 0.5) is None
    assert bucket_of(0) == bucket_of(1) == 0
    assert value_of(0) == pytest.approx(1.0, rel=RELATIVE_ERROR * 1.0001)
    assert bucket_of(2**63) < 2**15, "it fits SMALLINT"


def test_sql_agrees():
    values = [0, 1, 2, 3, 10, 999, 1000, 123_456_789, 2**62]
    with duckdb.connect(":memory:") as connection:
        found = connection.execute(
            f"SELECT {duckdb_bucket('v')} FROM (SELECT unnest(?::UBIGINT[]) AS v)", [values]
        ).fetchall()
    assert [bucket for (bucket,) in found] == [bucket_of(value) for value in values]
    assert clickhouse_bucket("v").startswith("toInt16(ceil(log(greatest(v, 1)) / 0.039")
