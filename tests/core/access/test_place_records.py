import pytest

from spectrum.core.access.place_records import country_in, network_in, number_in


@pytest.mark.parametrize(
    ("record", "country"),
    [
        ({"country": {"iso_code": "DE", "names": {"en": "Germany"}}}, "DE"),
        ({"country": "DE"}, "DE"),
        ({"country_code": "DE"}, "DE"),
        ({"country": {"names": {}}}, ""),
        ({"country": 5}, ""),
        ({"asn": 5}, ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_countries(record, country):
    assert country_in(record) == country


@pytest.mark.parametrize(
    ("record", "number", "written"),
    [
        ({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}, 64500, "AS64500"),
        ({"asn": "AS64500"}, 64500, "AS64500"),
        ({"asn": 64500}, 64500, "AS64500"),
        ({"asn": "none"}, 0, ""),
        ({"country": "DE"}, 0, ""),
        (None, 0, ""),
    ],
)
def test_networks(record, number, written):
    assert number_in(record) == number
    assert network_in(record) == written
