from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from spectrum.core.ddos.packets import MAPPED
from spectrum.simulation.aim import TargetApp, aimed
from spectrum.simulation.normal import World
from spectrum.simulation.vectors import EVERY

FOUR, SIX = IPv4Address("10.1.2.3"), IPv6Address("fd00:1::77")


def flood(name, target):
    return aimed(EVERY[name](World(1), 500), target)


@pytest.mark.parametrize("name", EVERY)
def test_everything_goes_to_the_app(name):
    rows = flood(name, TargetApp(FOUR, SIX, (9000, 9000)))
    before = EVERY[name](World(1), 500)
    four = rows["version"] == 4
    low, high = rows["destination_low"], rows["destination_high"]
    net, mask = np.uint64(MAPPED | int(FOUR) & ~0xFF), np.uint64(0xFFFFFFFFFFFFFF00)
    assert ((low[four] & mask) == net).all() and (high[four] == 0).all()
    assert (high[~four] == int(SIX) >> 64).all()
    if name != "carpet":
        assert (low[four] == MAPPED | int(FOUR)).all() and (low[~four] == int(SIX) & (1 << 64) - 1).all()
    served = before["served"] > 0
    assert (rows["destination_port"][served] == 9000).all()
    assert (rows["destination_port"][~served] == before["destination_port"][~served]).all()


def test_a_carpet_stays_one():
    assert len(np.unique(flood("carpet", TargetApp(FOUR, None, (1, 1)))["destination_low"])) > 200


def test_ports_of_a_range():
    assert set(flood("udp_random", TargetApp(FOUR, SIX, (7000, 7003)))["destination_port"]) == {7000}
    ports = flood("rtp_random", TargetApp(FOUR, SIX, (20000, 20009)))["destination_port"]
    assert set(ports) == set(range(20000, 20010))


def test_an_app_of_one_family_gets_packets_of_it():
    rows = flood("udp_random", TargetApp(None, SIX, (1, 1)))
    assert set(rows["version"]) == {6} and len(np.unique(rows["source_high"])) > 490
    rows = flood("v6_udp", TargetApp(FOUR, None, (1, 1)))
    assert set(rows["version"]) == {4} and (rows["source_high"] == 0).all()
    assert (rows["source_low"] >> np.uint64(32) == 0xFFFF).all()


def test_an_app_without_an_address():
    with pytest.raises(ValueError, match="no address"):
        flood("udp_random", TargetApp(None, None, (1, 1)))
