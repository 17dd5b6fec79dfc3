import numpy as np
import pytest

from spectrum.core.ddos.packets import IN_USE, NO_APP
from spectrum.core.ddos.profile import Profile
from spectrum.simulation.normal import GAME, RATE, World, normal
from tests.core.ddos.mix import ONE_IN, learned
from tests.core.ddos.test_packets import rows


def test_rates_and_shares():
    world, profile = learned()
    normal_rows = profile.normal
    assert profile.rates_of(GAME).sum() == pytest.approx(24_000 * world.level, rel=0.1)
    assert normal_rows.rate == pytest.approx(normal_rows.rates.sum())
    assert normal_rows.rate < 0.3 * RATE  # what belongs to flows in use is no part of it
    assert not (normal_rows.packets["state"] == IN_USE).any()
    for app, count in enumerate(normal_rows.apps, NO_APP):
        assert normal_rows.shares[normal_rows.packets["app"] == app].sum() == pytest.approx(1.0 if count else 0.0)
    assert 0 < profile.known_share_of(GAME) < 1
    assert profile.known_share_of(99) == 0 and not profile.rates_of(99).any()


def test_an_empty_profile():
    empty = Profile(1).normal
    assert len(empty.packets) == 0 and empty.rate == 0


def test_rows_are_replaced_and_their_number_is_bounded():
    """What comes later takes places by chance, so that old rows go slowly."""
    profile = Profile(1, rows=100)
    for look in range(50):
        profile.learn(rows(length=np.full(40, look), app=0, stands_for=1), 1.0, look)
    kept = profile.normal.packets["length"]
    assert len(kept) == 100
    assert kept.min() < 15 and kept.max() > 35
    assert len(np.unique(kept)) > 20


def test_an_app_that_is_quiet_is_forgotten_slowly():
    profile = Profile(1)
    profile.learn(rows(length=[40] * 100, app=0, stands_for=10), 1.0, 1.0)
    before = profile.rates_of(0).sum()
    profile.learn(rows(length=[40], app=1, stands_for=1), 1.0, 2.0)
    assert 0 < profile.rates_of(0).sum() < before


def test_the_same_chance_gives_the_same_profile():
    one, two = Profile(3, 50), Profile(3, 50)
    for profile in (one, two):
        world = World(5)
        for look in range(4):
            profile.learn(normal(world, 0.25, ONE_IN), 0.25, look)
    assert one.normal.packets["source_low"].tolist() == two.normal.packets["source_low"].tolist()


DAY = 86_400.0


def weeks(profile, days, per_look=60, step=600.0):
    """Teach a profile some days of an app; the length of each packet is the number of the hour."""
    for look in range(int(days * DAY / step)):
        at = look * step
        profile.learn(rows(length=np.full(per_look, at // 3600), app=0, stands_for=1), step, at)
    return days * DAY


def test_half_of_the_rows_is_of_the_last_day_and_half_of_a_week():
    profile = Profile(1, rows=1_000)
    now = weeks(profile, 14)
    hours = now / 3600 - profile.normal.packets["length"].astype(float)
    assert (hours <= 24).mean() == pytest.approx(0.5 * 0.95 + 0.5 * 0.35, abs=0.08)
    assert (hours > 7 * 24).mean() < 0.05
    sure = profile.certainty(now)[0]
    assert sure.rows == 1_000 and sure.unseen == pytest.approx(0.003)
    assert sure.day_share == pytest.approx((hours <= 24).mean(), abs=0.05)
    assert sure.newest_s < 2 * 3600 and sure.is_settled
    assert sure.learned_s == pytest.approx(14 * DAY, rel=0.01)


def test_an_hour_of_an_attack_is_an_hours_part_of_the_rows():
    """However many packets it has."""
    profile = Profile(1, rows=1_000)
    now = weeks(profile, 3)
    for look in range(6):
        profile.learn(rows(length=np.full(4_000, 1500), app=0, stands_for=100), 600.0, now + 600 * look)
    assert (profile.normal.packets["length"] == 1500).mean() < 0.1


def test_rules_about_an_app_act_when_it_was_learned_for_a_day_or_a_week_if_few_come():
    profile = Profile(1, rows=200)
    weeks(profile, 0.9)
    assert profile.is_ready and not profile.is_settled(0, 0.9 * DAY)
    weeks(profile, 0.2)
    assert profile.is_settled(0, DAY) and not profile.is_settled(0, 20 * DAY) and not profile.is_settled(5, DAY)
    rare = Profile(1)
    weeks(rare, 2, per_look=1)
    assert not rare.is_settled(0, 2 * DAY)
    weeks(rare, 6, per_look=1)
    assert rare.is_settled(0, 6 * DAY)


def test_nothing_is_learned_of_apps_that_rules_are_about():
    profile = Profile(1)
    both = rows(app=[0, 1] * 20, stands_for=1, length=100)
    profile.learn(both, 1.0, 1.0)
    before = profile.rates_of(0)
    for look in range(5):
        profile.learn(rows(app=[0, 1] * 40, stands_for=1, length=200), 1.0, 2.0 + look, without={0})
    assert (profile.rates_of(0) == before).all() and profile.rates_of(1).sum() > 30
    packets = profile.normal.packets
    assert (packets["length"][packets["app"] == 0] == 100).all()
    assert profile.certainty(7.0)[0].learned_s == 1 and profile.certainty(7.0)[1].learned_s == 6


def test_packets_of_flows_in_use_are_sought_where_they_are_missing():
    profile = Profile(1)
    usual = rows(app=0, state=[0] * 10 + [IN_USE] * 90, stands_for=1)
    for look in range(20):
        profile.learn(usual, 1.0, look)
    assert not profile.missing(usual, 1.0).any() and profile.normal_with(np.zeros(2)) is profile.normal
    lost = rows(app=0, state=[0] * 100, stands_for=1)
    missing = profile.missing(lost, 1.0)
    assert missing.tolist() == [0, pytest.approx(90)]
    normal_rows = profile.normal_with(missing)
    assert normal_rows.rate == pytest.approx(100) and normal_rows.rates.sum() == pytest.approx(100)
    assert normal_rows.apps.tolist() == [0, len(profile.normal.packets), 0, 500]
    assert set(normal_rows.packets["app"].tolist()) == {0, 2}


def test_what_is_kept_over_a_restart():
    profile = Profile(1)
    now = weeks(profile, 2)
    memory = profile.memory_of(0, now)
    assert memory is not None and profile.memory_of(7, now) is None and profile.apps == (0,)
    other = Profile(2)
    other.recall(3, memory, now + 60)
    assert not other.is_ready
    other.resume(profile.known_rate)
    assert other.is_ready and other.is_settled(3, now + 60)
    assert other.rates_of(3).tolist() == profile.rates_of(0).tolist()
    assert other.certainty(now)[3].learned_s == pytest.approx(2 * DAY)


def test_apps_have_other_numbers():
    profile = Profile(1)
    profile.learn(rows(app=[0] * 10 + [1] * 30 + [NO_APP] * 5, stands_for=1), 1.0, 1.0)
    profile.renumber({1: 4})
    assert set(profile.apps) == {NO_APP, 4}
    assert profile.rates_of(4).sum() == 30 and not profile.rates_of(0).any() and profile.rates_of(NO_APP).sum() == 5
    assert set(profile.normal.packets["app"].tolist()) == {NO_APP, 4}


def test_addresses_that_many_clients_share():
    profile = Profile(1)
    alone = rows(app=0, source_low=np.arange(500), stands_for=1)
    profile.learn(alone, 1.0, 1.0)
    assert profile.per_source_of(0) == 0 and profile.per_source_of(9) == 0
    shared = Profile(1)
    shared.learn(rows(app=0, source_low=np.r_[np.arange(500), np.full(100, 7)], stands_for=1), 1.0, 1.0)
    assert shared.per_source_of(0) == pytest.approx(100, abs=2)


def test_many_apps_share_the_memory():
    profile = Profile(1)
    for look in range(4):
        profile.learn(rows(app=np.arange(200).repeat(1_200), stands_for=1), 600.0, 600 * look)
    assert len(profile.normal.packets) == 100_000
