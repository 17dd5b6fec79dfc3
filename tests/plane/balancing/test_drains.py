import pytest

from spectrum.plane.balancing.drains import SPREAD_S, Drains


class Sessions:
    def __init__(self, count):
        self.open = list(range(count))
        self.drains = Drains(lambda key, name: self.open.remove(name))

    def find(self):
        return list(self.open)

    def run(self, until, step=0.25):
        """Return how many sessions were left at each step."""
        now, left = 0.0, []
        while now <= until:
            self.drains.tick(now)
            left.append((now, len(self.open)))
            now += step
        return left


@pytest.mark.parametrize(("drain_s", "opens", "closes"), [(0, 0, 10), (5, 0, 10), (30, 20, 30)])
def test_sessions_end_evenly_in_a_window(drain_s, opens, closes):
    sessions = Sessions(1000)
    sessions.drains.begin(("lb", 1), sessions.find, drain_s, 0.0)
    for now, left in sessions.run(closes + 1):
        if now < opens:
            assert left == 1000
        elif now < closes:
            assert left == pytest.approx(1000 * (closes - now) / SPREAD_S, abs=1)
        else:
            assert left == 0
    assert not sessions.drains.pending


def test_those_that_come_meanwhile_end_too():
    sessions = Sessions(2)
    sessions.drains.begin(("lb", 1), sessions.find, 30, 0.0)
    sessions.drains.tick(21)
    sessions.open.append(99)
    sessions.drains.tick(29)
    assert 99 in sessions.open
    sessions.drains.tick(30)
    assert sessions.open == []


def test_an_origin_that_serves_again():
    sessions = Sessions(3)
    sessions.drains.begin(("lb", 1), sessions.find, 0, 0.0)
    sessions.drains.cancel(lambda key: key != ("lb", 1))
    sessions.run(20)
    assert len(sessions.open) == 3


def test_nobody_is_there():
    sessions = Sessions(3)
    sessions.drains.begin(("lb", 1), list, 0, 0.0)
    sessions.run(11)
    assert len(sessions.open) == 3
    assert not sessions.drains.pending


def test_over_the_whole_time():
    sessions = Sessions(100)
    sessions.drains.begin(("", 1), sessions.find, 40, 0.0, 40)
    left = dict(sessions.run(41, 1.0))
    assert (left[0.0], left[10.0], left[30.0], left[40.0]) == (100, 75, 25, 0)


def test_no_time_at_all():
    sessions = Sessions(100)
    sessions.drains.begin(("", 1), sessions.find, 0, 0.0, 0)
    sessions.drains.tick(0.0)
    assert sessions.open == []
    assert not sessions.drains.pending
