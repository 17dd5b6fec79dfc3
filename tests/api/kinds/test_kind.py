import pytest

from spectrum.api.kinds.kind import given, refuse, seconds


def test_nulls_and_what_answers_add_are_not_given():
    body = {"id": "x", "a": None, "b": {"c": None, "d": [{"e": None}]}, "f": 0}
    assert given(body, {"id"}) == {"b": {"d": [{}]}, "f": 0}


@pytest.mark.parametrize(("value", "told"), [("1m30s", 90), (5, 5), (5.0, 5), ("500ms", 0.5)])
def test_durations_are_seconds(value, told):
    assert seconds(value) == told
    assert type(seconds(value)) is type(told)


def test_what_is_not_allowed_has_another_status():
    assert refuse(1, "no", "a", status=403).status == 403
    assert (refuse(1, "no", "a", 0).status, refuse(1, "no", "a", 0).details[0].pointer) == (400, "/a/0")
