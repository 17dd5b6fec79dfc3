from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.placement import BUCKETS, placement
from tests.properties import examples


@examples(20)  # each takes 50 ms
@given(st.integers(1, BUCKETS))
def test_even_to_within_one(workers):
    counts = Counter(placement(workers))
    assert set(counts) == set(range(workers))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64, 255])
def test_one_worker_more_takes_its_share_and_moves_nothing_else(workers):
    before, after = placement(workers), placement(workers + 1)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {workers}
    assert len(moved) == BUCKETS // (workers + 1)
