import pytest

from tests.cover import ROOT, faults, own_test


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("spectrum/core/tls/names.py", "tests/core/tls/test_names.py"),
        ("spectrum/tasks.py", "tests/test_tasks.py"),
        ("spectrum_edge.py", "tests/test_spectrum_edge.py"),
    ],
)
def test_the_test_file_of_a_source(source, test):
    assert own_test(ROOT / source) == ROOT / test


@pytest.mark.parametrize(
    ("percent", "listed", "says"),
    [
        (85, None, None),
        (84, None, "a.py: its own test file runs 84 % of its lines, not 85 %"),
        (60, 60, None),
        (63, 60, None),
        (59, 60, "a.py: its own test file runs 59 % of its lines, not 60 %"),
        (66, 60, None),
        (67, 60, "a.py: has 67 %: raise its 60 in tests/cover.toml"),
        (90, 84, None),
        (91, 84, "a.py: has 91 %: remove it from tests/cover.toml"),
    ],
)
def test_the_list_of_exceptions_only_shrinks(percent, listed, says):
    assert faults({"a.py": percent}, {} if listed is None else {"a.py": listed}) == ([says] if says else [])


def test_an_exception_for_no_file():
    assert faults({}, {"gone.py": 3}) == ["gone.py: in tests/cover.toml, but not a source file"]
