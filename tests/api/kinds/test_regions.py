from typing import get_args

from spectrum.api.kinds.regions import REGIONS, countries_of
from spectrum.core.balancing.objects import Region


def test_there_are_the_regions_of_the_file():
    assert set(REGIONS) == set(get_args(Region))


def test_only_two_countries_are_divided():
    named = [code for codes in REGIONS.values() for code in codes]
    assert {code for code in named if named.count(code) > 1} == {"US", "CA"}
    assert all(len(code) == 2 and code.isupper() for code in named)


def test_countries_are_told_in_their_order():
    assert countries_of("WNAM") == [{"country_code_a2": "CA"}, {"country_code_a2": "US"}]
