import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.tls.renewal import (
    LONGEST_ASK_S,
    LONGEST_PAUSE_S,
    LONGEST_RETRY_AFTER_S,
    OrderState,
    asked_again_at,
    bounded,
    due_at,
    failed,
    issued,
    pause_s,
    renewal_at,
    renewed_at,
)

LOTS = st.floats(0, 1)
DAY = 86400.0


@given(LOTS, st.floats(3600, 400 * DAY))
def test_renewal_is_about_two_thirds_into_the_lifetime(lot, lifetime):
    assert 0.63 <= (renewal_at(1e9, 1e9 + lifetime, lot) - 1e9) / lifetime <= 0.667


@given(st.integers(1, 10_000), st.booleans(), st.floats(0, 1e9), LOTS)
def test_pauses_grow_within_bounds_and_never_hurry_a_ca(failures, reached, retry_after, lot):
    pause = pause_s(failures, reached, retry_after, lot)
    assert pause >= min(retry_after, LONGEST_RETRY_AFTER_S)
    assert 60 <= pause <= max(LONGEST_PAUSE_S * 1.25, LONGEST_RETRY_AFTER_S)
    assert pause <= pause_s(failures + 1, reached, retry_after, lot)


def test_no_more_than_three_failures_in_an_hour():
    begun, times = 0.0, []
    for failures in range(1, 10):
        times.append(begun)
        begun += pause_s(failures, True, 0.0, 0.0)
    assert len([at for at in times if at < 3600]) == 3


def test_an_order_and_what_becomes_of_it():
    fresh = OrderState()
    assert due_at(fresh, "w", "s", False) == 0.0
    one = failed(fresh, "s", "refused", True, 0.0, 1000.0, 0.0)
    assert (one.failures, one.why, due_at(one, "w", "s", False)) == (1, "refused", 1600.0)
    two = failed(one, "s", "refused", True, 0.0, 1600.0, 0.0)
    assert due_at(two, "w", "s", False) == 2800.0
    assert due_at(two, "w", "other settings", False) == 0.0, "they may be what mends it"
    assert failed(two, "other settings", "no", True, 0.0, 1700.0, 0.0).failures == 1
    done = issued("w", 0.0, 90 * DAY, 0.0, 0.0)
    assert due_at(done, "w", "s", True) == 60 * DAY
    assert due_at(done, "w", "s", False) == 0.0, "its file is lost"
    assert due_at(done, "other names", "s", True) == 0.0
    late = failed(done, "s", "down", False, 0.0, 61 * DAY, 0.0)
    assert due_at(late, "w", "s", True) == 61 * DAY + 60


def test_a_ca_may_want_it_sooner_and_not_later():
    done = issued("w", 0.0, 90 * DAY, 0.0, 0.0)
    assert renewed_at(msgspec.structs.replace(done, ca_at=5.0)) == 5.0
    assert renewed_at(msgspec.structs.replace(done, ca_at=80 * DAY)) == 60 * DAY


@given(st.floats(-1e9, 1e9), LOTS, st.booleans(), st.floats(0, 8 * DAY))
def test_a_clock_that_is_set_back_lengthens_no_pause_beyond_itself(step, lot, reached, retry_after):
    one = failed(OrderState(ask_at=2e9 + DAY), "s", "no", reached, retry_after, 2e9, lot)
    now = 2e9 + step
    later = bounded(one, now)
    assert later.try_at <= now + one.pause_s + 1e-6 and later.ask_at <= now + LONGEST_ASK_S
    assert bounded(later, now + 5) == later, "it ends"
    if step >= 0:
        assert later.try_at == one.try_at
    assert bounded(msgspec.structs.replace(one, pause_s=0.0), now).try_at <= now + LONGEST_PAUSE_S, (
        "of a former version"
    )


@given(st.floats(0, 1), LOTS)
def test_a_clock_that_is_ahead_has_no_certificate_ordered_at_once_again(share, lot):
    begins, ends = 1e9, 1e9 + 90 * DAY
    now = begins + share * (ends - begins)
    assert issued("w", begins, ends, now, lot).renew_at >= now + (ends - now) * 0.33


def test_the_ca_is_asked_neither_all_the_time_nor_never():
    assert [asked_again_at(at, 1e9) - 1e9 for at in (0.0, 1e9 + 3600, 9e9)] == [60.0, 3600.0, LONGEST_ASK_S]
