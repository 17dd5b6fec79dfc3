import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.numbers import Numbers, NumbersExhausted


def assign(numbers, labels, in_use=lambda number: False):
    planned = numbers.plan(labels, in_use)
    numbers.keep(planned)
    return planned


def test_numbers_stay():
    numbers = Numbers(10)
    assert assign(numbers, ["a", "b", "a"]) == {"a": 1, "b": 2}
    assert assign(numbers, ["c", "b"]) == {"b": 2, "c": 3}
    assert assign(numbers, ["a"]) == {"a": 4}  # the old one may still be known to somebody


def test_a_plan_changes_nothing():
    numbers = Numbers(10)
    assign(numbers, ["a", "b"])
    assert numbers.plan(["c", "d"]) == {"c": 3, "d": 4}
    assert numbers.plan(["b", "e"]) == {"b": 2, "e": 3}
    assert assign(numbers, ["a", "b"]) == {"a": 1, "b": 2}


def test_numbers_are_used_again_when_there_are_no_others():
    numbers = Numbers(2)
    assign(numbers, ["a", "b"])
    assign(numbers, ["b"])
    with pytest.raises(NumbersExhausted):
        assign(numbers, ["b", "c"], lambda number: number == 1)
    assert assign(numbers, ["b", "c"]) == {"b": 2, "c": 1}


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=5), max_size=20))
def test_no_number_twice(rounds):
    numbers, before = Numbers(8), {}
    for labels in rounds:
        planned = assign(numbers, labels)
        assert set(planned) == labels
        assert len(set(planned.values())) == len(labels)
        assert all(planned[label] == before[label] for label in labels if label in before)
        before = planned
