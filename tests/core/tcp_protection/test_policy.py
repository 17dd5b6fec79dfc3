from spectrum.core.tcp_protection.policy import Policies, Policy


def test_what_is_on():
    assert not Policies().is_on
    assert Policies((Policy("enabled", 10, 1),), (1, 0)).is_on
