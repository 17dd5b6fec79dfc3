import pytest

from spectrum.engine.target import Target


def test_keeps_its_address():
    target = Target(b"\x01\x02\x03\x04", 80, "1.2.3.4")
    assert (target.host, target.port, target.take_connected()) == ("1.2.3.4", 80, 0)
    assert target.name == "1.2.3.4:80"
    assert Target(bytes(16), 1, "::").name == "[::]:1"


@pytest.mark.parametrize("address", [b"", b"123", bytes(17)])
def test_refuses_other_addresses(address):
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        Target(address, 80, "x")


def test_sources_are_of_the_origins_family():
    with pytest.raises(ValueError, match="another family"):
        Target(b"\x7f\0\0\1", 80, "127.0.0.1", sources=(b"\x7f\0\0\1", bytes(16)))
