import pytest
from pydantic import ValidationError

from spectrum.core.access.objects import AccessRule


def rule(**fields):
    return AccessRule.model_validate({"action": "block", **fields})


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"target": "ip", "value": "192.0.2.1"}, ["192.0.2.1/32"]),
        ({"target": "ip_range", "values": ["192.0.2.0/24", "2001:db8::/32"]}, ["192.0.2.0/24", "2001:db8::/32"]),
        ({"target": "ip_range", "value": "192.0.2.9"}, ["192.0.2.9/32"]),
    ],
)
def test_prefixes(fields, read):
    assert [str(network) for network in rule(**fields).networks()] == read


def test_places():
    assert rule(target="country", values=["DE", "NO", "XX"]).countries() == ["DE", "NO", "XX"]
    assert rule(target="asn", values=["AS64500", "as1", 7, "8"]).numbers() == [64500, 1, 7, 8]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "ip", "value": "192.0.2.0/24"}, "is not an address; write 192.0.2.1, or target: ip_range"),
        ({"target": "ip_range", "value": "192.0.2.1/24"}, "is not a prefix"),
        ({"target": "country", "value": "de"}, "two capital letters"),
        ({"target": "country", "value": 49}, "two capital letters"),
        ({"target": "asn", "value": "AS"}, "is not an autonomous system; write AS64500"),
        ({"target": "asn", "value": 2**32}, "is not an autonomous system"),
        ({"target": "asn", "value": 0}, "is not an autonomous system"),
        ({"target": "ip"}, "exactly one of value, values, file and list; found none"),
        ({"target": "ip", "value": "192.0.2.1", "file": "x"}, "found value and file"),
        ({"target": "ip", "value": "192.0.2.1", "list": "x"}, "found value and list"),
        ({"target": "country", "list": "x"}, "write countries as values"),
        ({"target": "country", "file": "x"}, "it needs target: ip or ip_range"),
        ({"target": "ip", "value": "192.0.2.1", "apps": []}, "an empty list applies to no app"),
    ],
)
def test_faults(fields, message):
    with pytest.raises(ValidationError, match=message):
        rule(**fields)


def test_one_app_needs_no_list():
    assert rule(target="ip", value="192.0.2.1", apps="ssh").apps == ("ssh",)
