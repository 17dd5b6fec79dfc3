import pytest

from spectrum.core.balancing.objects import OutlierDetection
from spectrum.core.balancing.outliers import OutlierDetector, Signs

SETTINGS = OutlierDetection(base_ejection_time="10s", max_ejection_time="40s")
FAILED = Signs(connect_failures=5, reason="connect_refused")


def three():
    """As many others serve."""
    return 3


def detector(size=4, settings=SETTINGS):
    return OutlierDetector(settings, size)


@pytest.mark.parametrize(
    ("reports", "ejected"),
    [
        ([Signs(connect_failures=4)], False),
        ([Signs(connect_failures=5)], True),
        ([Signs(connect_failures=3), Signs(connect_failures=2)], True),  # of two workers
        ([Signs(connect_failures=4), Signs(connected=1), Signs(connect_failures=4)], False),
        ([Signs(connect_failures=4), Signs(connected=9, connect_failures=5)], True),
        ([Signs(connected=5, resets=5)], True),  # it accepts and resets: a connect that succeeds is no excuse
        ([Signs(resets=4), Signs(answered=1, resets=4)], False),
        ([Signs(resets=3, connect_failures=3)], False),
    ],
)
def test_failures_in_a_row(reports, ejected):
    found = detector()
    results = [found.take(1, signs, three, 0.0) for signs in reports]
    assert (results[-1] is not None) is ejected is found.ejected(1)


def test_signs_of_a_worker():
    signs = Signs()
    signs.connect_failed("connect_timeout")
    signs.connect_succeeded(0)
    signs.connect_failed("connect_refused")
    assert (signs.connect_failures, signs.reason) == (2, "connect_refused")
    signs.connect_succeeded(3)
    signs.ended(answered=False, reset=True)
    signs.ended(answered=False, reset=False)
    assert (signs.connected, signs.connect_failures, signs.resets) == (3, 0, 1)
    signs.ended(answered=True, reset=True)  # it said something before
    assert (signs.answered, signs.resets) == (1, 0)


def test_ejections_grow_and_end():
    found, now, lengths = detector(), 0.0, []
    for _ in range(6):
        assert found.take(1, FAILED, three, now)
        assert found.take(1, FAILED, three, now) is None
        lengths.append(found.next_due() - now)
        assert found.due(now + 9) == []
        now = found.next_due()
        assert found.due(now) == [1]
        assert not found.ejected(1)
        assert found.next_due() is None
    assert lengths == [10, 20, 30, 40, 40, 40]
    now += 90  # twice the longest without an ejection
    assert found.take(1, FAILED, three, now)
    assert found.next_due() - now == 40
    found.due(now + 40)
    now += 40 + 400
    found.take(1, FAILED, three, now)
    assert found.next_due() - now == 10


@pytest.mark.parametrize(("percent", "size", "most"), [(50, 4, 2), (10, 4, 0), (100, 4, 3), (34, 3, 1), (50, 1, 0)])
def test_at_most_a_share_and_never_the_last_one(percent, size, most):
    found = detector(size, OutlierDetection(max_ejection_percent=percent))
    for number in range(size):
        usable = size - sum(found.ejected(other) for other in range(size))
        found.take(number, FAILED, lambda others=usable - 1: others, 0.0)
    assert sum(found.ejected(number) for number in range(size)) == most


def test_a_probe_that_passes_brings_it_back():
    found = detector()
    assert found.take(1, FAILED, three, 100.0).reason == "5 connects failed in a row, last connect_refused"
    assert not found.probe_passed(1, 99.0, 101.0)  # it began before
    assert not found.probe_passed(2, 101.0, 102.0)
    assert found.probe_passed(1, 101.0, 102.0)
    assert not found.ejected(1)
    assert not found.probe_passed(1, 103.0, 104.0)
    assert found.take(1, Signs(resets=7), three, 103.0).reason == "7 sessions reset in a row before a byte"


def test_off():
    assert detector(settings=None).take(1, FAILED, three, 0.0) is None
