import numpy as np
import pytest

from spectrum.core.ddos.adaptive import MOST_VALUES, OTHERS, Adaptive
from spectrum.core.ddos.maxima import DAY_S
from spectrum.core.ddos.packets import IN_USE, NO_APP
from tests.core.ddos.test_packets import rows

HOUR_S = 3_600


def packets(rate, app=0, **given):
    """Return ten samples of ten seconds at a rate."""
    return rows(app=[app] * 10, stands_for=rate, **({"protocol": 17, "destination_port": 53, "length": 100} | given))


def days(adaptive, count, rate=2_000.0, begin=0, busy=None, app=0):
    """Let days pass of which each hour has one moment at some rate; return what was too much."""
    found = []
    for hour in range(begin * 24, (begin + count) * 24):
        now = rate * (1.0 if hour % 24 == 20 else 0.6) * (busy or {}).get(hour, 1.0)
        found += adaptive.take(packets(now, app), 10.0, hour * HOUR_S + 5.0)
    return found


def of(adaptive, dimension, value, app=0):
    (found,) = [one for one in adaptive.maxima_of(app) if (one.dimension, one.value) == (dimension, value)]
    return found


def test_each_dimension_has_the_maximum_of_each_day():
    adaptive = Adaptive()
    days(adaptive, 3)
    for dimension, value in (
        ("all", "all"),
        ("openings", "all"),
        ("protocol", "udp"),
        ("port", "53"),
        ("size", "up to 128"),
    ):
        found = of(adaptive, dimension, value)
        assert [(one.day, one.packets_per_second) for one in found.days] == [(0, 2_000), (1, 2_000), (2, 2_000)]
    assert adaptive.maxima_of(7) == []


def test_a_normal_fortnight_causes_no_deviation_and_a_flood_causes_one():
    adaptive = Adaptive()
    assert days(adaptive, 14) == []
    found = days(adaptive, 1, begin=14, busy={14 * 24 + 3: 20.0})
    assert {one.maxima.dimension for one in found} == {"all", "openings", "protocol", "port", "size"}
    assert str(found[0]) == "all all: 24,000 pps, and 3,000/s is the limit by the week before"
    (deviation,) = of(adaptive, "port", "53").deviations
    assert deviation.beyond == pytest.approx(10 * (24_000 - 3_000)) and deviation.ended - deviation.began == 10


def test_a_continuing_excess_is_one_deviation():
    adaptive = Adaptive()
    days(adaptive, 8)
    begin = 8 * DAY_S
    assert adaptive.take(packets(10_000), 10.0, begin + 10)
    assert adaptive.take(packets(12_000), 10.0, begin + 20) == []
    (deviation,) = of(adaptive, "all", "all").deviations
    assert deviation.ended - deviation.began == 20 and deviation.packets_per_second == 12_000
    assert adaptive.take(packets(10_000), 10.0, begin + 500)
    assert len(of(adaptive, "all", "all").deviations) == 2


def test_one_day_of_an_attack_does_not_raise_the_limit_and_growth_does():
    adaptive = Adaptive()
    days(adaptive, 7)
    days(adaptive, 1, begin=7, busy={7 * 24 + 2: 10.0})
    assert of(adaptive, "all", "all").limit(8).packets_per_second == 3_000
    days(adaptive, 7, rate=2_800.0, begin=8)
    assert of(adaptive, "all", "all").limit(15).packets_per_second == pytest.approx(4_200)


def test_ten_seconds_are_counted_together():
    adaptive = Adaptive()
    for look in range(40):
        adaptive.take(packets(25.0), 0.25, 0.25 * (look + 1))  # 250 packets in 250 ms
    assert of(adaptive, "all", "all").days[0].packets_per_second == pytest.approx(1_000)


def test_openings_are_counted_apart_and_what_no_app_gets_is_not():
    adaptive = Adaptive()
    adaptive.take(packets(100, state=[0, IN_USE]), 10.0, 10.0)
    assert of(adaptive, "all", "all").days[0].packets_per_second == 100
    assert of(adaptive, "openings", "all").days[0].packets_per_second == 50
    adaptive.take(packets(100, app=NO_APP), 10.0, 20.0)
    assert adaptive.maxima_of(NO_APP) == []


def test_countries_where_they_are_reported():
    adaptive = Adaptive()
    adaptive.places = {"country": lambda rows: np.where(rows["source_low"] % 2 == 0, "DE", "FR")}
    adaptive.take(packets(100, source_low=[2, 2, 2, 3, 4]), 10.0, 10.0)
    assert of(adaptive, "country", "DE").days[0].packets_per_second == 80
    adaptive.share(0, packets(1, source_low=[2, 2, 2, 3, 4]))
    assert of(adaptive, "country", "DE").share == 0.8 and of(adaptive, "port", "53").share == 1


def test_values_are_bounded():
    adaptive = Adaptive()
    for port in range(MOST_VALUES + 20):
        adaptive.take(packets(10, destination_port=port), 10.0, 10.0 * port)
    assert sum(one.dimension == "port" for one in adaptive.maxima_of(0)) == MOST_VALUES + 1
    assert of(adaptive, "port", OTHERS).days


def test_apps_have_other_numbers_and_are_recalled():
    adaptive = Adaptive()
    days(adaptive, 2)
    adaptive.renumber({0: 5})
    assert adaptive.maxima_of(0) == [] and len(adaptive.maxima_of(5)) == 5
    other = Adaptive()
    other.recall(1, adaptive.maxima_of(5))
    days(other, 1, begin=2, app=1)
    assert len(of(other, "all", "all", 1).days) == 3
