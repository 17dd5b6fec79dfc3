import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.balancing.clients import client_key
from spectrum.core.balancing.pickers import HashPicker, LeastPicker, RandomPicker, Wheel
from spectrum.core.balancing.rendezvous import Rendezvous
from spectrum.core.balancing.settings import OriginSettings
from tests.core.balancing.build import Counts, nobody

PICKS = 100_000
# The 99.9th percentile of chi-square, by degrees of freedom.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 9: 27.88}


def some(weights):
    return [OriginSettings(i + 1, i + 1, f"o{i}", "192.0.2.1", None, 80, w, True) for i, w in enumerate(weights)]


@pytest.mark.parametrize(
    "weights", [[1, 1], [0.7, 0.3], [1, 0.5, 0.01], [0.9, 0, 0.1, 0.4], [0.1 * n for n in range(1, 11)]]
)
def test_shares_follow_the_weights(weights):
    origins = some(weights)
    picker, draw = RandomPicker(origins, weights), random.Random(42).random
    counts = Counter(picker.pick(0, draw, nobody).number for _ in range(PICKS))
    total, statistic = sum(weights), 0.0
    for origin in origins:
        expected = PICKS * origin.weight / total
        if not expected:
            assert counts[origin.number] == 0
            continue
        assert counts[origin.number] / PICKS == pytest.approx(origin.weight / total, abs=0.01)
        statistic += (counts[origin.number] - expected) ** 2 / expected
    assert statistic < CHI_SQUARE[sum(1 for weight in weights if weight) - 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(any), st.floats(0, 1, exclude_max=True))
def test_a_wheel_draws_what_has_a_weight(weights, chance):
    assert weights[Wheel(weights).draw(lambda: chance)] > 0


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_lighter_of_two(weights, chance):
    loads = {n: chance.randrange(100) for n in range(len(weights))}
    drawn = iter([chance.random(), chance.random()])
    draws = [next(drawn), next(drawn)]
    wheel, again = Wheel(weights), iter(draws)
    chosen = wheel.draw_lighter(lambda: next(again), loads.__getitem__, range(len(weights)))
    two = [wheel.draw(lambda value=value: value) for value in draws]
    assert chosen in two
    assert (loads[chosen] + 1) / weights[chosen] <= min((loads[n] + 1) / weights[n] for n in two) * (1 + 1e-9)


def test_loads_even_out():
    """Sessions that never end: true counts lead to shares by weight, far closer than chance would."""
    weights = [1, 1, 0.5, 0.5, 1]
    origins, counts = some(weights), Counter()
    picker, draw = LeastPicker("least_connections", origins, weights), random.Random(5).random
    for _ in range(10_000):
        counts[picker.pick(0, draw, Counts(counts)).number] += 1
    for origin in origins:
        assert counts[origin.number] == pytest.approx(10_000 * origin.weight / 4, abs=10)


def test_hash_passes_over_what_cannot_be_used():
    origins = some([1, 1, 1])
    rendezvous = Rendezvous([(origin.name, origin.weight) for origin in origins])
    all_up, one_down = HashPicker(rendezvous, origins, [True] * 3), HashPicker(rendezvous, origins, [True, False, True])
    for n in range(1000):
        key = client_key(b"", n.to_bytes(4, "big"))
        before, after = (picker.pick(key, random.random, nobody) for picker in (all_up, one_down))
        assert after is before if before is not origins[1] else after in (origins[0], origins[2])
