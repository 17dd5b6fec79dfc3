import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.numbers import Numbers, NumbersExhausted


def test_numbers_stay():
    numbers = Numbers(10)
    assert numbers.assign(["a", "b", "a"]) == {"a": 1, "b": 2}
    assert numbers.assign(["c", "b"]) == {"b": 2, "c": 3}
    assert numbers.assign(["a"]) == {"a": 4}  # the old one may still be known to somebody


def test_numbers_are_used_again_when_there_are_no_others():
    numbers = Numbers(2)
    numbers.assign(["a", "b"])
    numbers.assign(["b"])
    with pytest.raises(NumbersExhausted):
        numbers.assign(["b", "c"], lambda number: number == 1)
    assert numbers.assign(["b", "c"]) == {"b": 2, "c": 1}


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=5), max_size=20))
def test_no_number_twice(rounds):
    numbers, before = Numbers(8), {}
    for labels in rounds:
        given_numbers = numbers.assign(labels)
        assert set(given_numbers) == labels
        assert len(set(given_numbers.values())) == len(labels)
        assert all(given_numbers[label] == before[label] for label in labels if label in before)
        before = given_numbers
