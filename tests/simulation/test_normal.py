import numpy as np
import pytest

from spectrum.core.ddos.packets import IN_USE, NO_APP, OPENING
from spectrum.simulation.normal import CROWDS, GAME, RATE, UDP, World, crowd, normal, packets


def test_a_second_has_every_app_at_its_rate():
    world = World(3)
    rows = normal(world, 1.0, 10.0)
    assert rows["stands_for"].sum() == pytest.approx(RATE * world.level, rel=0.03)
    assert set(np.unique(rows["app"])) == {NO_APP, *range(6)}
    idle = (rows["state"] != IN_USE).mean()
    assert 0.05 < idle < 0.15
    assert rows["ttl"].max() < 255 and rows["length"].min() >= 20


def test_one_seed_makes_one_world():
    one, other = normal(World(5), 0.1, 10.0), normal(World(5), 0.1, 10.0)
    assert np.array_equal(one["source_low"], other["source_low"])


def test_what_is_left_out_follows():
    world = World(1)
    rows = packets(world, world.fresh(50), 10, UDP, six=1.0, destination_port=7000)
    assert set(rows["version"]) == {6} and rows["served"].all() and set(rows["app"]) == {GAME}
    assert not packets(world, world.fresh(5), 10, UDP, destination_port=7001)["served"].any()


@pytest.mark.parametrize("name", CROWDS)
def test_crowds_begin_with_openings(name):
    world = World(2)
    early, late = crowd(world, name, 1.0, 0.0, 0.25, 10.0), crowd(world, name, 1.0, 4.0, 0.25, 10.0)
    assert len(late) > 4 * len(early) > 0
    assert (early["state"] == OPENING).mean() >= (late["state"] == OPENING).mean()
