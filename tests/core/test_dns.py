import pytest
from pydantic import ValidationError

from spectrum.core.dns import DnsPublishing

LEAST = {"server": "192.0.2.53", "zone": "example.org"}


def test_zones_and_names():
    one = DnsPublishing.model_validate(LEAST | {"zone": ["Example.org", "sub.example.org."]})
    assert one.zones == ("example.org", "sub.example.org")
    assert str(one.server) == "192.0.2.53:53"
    assert one.zone_of("ssh.example.org") == "example.org"
    assert one.zone_of("ssh.sub.example.org") == one.zone_of("sub.example.org") == "sub.example.org"
    assert one.zone_of("ssh.notexample.org") is one.zone_of("org") is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"zone": []}, "at least 1 item"),
        ({"zone": "*.example.org"}, r"a name without a wildcard, such as example\.org"),
        ({"zone": 5}, "expected text such as example.com"),
        ({"server": "dns.example.org"}, "dns.example.org"),
        ({"ttl": 0}, "greater than or equal to 1"),
        ({"addresses": ["nowhere"]}, "nowhere"),
    ],
)
def test_faults(more, message):
    with pytest.raises(ValidationError, match=message):
        DnsPublishing.model_validate(LEAST | more)
