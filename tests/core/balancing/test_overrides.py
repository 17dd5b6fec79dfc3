import pytest

from spectrum.core.balancing.overrides import Override


@pytest.mark.parametrize(
    ("fields", "is_nothing"),
    [({}, True), ({"out": "drain"}, False), ({"weight": 0.0}, False), ({"out": "disable", "weight": 1.0}, False)],
)
def test_what_is_nothing(fields, is_nothing):
    assert Override(1.0, 7, **fields).is_nothing is is_nothing
