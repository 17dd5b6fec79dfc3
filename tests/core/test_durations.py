import pytest

from spectrum.core.durations import parse_duration_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1h", 3600),
        ("1.5h", 5400),
        (3, 3),
        (0.25, 0.25),
        ("200us", 0.0002),
        ("1d", 86400),
    ],
)
def test_durations(value, seconds):
    assert parse_duration_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "5", "s", "5 s", "-1s", "5x", -1, 1e10, "1s garbage"])
def test_no_durations(value):
    with pytest.raises(ValueError):
        parse_duration_s(value)
