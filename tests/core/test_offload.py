import pytest

from spectrum.core.configuration.config import Config


@pytest.mark.parametrize(("given", "interfaces"), [(True, ()), ({"interfaces": ["eth0"]}, ("eth0",)), ({}, ())])
def test_on(given, interfaces):
    assert Config.model_validate({"udp_offload": given}).udp_offload.interfaces == interfaces


def test_off():
    assert Config.model_validate({"udp_offload": False}).udp_offload is None
