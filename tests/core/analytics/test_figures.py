import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics import figures

MONDAY = 1_795_392_000.0  # 2026-11-23T00:00:00Z


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (figures.amount(0, "B"), "0 B"),
        (figures.amount(999, "B"), "999 B"),
        (figures.amount(999.6, "B"), "1.00 kB"),
        (figures.amount(1_214_000_000, "bit/s"), "1.21 Gbit/s"),
        (figures.amount(89_123_456_789_012, "B"), "89.1 TB"),
        (figures.amount(-70_400_000), "-70.4 M"),
        (figures.count(99_999), "99,999"),
        (figures.count(100_000), "100 k"),
        (figures.count(37), "37"),
        (figures.share(0, 5), "0 %"),
        (figures.share(5, 0), "0 %"),
        (figures.share(1, 100_000), "< 0.01 %"),
        (figures.share(3, 10_000), "0.03 %"),
        (figures.share(78, 1000), "7.8 %"),
        (figures.share(2, 100), "2.0 %"),
        (figures.share(996, 10_000), "10 %"),
        (figures.share(12, 100), "12 %"),
        (figures.share(9997, 10_000), "99.97 %"),
        (figures.share(999_999, 1_000_000), "> 99.99 %"),
        (figures.share(4, 4), "100 %"),
        (figures.change(104, 100), "+4 %"),
        (figures.change(97, 100), "−3 %"),
        (figures.change(100, 100), "0 %"),
        (figures.change(500, 100), "5 ×"),
        (figures.change(5, 0), ""),
        (figures.length(1.42), "1.42 s"),
        (figures.length(61), "61 s"),
        (figures.length(0.0021), "2.1 ms"),
        (figures.length(34 * 60), "34 min"),
        (figures.length(6 * 3600 + 37 * 60), "6 h 37 min"),
        (figures.length(7200), "2 h"),
        (figures.length(2 * 86400 + 5 * 3600), "2 d 5 h"),
        (figures.length(41 * 86400 + 5 * 3600), "41 d"),
        (figures.date(MONDAY), "23 November 2026"),
        (figures.weekday(MONDAY + 14 * 3600 + 120), "Monday 14:02"),
        (figures.dates(MONDAY, MONDAY + 7 * 86400), "23 – 29 November 2026"),
        (figures.dates(MONDAY, MONDAY + 86400), "23 November 2026"),
        (figures.dates(MONDAY, MONDAY + 14 * 86400), "23 November – 6 December 2026"),
        (figures.dates(MONDAY, MONDAY + 60 * 86400), "23 November 2026 – 21 January 2027"),
        (figures.several(0, "origin"), "no origins"),
        (figures.several(1, "origin is", "origins are"), "one origin is"),
        (figures.several(37, "session"), "37 sessions"),
        (figures.listed(()), ""),
        (figures.listed(("a",)), "a"),
        (figures.listed(("a", "b", "c")), "a, b and c"),
        (figures.listed(("a", "b", "c", "d", "e")), "a, b, c and 2 more"),
    ],
)
def test_what_is_reported(told, text):
    assert told.replace(figures.NB, " ") == text


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_is_100_percent_of_the_whole_alone(part, whole):
    text = figures.share(min(part, whole), whole)
    assert (text == f"100{figures.NB}%") == (part >= whole)
    assert (text == f"0{figures.NB}%") == (part == 0)


@given(st.floats(0, 1e10))
def test_each_length_is_reported(seconds):
    assert figures.length(seconds)
