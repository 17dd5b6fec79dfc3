import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.configuration.fields import check_name
from spectrum.store.objects import file_id, free_name, new_id

ID = "0123456789abcdef0123456789abcdef"


def test_ids_of_the_file_stay():
    assert file_id("apps", "ssh") == hashlib.sha256(b"apps/ssh").hexdigest()[:32]
    assert re.fullmatch("[0-9a-f]{32}", file_id("apps", "ssh"))
    assert len({file_id("apps", "ssh"), file_id("apps", "ssh2"), file_id("pools", "ssh")}) == 3


def test_new_ids_differ():
    assert re.fullmatch("[0-9a-f]{32}", new_id())
    assert new_id() != new_id()


@pytest.mark.parametrize(
    ("wanted", "taken", "name"),
    [
        ("ssh.example.com", set(), "ssh.example.com"),
        ("ssh.example.com", {"ssh.example.com"}, "ssh.example.com-01234567"),
        ("my pool", set(), "my-pool-01234567"),
        ("*.example.com", set(), "example.com-01234567"),
        ("", set(), "01234567"),
        ("ü", set(), "01234567"),
        ("a" * 64, set(), "a" * 54 + "-01234567"),
        ("ü", {"01234567"}, ID),
        ("a", {"a", "a-01234567"}, f"a-{ID}"),
    ],
)
def test_free_names(wanted, taken, name):
    assert free_name(wanted, taken, ID) == name


def test_a_name_that_is_taken_with_its_whole_id():
    with pytest.raises(ValueError, match="is taken"):
        free_name("a", {"a", "a-01234567", f"a-{ID}"}, ID)


@given(st.text(max_size=80), st.sets(st.text(max_size=3), max_size=5))
def test_free_names_are_names_and_free(wanted, taken):
    name = free_name(wanted, taken, ID)
    assert check_name(name, "an app") is None
    assert name not in taken
