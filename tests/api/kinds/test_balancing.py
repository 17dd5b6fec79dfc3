import pytest

from spectrum.api.envelope import BodyFault
from spectrum.api.kinds.balancing import INVALID, code, fields_of


def test_what_a_body_sets():
    body = {"id": "x", "created_on": "y", "name": "n", "description": None}
    assert fields_of(body, {"name"}, ("name",)) == {"name": "n"}
    assert fields_of({"a": 1, "b": 2}, {"a"}, read_only=("b",)) == {"a": 1}


@pytest.mark.parametrize(
    ("body", "place", "message", "pointer"),
    [
        ({"name": "n", "nmae": "n"}, (), 'unknown field "nmae": validation failed', "/nmae"),
        ({"description": "d"}, (), '"name" is missing: validation failed', "/name"),
        ({"name": None}, (), '"name" is missing: validation failed', "/name"),
        ({"name": "n", "x": 1}, ("members", 2), 'unknown field "x": validation failed', "/members/2/x"),
    ],
)
def test_what_is_not_a_body(body, place, message, pointer):
    with pytest.raises(BodyFault) as caught:
        fields_of(body, {"name", "description"}, ("name",), place=place)
    (detail,) = caught.value.details
    assert (detail.code, detail.message, detail.pointer) == (INVALID, message, pointer)
    assert code(("origins", 0)) == INVALID
