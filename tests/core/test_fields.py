import pytest

from spectrum.core.fields import check_name, describe


@pytest.mark.parametrize(
    ("name", "good"), [("ssh", True), ("a.b_c-1", True), ("", False), ("-a", False), ("a b", False), ("a" * 64, False)]
)
def test_app_names(name, good):
    assert (check_name(name, "an app") is None) is good


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "nothing"), ({}, "a mapping"), ([], "a list"), (True, "true"), ("x" * 80, "'" + "x" * 56 + "...")],
)
def test_describe(value, text):
    assert describe(value) == text
