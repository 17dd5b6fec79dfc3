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
        profile.learn(rows(length=np.full(40, look), app=0, stands_for=1), 1.0)
    kept = profile.normal.packets["length"]
    assert len(kept) == 100
    assert kept.min() < 15 and kept.max() > 35
    assert len(np.unique(kept)) > 20


def test_an_app_that_is_quiet_is_forgotten_slowly():
    profile = Profile(1)
    profile.learn(rows(length=[40] * 100, app=0, stands_for=10), 1.0)
    before = profile.rates_of(0).sum()
    profile.learn(rows(length=[40], app=1, stands_for=1), 1.0)
    assert 0 < profile.rates_of(0).sum() < before


def test_the_same_chance_gives_the_same_profile():
    one, two = Profile(3, 50), Profile(3, 50)
    for profile in (one, two):
        world = World(5)
        for _ in range(4):
            profile.learn(normal(world, 0.25, ONE_IN), 0.25)
    assert one.normal.packets["source_low"].tolist() == two.normal.packets["source_low"].tolist()
