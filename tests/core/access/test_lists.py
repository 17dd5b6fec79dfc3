import pytest
from pydantic import ValidationError

from spectrum.core.access.lists import AddressList, item_value


def test_what_a_list_holds():
    items = ["192.0.2.1", {"ip": "2001:DB8::/32", "comment": "lab"}, {"ip": "198.51.100.0/24", "created_on": "x"}]
    made = AddressList.model_validate({"kind": "ip", "items": items, "description": "d", "name": "bad"})
    assert [str(one) for one in made.networks()] == ["192.0.2.1/32", "2001:db8::/32", "198.51.100.0/24"]
    made = AddressList.model_validate({"kind": "asn", "items": [64500, {"asn": "AS64501"}]})
    assert list(made.numbers()) == [64500, 64501]
    assert AddressList.model_validate({"kind": "ip"}).items == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Field required"),
        ({"kind": "hostname"}, "'ip' or 'asn'"),
        ({"kind": "ip", "items": "192.0.2.1"}, "expected a list, found '192.0.2.1'"),
        ({"kind": "ip", "items": ["192.0.2.1/24"]}, "is not a prefix"),
        ({"kind": "ip", "items": ["192.0.2.1", {"ip": "192.0.2.1/32"}]}, "192.0.2.1/32 is listed twice"),
        ({"kind": "ip", "items": [{"asn": 1}]}, "unknown key 'asn' in an item of a list of kind ip"),
        ({"kind": "ip", "items": [{"comment": "x"}]}, 'an item of this list needs "ip"'),
        ({"kind": "ip", "items": [{"ip": "192.0.2.1", "comment": 5}]}, "are texts of at most 500 characters"),
        ({"kind": "ip", "items": [{"ip": "192.0.2.1", "comment": "x" * 501}]}, "are texts of at most 500 characters"),
        ({"kind": "asn", "items": ["AS0"]}, "is not an autonomous system"),
        ({"kind": "asn", "items": [True]}, "true is not an autonomous system"),
        ({"kind": "asn", "items": ["9" * 5000]}, "is not an autonomous system"),
        ({"kind": "ip", "description": "x" * 501}, "at most 500 characters"),
    ],
)
def test_faults(fields, message):
    with pytest.raises(ValidationError) as caught:
        AddressList.model_validate(fields)
    assert message in str(caught.value)


def test_the_same_address_is_one_value():
    assert item_value("ip", "::ffff:192.0.2.1") == item_value("ip", {"ip": "192.0.2.1/32"})
    assert item_value("asn", "as1") == item_value("asn", 1) == 1
