import numpy as np
import pytest

from spectrum.core.ddos.packets import LATER_FRAGMENT
from spectrum.simulation.normal import World
from spectrum.simulation.vectors import EVERY, flood


@pytest.mark.parametrize("name", EVERY)
def test_each_vector_has_the_packets_that_are_asked_for(name):
    rows = flood(World(4), name, 2000, 1.0, 2.0)
    assert 800 < len(rows) < 1200 and set(rows["stands_for"]) == {2.0}
    least = np.where(rows["version"] == 6, 40, 20)
    assert (rows["length"] > least).all() and (rows["ttl"] > 0).all()
    assert (rows["source_port"][rows["fragment"] == LATER_FRAGMENT] == 0).all()


@pytest.mark.parametrize(
    ("name", "fewest", "most"),
    [("udp_random", 9_900, 10_000), ("memcached_reflection", 250, 300), ("mirai_udpplain", 4_000, 5_000)],
)
def test_sources_are_spoofed_or_real_hosts(name, fewest, most):
    rows = EVERY[name](World(4), 10_000)
    assert fewest <= len(np.unique(rows["source_low"])) <= most
