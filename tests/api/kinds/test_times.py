from spectrum.api.kinds.times import timestamp


def test_a_time_is_utc():
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(1795664400.25) == "2026-11-26T03:40:00.250000Z"
