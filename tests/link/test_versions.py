import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.link.versions import BEFORE_HELLO, OLDEST, VERSION, Hello, from_json, in_json, mismatch

VERSIONS = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda both: Hello(max(both), min(both)))


def test_the_oldest_version_is_not_the_newest():
    assert 1 <= OLDEST <= VERSION
    assert Hello() == Hello(VERSION, OLDEST)


@given(VERSIONS, VERSIONS)
def test_both_ends_come_to_the_same_result(one, other):
    assert bool(mismatch(one, other)) == bool(mismatch(other, one))
    assert not mismatch(one, one)
    # Whoever is newer decides.
    newer, older = (one, other) if one.version >= other.version else (other, one)
    assert bool(mismatch(one, other)) == (older.version < newer.oldest)


def test_the_fault_says_both_versions():
    assert mismatch(Hello(7, 5), Hello(2, 2)) == (
        "the other process speaks version 7 (down to 5) of the link, and this one version 2"
    )


def test_in_json():
    assert from_json({"more": 1, **in_json(Hello(7, 5))}) == Hello(7, 5)
    assert from_json({"worker": {}}) == BEFORE_HELLO


@pytest.mark.parametrize("wrong", [{"version": "2", "oldest": 1}, {"version": 2}, {"version": 2, "oldest": None}])
def test_invalid_versions(wrong):
    with pytest.raises(ValueError, match="Expected `int`"):
        from_json(wrong)


def test_a_later_hello_may_say_more():
    encoded = msgspec.msgpack.encode(["Hello", 9, 1, "more"])
    assert msgspec.msgpack.decode(encoded, type=Hello) == Hello(9, 1)
