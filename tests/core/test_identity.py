from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.identity import unlike, unlike_names

OBJECTS = [object() for _ in range(6)]
NAMED = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(OBJECTS))


@given(st.lists(st.sampled_from(OBJECTS)), st.lists(st.sampled_from(OBJECTS)))
def test_what_is_common_is_left_out(one, other):
    found, expected = unlike(one, other)
    if len(one) == len(other):
        assert list(zip(found, expected, strict=True)) == [
            pair for pair in zip(one, other, strict=True) if pair[0] is not pair[1]
        ]
        return
    begin = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] is not pair[1]), None)
    if found and expected:
        assert found[0] is not expected[0]
        assert found[-1] is not expected[-1]
        assert found == one[begin : begin + len(found)]
        assert expected == other[begin : begin + len(expected)]
    assert len(one) - len(found) == len(other) - len(expected)


@given(NAMED, NAMED)
def test_names_that_stand_for_something_else(one, other):
    expected = [name for name in one if other.get(name) is not one[name]]
    assert unlike_names(one, other) == expected + [name for name in other if name not in one]
    assert unlike_names(one, one) == unlike_names(one, dict(one)) == []


def test_one_in_the_middle():
    one = list(range(1000, 2000))
    other = [*one[:500], "x", *one[501:]]
    assert unlike(one, other) == ([1500], ["x"])
    assert unlike(one, ["y", *other[1:]]) == ([1000, 1500], ["y", "x"])
    assert unlike(one, one[:500] + one[501:]) == ([1500], [])
