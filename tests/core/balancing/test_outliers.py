import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.balancing.objects import OutlierDetection
from spectrum.core.balancing.outliers import OriginOutcomes, OutlierDetector, Record, Tally

SETTINGS = OutlierDetection(base_ejection_time="10s", max_ejection_time="40s")
FAILED = OriginOutcomes(connect_failures=5, reason="connect_refused")


def three(number):
    """As many others serve."""
    return 3


def detector(size=4, settings=SETTINGS):
    return OutlierDetector(settings, size)


@pytest.mark.parametrize(
    ("reports", "ejected"),
    [
        ([OriginOutcomes(connect_failures=4)], False),
        ([OriginOutcomes(connect_failures=5)], True),
        ([OriginOutcomes(connect_failures=3), OriginOutcomes(connect_failures=2)], True),  # of two workers
        ([OriginOutcomes(connect_failures=4), OriginOutcomes(connected=1), OriginOutcomes(connect_failures=4)], False),
        ([OriginOutcomes(connect_failures=4), OriginOutcomes(connected=9, connect_failures=5)], True),
        ([OriginOutcomes(connected=5, resets=5)], True),  # it accepts and resets: a connect that succeeds is no excuse
        ([OriginOutcomes(resets=4), OriginOutcomes(answered=1, resets=4)], False),
        ([OriginOutcomes(resets=3, connect_failures=3)], False),
    ],
)
def test_failures_in_a_row(reports, ejected):
    found = detector()
    results = [found.take(1, outcomes, three, 0.0) for outcomes in reports]
    assert (results[-1] is not None) is ejected is found.ejected(1)


def test_outcomes_of_a_worker():
    outcomes = OriginOutcomes()
    outcomes.connect_failed("connect_timeout")
    outcomes.connect_succeeded(0)
    outcomes.connect_failed("connect_refused")
    assert (outcomes.connect_failures, outcomes.reason) == (2, "connect_refused")
    outcomes.connect_succeeded(3)
    outcomes.ended(answered=False, reset=True)
    outcomes.ended(answered=False, reset=False)
    assert (outcomes.connected, outcomes.connect_failures, outcomes.resets) == (3, 0, 1)
    outcomes.ended(answered=True, reset=True)  # it said something before
    assert (outcomes.answered, outcomes.resets) == (1, 0)


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
        found.take(number, FAILED, lambda number, others=usable - 1: others, 0.0)
    assert sum(found.ejected(number) for number in range(size)) == most


def test_a_probe_that_passes_brings_it_back():
    found = detector()
    assert found.take(1, FAILED, three, 100.0).reason == "5 connects failed in a row, last connect_refused"
    assert not found.probe_passed(1, 99.0, 101.0)  # it began before
    assert not found.probe_passed(2, 101.0, 102.0)
    assert found.probe_passed(1, 101.0, 102.0)
    assert not found.ejected(1)
    assert not found.probe_passed(1, 103.0, 104.0)
    assert found.take(1, OriginOutcomes(resets=7), three, 103.0).reason == "7 sessions reset in a row before a byte"
    assert not found.probe_passed(1, 104.0, 105.0)  # a connect says nothing about resets


def test_off():
    assert detector(settings=None).take(1, FAILED, three, 0.0) is None


# --- shares -----------------------------------------------------------------------------------------------------------

SHARES = OutlierDetection(consecutive_failures=1000)


def sessions(answered, resets):
    return OriginOutcomes(connected=answered + resets, answered=answered, all_resets=resets)


def connects(connected, failed):
    return OriginOutcomes(connected=connected, all_connect_failures=failed)


def compared(*outcomes, settings=SHARES, others=three):
    """Return which of origins with these outcomes are ejected after a second."""
    found = OutlierDetector(settings, len(outcomes))
    found.window_began = 100.0
    for number, sign in enumerate(outcomes):
        assert found.take(number, sign, others, 100.5) is None
    return found.compare(others, 101.0)


@pytest.mark.parametrize(
    ("outcomes", "ejected"),
    [
        ([sessions(100, 0), sessions(50, 50)], [1]),
        ([sessions(100, 0), sessions(71, 29)], []),  # below the threshold
        ([sessions(100, 0), sessions(70, 30)], [1]),
        ([connects(100, 0), connects(50, 50)], [1]),
        ([connects(100, 0), sessions(50, 50)], [1]),  # of sessions that go on
        ([sessions(100, 20), sessions(60, 40)], [1]),
        ([sessions(100, 50), sessions(60, 40)], []),  # not twice what is usual: it is the clients
        ([sessions(0, 100), sessions(0, 100)], []),
        ([sessions(49, 0), sessions(50, 50)], []),  # nobody to compare with
        ([sessions(100, 0), sessions(24, 25)], []),  # too few to tell
        ([sessions(50, 50)], []),
        ([sessions(100, 0), sessions(0, 100), sessions(50, 50)], [1]),  # half of three is one
        ([sessions(100, 0), sessions(100, 0), sessions(0, 100), sessions(50, 50)], [2, 3]),
        ([sessions(100, 0), sessions(100, 0), connects(0, 50), sessions(50, 50)], [2, 3]),
        (
            [OriginOutcomes(connected=100, answered=3, all_resets=5), sessions(100, 0)],
            [],
        ),  # long ones that have not ended
    ],
)
def test_shares_of_failures(outcomes, ejected):
    assert compared(*outcomes) == ejected


@pytest.mark.parametrize(
    ("settings", "ejected"),
    [
        ({"failure_percentage_threshold": 0}, []),
        ({"failure_percentage_threshold": 51}, []),
        ({"failure_percentage_threshold": 50}, [1]),
        ({"failure_percentage_request_volume": 101}, []),
        ({"failure_percentage_minimum_hosts": 3}, []),
        ({"max_ejection_percent": 10}, []),
    ],
)
def test_settings_of_shares(settings, ejected):
    settings = OutlierDetection(consecutive_failures=1000, **settings)
    assert compared(sessions(100, 0), sessions(50, 50), settings=settings) == ejected


def test_the_last_one_stays_whatever_its_share():
    assert compared(sessions(100, 0), sessions(50, 50), others=lambda number: 0) == []


def test_an_ejection_by_share():
    found = OutlierDetector(SHARES, 2, window_began=100.0)
    for now in (100.2, 100.4):  # of two workers
        found.take(0, sessions(30, 0), three, now)
        found.take(1, sessions(15, 15), three, now)
    assert found.compare(three, 101.0) == [1]
    record = found.records[1]
    assert record.reason == "30 of 60 sessions were reset before a byte, 50 %, others of the pool far fewer"
    assert record.ejected_until == 131.0
    assert not found.probe_passed(1, 102.0, 103.0)  # it passes half of them
    found.take(1, sessions(0, 99), three, 110.0)  # sessions of before end
    assert found.due(131.0) == [1]
    assert found.records[1].tally == Tally()
    assert found.compare(three, 131.0) == []


def test_windows():
    found = OutlierDetector(SHARES, 2, window_began=100.0)
    for number in (0, 1):
        found.take(number, sessions(45, 0), three, 101.0)
    found.compare(three, 110.0)
    assert found.records[0].tally.answered == 45  # too few to tell, so the window goes on
    found.take(0, sessions(5, 0), three, 120.0)
    found.compare(three, 121.0)
    assert (found.records[0].tally, found.window_began) == (Tally(), 121.0)
    found.take(0, sessions(5, 0), three, 122.0)
    found.compare(three, 420.9)
    assert found.records[0].tally.answered == 5
    found.compare(three, 421.0)
    assert found.records[0].tally == Tally()


def test_fair_origins_are_rarely_ejected_and_a_bad_one_soon():
    """What each client meets is drawn: a tenth fails everywhere, and at one of four half."""
    draw = random.Random(7)
    fair = OutlierDetector(SHARES, 4)
    bad = OutlierDetector(SHARES, 4)
    seconds = None
    for second in range(600):
        for number in range(4):
            resets = sum(draw.random() < 0.1 for _ in range(10))
            fair.take(number, sessions(10 - resets, resets), three, second)
            resets = sum(draw.random() < (0.5 if number == 3 else 0.1) for _ in range(10))
            bad.take(number, sessions(10 - resets, resets), three, second)
        assert fair.compare(three, second) == []
        if seconds is None and bad.compare(three, second) == [3]:
            seconds = second
    assert seconds < 10


met = st.builds(
    OriginOutcomes,
    connected=st.integers(0, 99),
    connect_failures=st.integers(0, 9),
    answered=st.integers(0, 99),
    resets=st.integers(0, 9),
    all_connect_failures=st.integers(0, 99),
    all_resets=st.integers(0, 99),
)


@given(st.integers(1, 6), st.integers(0, 100), st.lists(st.tuples(st.integers(0, 5), met), max_size=60))
def test_never_more_than_the_share_and_never_all(size, percent, reports):
    settings = OutlierDetection(
        max_ejection_percent=percent, failure_percentage_threshold=1, failure_percentage_request_volume=1
    )
    found = OutlierDetector(settings, size)

    def others(number):
        return sum(not found.ejected(other) for other in range(size) if other != number)

    for now, (number, outcomes) in enumerate(reports):
        found.take(number % size, outcomes, others, float(now))
        found.compare(others, float(now))
        ejected = [number for number in range(size) if found.ejected(number)]
        assert len(ejected) < size
        assert len(ejected) * 100 <= percent * size
        assert all(isinstance(found.records[number], Record) and found.records[number].reason for number in ejected)
        found.due(float(now))
