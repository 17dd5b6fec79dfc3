import pytest

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.kind import given, keys_of, model_faults, refuse, same_place, seconds, stamped
from spectrum.api.kinds.pools import POOLS
from spectrum.core.balancing.objects import Queue
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, stored


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


def test_each_fault_of_a_value_is_reported_with_its_place_in_the_body():
    body = {"origins": [{"name": "a", "address": "no host"}], "name": "eu", "enabled": "yes"}
    with pytest.raises(ApiError) as caught:
        POOLS.checked(body, Known())
    assert [(one.code, one.pointer) for one in caught.value.details] == [
        (1002, "/origins/0/address"),
        (1002, "/enabled"),
    ]
    assert POOLS.checked({"origins": [{"name": "a", "address": "a.b"}], "name": "eu"}, Known())
    assert keys_of(Queue) == {"size", "timeout"}
    assert model_faults(Queue, {"size": 5, "timeout": "1s"}) == []


def test_an_object_is_answered_with_its_stamps():
    told = stamped(stored("pools", "eu", {}), {"name": "eu"})
    assert told == {
        "id": file_id("pools", "eu"),
        "created_on": "2023-11-14T22:13:20.250000Z",
        "modified_on": "2023-11-14T22:15:00.000000Z",
        "name": "eu",
    }
    assert same_place(("a", 0), {}) == ("a", 0)
