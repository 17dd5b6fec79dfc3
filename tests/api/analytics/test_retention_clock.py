import pytest

from spectrum.api.analytics.retention_clock import HOLD_S, RetentionClock

DAY_S = 86400.0
NOON = 1_700_000_000.0


@pytest.fixture
def clock():
    made = RetentionClock()
    assert made.time(NOON, 100.0) == NOON
    return made


def test_it_follows_the_wall_clock(clock):
    assert clock.time(NOON + 60, 160.0) == NOON + 60
    assert clock.time(NOON + 61 + 200, 161.0) == NOON + 261, "a time server corrects it"


def test_a_step_forward_counts_after_an_hour(clock, caplog):
    assert clock.time(NOON + 2 * DAY_S + 10, 110.0) == NOON + 10
    assert clock.time(NOON + 2 * DAY_S + HOLD_S, 100.0 + HOLD_S) == NOON + HOLD_S
    (line,) = caplog.messages
    assert "stepped forward by 172800 s" in line
    assert clock.time(NOON + 2 * DAY_S + HOLD_S + 10, 110.0 + HOLD_S) == NOON + 2 * DAY_S + HOLD_S + 10
    assert clock.time(NOON + 2 * DAY_S + HOLD_S + 20, 120.0 + HOLD_S) == NOON + 2 * DAY_S + HOLD_S + 20


def test_a_wrong_clock_that_is_set_right_again_deletes_nothing(clock):
    assert clock.time(NOON + 365 * DAY_S, 101.0) == NOON + 1
    assert clock.time(NOON + 10, 110.0) == NOON + 10
    assert clock.time(NOON + HOLD_S, 100.0 + HOLD_S) == NOON + HOLD_S


def test_a_step_back_counts_at_once(clock):
    assert clock.time(NOON - 2 * DAY_S, 101.0) == NOON - 2 * DAY_S
