import pytest

from spectrum.api.analytics.times import instant

AT = 1_795_701_600.0


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (AT, AT),
        (int(AT), AT),
        ("1795701600", AT),
        ("1795701600.25", AT + 0.25),
        ("2026-11-26T14:00:00Z", AT),
        ("2026-11-26T14:00:00", AT),
        ("2026-11-26T15:00:00+01:00", AT),
        ("2026-11-26T15:00:00 01:00", AT),
        ("2026-11-26T14:00:00.5Z", AT + 0.5),
        ("2026-11-26 14:00:00", AT),
        ("2026-11-26", AT - 14 * 3600),
    ],
)
def test_a_time_is_read(given, at):
    assert instant(given) == at


@pytest.mark.parametrize("given", ["", "now", "2026-13-01", "-5", -5, True, None, [], 1e300, float("nan"), "9" * 400])
def test_invalid_times(given):
    with pytest.raises(ValueError, match="is not a time: write RFC 3339"):
        instant(given)
