from spectrum.control.filter.sample_queue import KEPT_S, MOST, SampleQueue
from spectrum.kernel.samples import Sample


def samples(count, at_s=5.0):
    return [Sample(at_s, 100, "list x", b"h") for _ in range(count)]


def test_each_is_taken_once_and_has_the_time_of_the_day():
    queue = SampleQueue(lambda: 1000.0, lambda: 10.0)
    queue.add(samples(2), 50, dry_run=False)
    (first, _) = queue.take()
    assert first == (995_000_000, "list x", 100, b"h", 50, True, "", "", 0)
    assert queue.take() == []


def test_beyond_a_number_fewer_stand_for_more_and_sums_stay():
    queue = SampleQueue(lambda: 1000.0, lambda: 10.0)
    for _ in range(10):
        queue.add(samples(500), 10, dry_run=True)
    taken = queue.take()
    assert MOST // 2 <= len(taken) <= MOST
    assert abs(sum(one.interval for one in taken) - 50_000) < 5_000
    assert not taken[0].is_dropped


def test_what_nobody_took_for_long_is_gone():
    now = [1000.0]
    queue = SampleQueue(lambda: now[0], lambda: now[0] - 990.0)
    queue.add(samples(3, 10.0), 1, dry_run=False)
    now[0] += KEPT_S + 1
    queue.add(samples(MOST, now[0] - 990.0), 1, dry_run=False)
    assert [one.interval for one in queue.take()] == [1] * MOST
