import random
from collections import Counter
from math import sqrt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.records.sampling import RandomSampler, stands_for


def lines_of(numbers):
    return b"".join(b'{"Number":%d}\n' % number for number in numbers)


def sampled(sampling, lines):
    count, kept = sampling.sample(lines)
    records = [msgspec.json.decode(line) for line in kept.splitlines()]
    assert len(records) == count
    return records


@pytest.mark.parametrize(
    ("line", "made"),
    [
        (b'{"A":1}\n', b'{"A":1,"SampledOneIn":4}\n'),
        (b'{"A":1}', b'{"A":1,"SampledOneIn":4}'),
        (b'{"A":1,"SampledOneIn":8}\n', b'{"A":1,"SampledOneIn":32}\n'),
        (b'{"A":{"B":"}"}}\n', b'{"A":{"B":"}"},"SampledOneIn":4}\n'),
        (rb'{"A":",\"SampledOneIn\":8}"}', rb'{"A":",\"SampledOneIn\":8}","SampledOneIn":4}'),
    ],
)
def test_what_a_line_stands_for(line, made):
    assert stands_for(line, 4) == made


@given(st.integers(0, 6), st.lists(st.integers(0, 40), max_size=20))
def test_one_of_each_n_is_kept_whatever_the_batches_are(power, batches):
    n = 2**power
    sampling, numbers, kept = RandomSampler(n, random.randrange), 0, []
    for size in batches:
        kept += sampled(sampling, lines_of(range(numbers, numbers + size)))
        numbers += size
    blocks = [one["Number"] // n for one in kept]
    assert len(set(blocks)) == len(blocks)
    assert numbers // n <= len(kept) <= -(-numbers // n)
    assert {one["SampledOneIn"] for one in kept} <= {n}


def test_each_of_them_as_likely():
    """Also where records alternate, as those of the beginning and the end of short sessions do."""
    sampling = RandomSampler(4, random.randrange)
    found = Counter(one["Number"] % 4 for one in sampled(sampling, lines_of(range(40_000))))
    assert found.total() == 10_000
    # Each is binomial with n = 10,000 and p = 1/4: six standard deviations.
    assert all(abs(count - 2500) < 6 * sqrt(10_000 * 3 / 16) for count in found.values())


def test_sums_are_within_the_bound():
    """Halved again and again: twice the stated standard deviation holds 95 % of sums."""
    # Without a finite variance the estimate holds fewer: docs/records.md says how many.
    amounts = [round(random.paretovariate(2.5) * 100) for _ in range(20_000)]
    within = 0
    for _ in range(20):
        lines, n = lines_of(amounts), 1
        while n < 16:
            _, lines = RandomSampler(2, random.randrange).sample(lines)
            n *= 2
        kept = [msgspec.json.decode(line) for line in lines.splitlines()]
        assert abs(sum(one["SampledOneIn"] for one in kept) - len(amounts)) < 16
        total = sum(one["SampledOneIn"] * one["Number"] for one in kept)
        deviation = sqrt(sum(n * (n - 1) * one["Number"] ** 2 for one in kept))
        within += abs(total - sum(amounts)) <= 2 * deviation
    assert within >= 14
