import random
from math import sqrt
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.records.backlog import Backlog, Queued


class Numbered(NamedTuple):
    first: int
    records: int
    lines: bytes

    def keeping(self, records, lines):
        return Numbered(self.first + self.records - records, records, lines)


def batch(first, records, amounts=None):
    amounts = amounts or range(first, first + records)
    return Numbered(first, records, b"".join(b'{"Number":%200d}\n' % amount for amount in amounts))


def records_of(entries):
    return [msgspec.json.decode(line) for entry in entries for line in entry.batch.lines.splitlines()]


def emptied(backlog):
    entries = []
    while backlog:
        entries.append(backlog.pop())
    return entries


SIZE = len(batch(0, 1).lines)


def test_what_fits_waits_as_it_is():
    backlog = Backlog(10 * SIZE, random.randrange)
    assert not backlog and backlog.first is None
    for number in range(10):
        backlog.add(batch(number, 1))
    assert (backlog.size, backlog.one_in, backlog.omitted) == (10 * SIZE, 1, 0)
    assert list(backlog) == [batch(number, 1) for number in range(10)]
    entry = backlog.pop()
    assert (entry, backlog.first) == (Queued(batch(0, 1), False), batch(1, 1))
    backlog.put_back(entry)
    assert [entry.batch.first for entry in emptied(backlog)] == list(range(10))
    assert backlog.size == 0


def test_sums_are_right_and_all_records_are_kept_once_nothing_waits():
    bound, within = 40_000, 0
    for _ in range(20):
        backlog = Backlog(bound, random.randrange)
        amounts = [round(random.paretovariate(2.5) * 100) for _ in range(10_000)]
        for at in range(0, len(amounts), 20):
            backlog.add(batch(at, 20, amounts[at : at + 20]))
            assert backlog.size <= bound
        most = backlog.one_in
        assert most >= 32
        kept = records_of(emptied(backlog))
        factors = [one["SampledOneIn"] for one in kept]
        assert {most, most // 2} >= set(factors)
        assert abs(sum(factors) - len(amounts)) <= 2 * most
        assert backlog.omitted == len(amounts) - len(kept)
        deviation = sqrt(sum(one["SampledOneIn"] * (one["SampledOneIn"] - 1) * one["Number"] ** 2 for one in kept))
        within += abs(sum(one["SampledOneIn"] * one["Number"] for one in kept) - sum(amounts)) <= 2 * deviation
        assert backlog.one_in == 1
        backlog.add(batch(7, 1))
        assert emptied(backlog) == [Queued(batch(7, 1), False)]
    assert within >= 14


def test_room_is_made_a_few_batches_at_a_time():
    """No call halves all that waits: it would hold up who calls."""
    backlog = Backlog(1000 * 8 * SIZE, random.randrange)
    for at in range(20_000):
        before = backlog.omitted
        backlog.add(batch(at * 8, 8))
        # Of the new ones at most all, and of a few batches that wait a half.
        assert backlog.omitted - before <= 8 * 10


def test_what_is_whole_stays():
    backlog = Backlog(20 * SIZE, random.randrange)
    whole = [batch(number, 5) for number in range(0, 10_000, 1000)]
    for one in whole:
        backlog.add(one, is_whole=True)
        for number in range(100):
            backlog.add(batch(one.first + 10 + number, 1))
    assert backlog.whole_size == sum(len(one.lines) for one in whole)
    found = emptied(backlog)
    assert [entry.batch for entry in found if entry.is_whole] == whole
    firsts = [entry.batch.first for entry in found]
    assert firsts == sorted(firsts)
    assert (backlog.size, backlog.whole_size) == (0, 0)


@given(st.lists(st.one_of(st.integers(1, 20), st.just("pop"), st.just("back"), st.just("whole")), max_size=80))
def test_order_and_counts_hold_whatever_happens(steps):
    backlog, taken, number = Backlog(12 * SIZE, random.randrange), [], 0
    for step in steps:
        if step == "back":
            if taken:
                backlog.put_back(taken.pop())
        elif step == "pop":
            if backlog:
                taken.append(backlog.pop())
        else:
            count = 3 if step == "whole" else step
            backlog.add(batch(number, count), is_whole=step == "whole")
            number += count
        waits = list(backlog)
        assert backlog.size == sum(len(one.lines) for one in waits)
        ends = [one.first + one.records for one in waits]
        assert all(end <= one.first for end, one in zip(ends, waits[1:], strict=False))
    entries = taken + emptied(backlog)
    assert backlog.omitted + sum(entry.batch.records for entry in entries) == number
    assert backlog.size == backlog.whole_size == 0
